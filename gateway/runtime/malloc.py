"""Memory settings of the C library, for images that take tens of megabytes for a moment."""

import ctypes

# Numbers of the parameters in glibc; see mallopt(3).
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8
LARGE_BLOCK_BYTES = 4 << 20
RETAINED_BYTES = 8 << 20
ARENAS = 2


def bound_memory() -> None:
    """Retain only a little freed memory for later use, and return the rest to the system.

    By default, glibc retains freed blocks of up to 32 MiB, separately for each thread: after a few thousand images of
    all sizes, a worker used twice the memory. With these settings, blocks of 4 MiB and more are returned as soon as
    they are freed. Of smaller ones, such as a request body or the pixels of a photo, 8 MiB are retained at the end of
    each of two arenas, because memory from the system costs a page fault for every 4 KiB: with the default of 128 KiB,
    a photo of 12 megapixels took 1.4 times as long. Other C libraries are not changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
        mallopt(M_TRIM_THRESHOLD, RETAINED_BYTES)
        mallopt(M_ARENA_MAX, ARENAS)
