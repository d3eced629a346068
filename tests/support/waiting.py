"""Waiting for something to become true."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], within_s: float = 5.0, what: str = "true") -> T:
    """Return the first true value of `condition()`; `what` says in words what is waited for.

    Raises:
        TimeoutError: it did not hold in time.
    """
    give_up_s = time.monotonic() + within_s
    while not (value := condition()):
        if time.monotonic() > give_up_s:
            raise TimeoutError(f"after {within_s:g} s still not {what}")
        time.sleep(0.002)
    return value
