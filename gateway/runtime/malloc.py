"""How the C library keeps memory: pictures take tens of megabytes each, for a moment."""

import ctypes

# The parameters' numbers in glibc, see the manual page of mallopt in section 3.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8
LARGE_BLOCK_BYTES = 4 << 20
KEPT_BYTES = 8 << 20
ARENAS = 2


def bound_memory() -> None:
    """Keep a little freed memory for what comes next, and give all else back to the system.

    By itself glibc keeps blocks of up to 32 MiB, and that for every thread anew, once one has been freed: a worker that
    has met a few thousand pictures of all sizes held twice the memory. Here blocks of 4 MiB and more go back as soon as
    they are freed. Of smaller ones, such as a request's body or a photo's pixels, 8 MiB are kept at the end of each of
    two arenas, since memory that comes from the system costs a page fault for every 4 KiB of it: a photo of 12
    megapixels took 1.4 times as long with the 128 KiB that are kept otherwise. Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_ARENA_MAX, ARENAS)
