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
        deadline_s: Maximum time for one image, including the time that it waits.
    """

    processes: int
    deadline_s: float


@dataclass(slots=True, eq=False)
class _Waiter:
    client: str
    has_turn: threading.Event


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
        self._lock = threading.Lock()
        self._running: Counter[str] = Counter()  # by client
        self._waiting: list[_Waiter] = []  # in order of arrival
        self._has_warned = False

    @contextmanager
    def turn(self, client: str, deadline: Deadline) -> Iterator[float]:
        """Wait until a process is free for an image of a client; inside, it may be used.

        The next turn belongs to the client with the fewest images that are decoded or wait.

        Yields:
            When the process must be done, in seconds of `time.monotonic`.

        Raises:
            OverloadedError: No process was free in time.
            DeadlineExceededError: The deadline has passed.
        """
        turn_deadline = deadline.no_later_than(self._limits.deadline_s)
        waiter = _Waiter(client, threading.Event())
        timeout_s = turn_deadline.remaining_s()
        with self._lock:
            self._waiting.append(waiter)
            self._give_turns()
        if not waiter.has_turn.wait(timeout_s) and self._give_up(waiter):
            deadline.remaining_s()
            raise _overloaded()
        try:
            yield turn_deadline.at_s
        finally:
            with self._lock:
                self._running[client] -= 1
                if not self._running[client]:
                    del self._running[client]
                self._give_turns()
            self._check_filter()

    def _give_turns(self) -> None:
        """Give free processes to those who wait; the lock is held."""
        while self._running.total() < self._limits.processes:
            candidates = [
                waiter for waiter in self._waiting if self._running[waiter.client] < self._max_running_per_client
            ]
            if not candidates:
                return
            images = self._running + Counter(waiter.client for waiter in self._waiting)
            waiter = min(candidates, key=lambda waiter: images[waiter.client])
            self._waiting.remove(waiter)
            self._running[waiter.client] += 1
            waiter.has_turn.set()

    def _give_up(self, waiter: _Waiter) -> bool:
        """Stop waiting; return False if the turn has come in the meantime."""
        with self._lock:
            if waiter.has_turn.is_set():
                return False
            self._waiting.remove(waiter)
            return True

    def _check_filter(self) -> None:
        """Log once if the processes cannot filter system calls, which is the second wall around a decoder."""
        if self.pool.filters_system_calls is False and not self._has_warned:
            self._has_warned = True
            log.warning("decoders_unfiltered", reason="libseccomp is missing, or this system does not permit a filter")


def _overloaded() -> OverloadedError:
    return OverloadedError(
        "More images of unusual kinds or many pixels arrived than can be decoded in time. Try again shortly, or send a "
        "plain JPEG."
    )
