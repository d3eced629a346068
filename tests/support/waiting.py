"""Wait for a condition."""

from collections.abc import Callable
from typing import TypeVar

from tools.waiting import wait_until

T = TypeVar("T")

SOON_S = 10.0
"""At most what something may take that ends without a wait, on a machine that stands still for seconds at times.

What such a test guards against is a wait of `LONG_S` or more.
"""
LONG_S = 40.0


def until(condition: Callable[[], T], within_s: float = LONG_S, what: str = "condition true") -> T:
    """Return the first true value of `condition()`; see `wait_until`."""
    return wait_until(condition, within_s, what, poll_s=0.002)
