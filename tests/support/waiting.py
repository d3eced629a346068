"""Wait for a condition."""

from collections.abc import Callable
from typing import TypeVar

from tools.waiting import wait_until

T = TypeVar("T")


def until(condition: Callable[[], T], within_s: float = 5.0, what: str = "condition true") -> T:
    """Return the first true value of `condition()`; see `wait_until`."""
    return wait_until(condition, within_s, what, poll_s=0.002)
