"""The memory that Python, numpy and OpenCV allocate."""

import tracemalloc
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def peak_bytes(work: Callable[[], T]) -> tuple[int, T]:
    """Return the most memory in bytes that some work takes in addition to before, and its result."""
    tracemalloc.start()
    try:
        result = work()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()
