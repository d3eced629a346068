"""Limits on the memory that requests may take, checked or reserved before it is allocated."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from model_server.errors import ResourceExhaustedError

MAX_REQUEST_BYTES = 128 * 2**20
"""Default of the bytes of one request: of its message or body, of its tensors once decoded, of its tf.Examples."""

MAX_COMPUTATION_BYTES = 2 * 2**30
"""Default of the memory for intermediate results of all computations at the same time."""


class MemoryBudget:
    """A number of bytes that concurrent calls share."""

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = self._free_bytes = total_bytes
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, size: int, timeout_s: float | None) -> Iterator[None]:
        """Hold a part of the budget, and wait for it at most `timeout_s` seconds; None for no limit.

        Raises:
            ResourceExhaustedError: The budget is smaller, or other calls held it for too long.
        """
        if size > self.total_bytes:
            raise ResourceExhaustedError(
                f"Computing this request needs about {size} bytes of memory; at most {self.total_bytes} are accepted. "
                "Send fewer rows"
            )
        with self._changed:
            if not self._changed.wait_for(lambda: size <= self._free_bytes, timeout_s):
                raise ResourceExhaustedError(
                    f"Computing this request needs about {size} bytes of memory, which other requests hold. Try again"
                )
            self._free_bytes -= size
        try:
            yield
        finally:
            with self._changed:
                self._free_bytes += size
                self._changed.notify_all()


def check_request_bytes(size: int, limit: int, what: str) -> None:
    """Check the size of a part of a request; `what` names it at the beginning of the message.

    Raises:
        ResourceExhaustedError: It is larger than `limit`.
    """
    if size > limit:
        raise ResourceExhaustedError(f"{what} {size} bytes of memory; at most {limit} are accepted. Send fewer rows")


def remaining_s(end_s: float | None) -> float | None:
    """Return the seconds until a time of the monotonic clock, at least 0; None for no time."""
    return None if end_s is None else max(end_s - time.monotonic(), 0.0)
