"""Return memory during an export, each step of which copies all weights several times."""

import contextlib
import ctypes
import gc
from collections.abc import Iterator

M_MMAP_THRESHOLD = -3
"""Option of glibc's `mallopt`: blocks of this many bytes or more have memory of their own."""
M_TRIM_THRESHOLD = -1
"""Option of glibc's `mallopt`: so many free bytes at the end of the heap are returned."""
LARGE_BYTES = 1 << 17
USUAL_BYTES = 1 << 25
"""What glibc's threshold grows to as large blocks are freed, unless it is set; that of the heap's end is twice this."""


def release_memory() -> None:
    """Return the memory of objects that are no longer used to the system.

    TensorFlow's graphs refer to themselves, so that only the garbage collector frees them, and glibc retains freed
    blocks of up to 32 MiB. Other C libraries return them by themselves, or not at all.
    """
    gc.collect()
    _call_glibc("malloc_trim", 0)


@contextlib.contextmanager
def returning_large_blocks() -> Iterator[None]:
    """Have glibc return blocks of `LARGE_BYTES` or more as soon as they are freed.

    The conversion of 94 MB of weights then takes 0.7 GB instead of 1.1. Networks run slower meanwhile, since their
    features get new memory for each image.
    """
    _call_glibc("mallopt", M_MMAP_THRESHOLD, LARGE_BYTES)
    try:
        yield
    finally:
        _call_glibc("mallopt", M_MMAP_THRESHOLD, USUAL_BYTES)
        _call_glibc("mallopt", M_TRIM_THRESHOLD, 2 * USUAL_BYTES)
        release_memory()


def _call_glibc(function: str, *arguments: int) -> None:
    """Call a function that other C libraries may lack."""
    call = getattr(ctypes.CDLL(None), function, None)
    if call is not None:
        call(*arguments)
