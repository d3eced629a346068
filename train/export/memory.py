"""Return memory between the steps of an export, each of which copies all weights several times."""

import ctypes
import gc


def release_memory() -> None:
    """Return the memory of objects that are no longer used to the system.

    TensorFlow's graphs refer to themselves, so that only the garbage collector frees them, and glibc retains freed
    blocks of up to 32 MiB. Other C libraries return them by themselves, or not at all.
    """
    gc.collect()
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
