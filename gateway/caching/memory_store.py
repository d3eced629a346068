"""A cache store in the memory of this process."""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence

from gateway.caching.caching_predictor import CLAIMED
from gateway.deadline import Deadline

ENTRY_OVERHEAD_BYTES = 300
"""Approximate overhead of one entry in Python, besides the bytes of its key and value."""


class MemoryStore:
    """A `gateway.caching.caching_predictor.Store` in this process, which evicts the least recently used entries first.

    Args:
        max_bytes: Maximum memory of keys and values, with their overhead in Python.
        ttl_s: How long an entry is stored.
    """

    def __init__(self, *, max_bytes: int, ttl_s: float) -> None:
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._entries: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._stored_bytes = 0
        self._claimed: set[str] = set()
        self._changed = threading.Condition()

    @property
    def stored_bytes(self) -> int:
        """Memory of all entries, at most `max_bytes`."""
        return self._stored_bytes

    def find(self, keys: Sequence[str], *, claim_s: float) -> list[bytes | None]:  # noqa: ARG002  # the Protocol's
        """Look up and claim; see `Store`. Claims need no time limit, since this process always settles them."""
        with self._changed:
            return [self._find(key) for key in keys]

    def settle(self, key: str, value: bytes | None) -> None:
        """Store a value and wake the threads that wait for it; see `Store`."""
        with self._changed:
            if value is not None and _size(key, value) <= self._max_bytes:
                self._drop(key)
                self._entries[key] = (value, time.monotonic() + self._ttl_s)
                self._stored_bytes += _size(key, value)
                while self._stored_bytes > self._max_bytes:
                    self._drop(next(iter(self._entries)))
            self._claimed.discard(key)
            self._changed.notify_all()

    def wait(self, key: str, *, deadline: Deadline) -> bytes | None:
        """Wait for another thread to settle the key; see `Store`."""
        with self._changed:
            if not self._changed.wait_for(lambda: key not in self._claimed, deadline.remaining_s()):
                raise deadline.exceeded()
            return self._get(key)

    def _find(self, key: str) -> bytes | None:
        value = self._get(key)
        if value is None and key in self._claimed:
            return CLAIMED
        if value is None:
            self._claimed.add(key)
        return value

    def _get(self, key: str) -> bytes | None:
        if key not in self._entries:
            return None
        value, expires_s = self._entries[key]
        if time.monotonic() >= expires_s:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return value

    def _drop(self, key: str) -> None:
        if key in self._entries:
            value, _ = self._entries.pop(key)
            self._stored_bytes -= _size(key, value)


def _size(key: str, value: bytes) -> int:
    return len(key) + len(value) + ENTRY_OVERHEAD_BYTES
