"""Decoder processes, divided fairly among clients.

An image that takes long occupies a process, and further ones wait. A client whose images take long waits for itself:
one process is always left for the others, and so are places in the queue.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from gateway.deadline import Deadline
from gateway.errors import OverloadedError
from vision.isolation.pool import DecoderPool

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DecoderLimits:
    """Limits on decoding in processes.

    Attributes:
        processes: Number of processes, at least 1.
        max_requests: Maximum number of requests whose image is being decoded or waits for a process, half of them from
            one client.
        deadline_s: Maximum time for one image, including the time that it waits.
    """

    processes: int
    max_requests: int
    deadline_s: float


class Decoders:
    """The decoder processes of a worker; safe to use from many threads.

    Args:
        pool: The processes.
        limits: How many there are, and for how long they may be used.
    """

    def __init__(self, pool: DecoderPool, limits: DecoderLimits) -> None:
        self.pool = pool
        self._limits = limits
        self._max_running_per_client = max(1, limits.processes - 1)
        self._max_requests_per_client = max(1, limits.max_requests // 2)
        self._condition = threading.Condition()
        self._has_warned = False
        self._requests: Counter[str] = Counter()  # by client
        self._running: Counter[str] = Counter()

    @contextmanager
    def turn(self, client: str, deadline: Deadline) -> Iterator[float]:
        """Wait until a process is free for an image of a client; inside, it may be used.

        Yields:
            When the process must be done, in seconds of `time.monotonic`.

        Raises:
            OverloadedError: Too many requests wait for a process, or none was free in time.
            DeadlineExceededError: The deadline has passed.
        """
        turn_deadline = deadline.no_later_than(self._limits.deadline_s)
        with self._condition:
            is_full = self._requests.total() >= self._limits.max_requests
            if is_full or self._requests[client] >= self._max_requests_per_client:
                raise _overloaded()
            self._requests[client] += 1
        try:
            with self._condition:
                if not self._condition.wait_for(lambda: self._is_free_for(client), turn_deadline.remaining_s()):
                    deadline.remaining_s()
                    raise _overloaded()
                self._running[client] += 1
            try:
                yield turn_deadline.at_s
            finally:
                self._release(self._running, client)
                self._check_filter()
        finally:
            self._release(self._requests, client)

    def _check_filter(self) -> None:
        """Log once if the processes cannot filter system calls, which is the second wall around a decoder."""
        if self.pool.filters_system_calls is False and not self._has_warned:
            self._has_warned = True
            log.warning("decoders_unfiltered", reason="libseccomp is missing, or this system does not permit a filter")

    def _is_free_for(self, client: str) -> bool:
        return self._running.total() < self._limits.processes and self._running[client] < self._max_running_per_client

    def _release(self, counter: Counter[str], client: str) -> None:
        with self._condition:
            counter[client] -= 1
            if not counter[client]:
                del counter[client]
            self._condition.notify_all()


def _overloaded() -> OverloadedError:
    return OverloadedError(
        "More images of unusual kinds or many pixels arrived than can be decoded in time. Try again shortly, or send a "
        "plain JPEG."
    )
