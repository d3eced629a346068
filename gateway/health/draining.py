"""Whether this gateway is about to stop: told by gunicorn's master process, known in all workers forked from it."""

import mmap

_flag = mmap.mmap(-1, 1)  # belongs to no file, and to this process and its children alike


def begin() -> None:
    """Say from now on that no further requests should be sent here; those that are sent are answered."""
    _flag[0] = 1


def begun() -> bool:
    """Tell whether it is about to stop."""
    return _flag[0] == 1
