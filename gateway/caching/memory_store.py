"""Results kept in the memory of this process."""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence

from gateway.caching.caching_predictor import CLAIMED
from gateway.deadline import Deadline

ENTRY_OVERHEAD_BYTES = 300
"""About what Python needs for one entry besides the bytes of its key and value."""


class MemoryStore:
    """A `gateway.caching.caching_predictor.Store` in this process, which evicts the least recently used results first.

    Args:
        max_bytes: Most that keys and values take, with what Python needs for them.
        ttl_s: How long a result is kept.
    """

    def __init__(self, *, max_bytes: int, ttl_s: float) -> None:
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._kept: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._kept_bytes = 0
        self._claimed: set[str] = set()
        self._changed = threading.Condition()

    @property
    def kept_bytes(self) -> int:
        """What all that is kept takes, at most `max_bytes`."""
        return self._kept_bytes

    def find(self, keys: Sequence[str], *, claim_s: float) -> list[bytes | None]:  # noqa: ARG002  # the Protocol's
        """Look up and claim; see `Store`. Nothing can keep the claims of this process from being settled."""
        with self._changed:
            return [self._find(key) for key in keys]

    def settle(self, key: str, value: bytes | None) -> None:
        """Keep a value, and wake up who waits for it; see `Store`."""
        with self._changed:
            if value is not None and _size(key, value) <= self._max_bytes:
                self._drop(key)
                self._kept[key] = (value, time.monotonic() + self._ttl_s)
                self._kept_bytes += _size(key, value)
                while self._kept_bytes > self._max_bytes:
                    self._drop(next(iter(self._kept)))
            self._claimed.discard(key)
            self._changed.notify_all()

    def wait(self, key: str, *, deadline: Deadline) -> bytes | None:
        """Wait for another thread; see `Store`."""
        with self._changed:
            if not self._changed.wait_for(lambda: key not in self._claimed, deadline.remaining_s()):
                raise deadline.missed()
            return self._get(key)

    def _find(self, key: str) -> bytes | None:
        value = self._get(key)
        if value is None and key in self._claimed:
            return CLAIMED
        if value is None:
            self._claimed.add(key)
        return value

    def _get(self, key: str) -> bytes | None:
        if key not in self._kept:
            return None
        value, until_s = self._kept[key]
        if time.monotonic() >= until_s:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return value

    def _drop(self, key: str) -> None:
        if key in self._kept:
            value, _ = self._kept.pop(key)
            self._kept_bytes -= _size(key, value)


def _size(key: str, value: bytes) -> int:
    return len(key) + len(value) + ENTRY_OVERHEAD_BYTES
