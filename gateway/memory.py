"""How the C library keeps memory: pictures take tens of megabytes each, for a moment."""

import ctypes

M_MMAP_THRESHOLD = -3  # mallopt(3)
LARGE_BLOCK_BYTES = 1 << 20


def return_large_blocks() -> None:
    """Let blocks of 1 MiB and more go back to the system as soon as they are freed.

    glibc would begin to keep them, up to 32 MiB each and for every thread anew, once one has been freed: a worker that
    has met a few thousand pictures of all sizes held twice the memory. Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
