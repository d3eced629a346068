"""Wait for a condition, or check that something does not wait."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from tools.waiting import wait_until

T = TypeVar("T")

SOON_S = 10.0
"""Time for what should take no time, because a busy machine can stand still for seconds."""
LONG_S = 40.0
"""A wait that no test should see to its end: the limit of a condition, or what `ends_soon` is told from."""


def until(condition: Callable[[], T], within_s: float = LONG_S, what: str = "condition true") -> T:
    """Return the first true value of `condition()`; see `wait_until`."""
    return wait_until(condition, within_s, what, poll_s=0.002)


@contextlib.contextmanager
def ends_soon() -> Iterator[None]:
    """Check that the block takes less than `SOON_S`."""
    start_s = time.monotonic()
    yield
    assert time.monotonic() - start_s < SOON_S
