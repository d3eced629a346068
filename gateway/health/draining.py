"""Whether this gateway is draining: set by gunicorn's master process and visible in all workers forked from it."""

import mmap

_flag = mmap.mmap(-1, 1)  # anonymous memory, shared by this process and its children


def start() -> None:
    """Report from now on that no further requests should be sent here; those that arrive are still answered."""
    _flag[0] = 1


def is_active() -> bool:
    """Return whether the gateway is about to stop."""
    return _flag[0] == 1
