"""Wait for a condition."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], within_s: float, what: str, *, poll_s: float = 0.02) -> T:
    """Return the first true value of `condition()`; `what` describes it in the error.

    Raises:
        TimeoutError: The condition did not hold in time.
    """
    deadline_s = time.monotonic() + within_s
    while not (value := condition()):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"not within {within_s:g} s: {what}")
        time.sleep(poll_s)
    return value
