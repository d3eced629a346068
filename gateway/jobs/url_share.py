"""The share of a worker's threads that fetch images by URL."""

from threading import Lock

WakeUp = tuple[str, int]
"""A job and its turn."""


class UrlShare:
    """Places for chunks with URLs, so that slow hosts leave threads to other chunks; safe to use from many threads.

    Args:
        places: How many such chunks are computed at the same time.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._deferred: dict[WakeUp, None] = {}  # in the order of their arrival, each once
        self._lock = Lock()

    def enter(self) -> bool:
        """Take a place; return whether there was one."""
        with self._lock:
            is_free = self._free > 0
            self._free -= is_free
        return is_free

    def leave(self) -> WakeUp | None:
        """Give a place back, and return the wake-up that is to be tried now, if one was deferred."""
        with self._lock:
            self._free += 1
            wakeup = next(iter(self._deferred), None)
            if wakeup is not None:
                del self._deferred[wakeup]
        return wakeup

    def defer(self, wakeup: WakeUp) -> bool:
        """Keep a wake-up until a place is given back; return False if there is one already."""
        with self._lock:
            if self._free > 0:
                return False
            self._deferred[wakeup] = None
        return True
