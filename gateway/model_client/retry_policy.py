"""When a call to the model server is made again, and for how long it may take."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from gateway.deadline import Deadline

HANG_THRESHOLD_S = 1.0
"""Longer than gRPC's own retries of a call take if every attempt is refused at once."""
MAX_RETRIES = 3
RETRY_RATIO = 0.1
"""Rows that may be repeated for each one that was answered."""
RETRIED_ROWS_PER_S = 1.0
"""Rows that may be repeated in each second in any case, so that a quiet gateway recovers its budget after an outage."""
QUEUE_FULL = "The batch scheduling queue to which this task was submitted is full"
"""Start of the message with which TensorFlow Serving refuses a call that its queue of batches has no room for. Its
status is UNAVAILABLE (tensorflow/core/kernels/batching_util/shared_batch_scheduler.h)."""
MESSAGE_TOO_LARGE = "message larger than max"
"""Part of gRPC's own message, with the status RESOURCE_EXHAUSTED, for more bytes than the other side accepts."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed call.

    Attributes:
        error: What gRPC raised.
        duration_s: How long the call took to fail.
    """

    error: grpc.RpcError
    duration_s: float

    @property
    def code(self) -> grpc.StatusCode:
        """The status of the call."""
        code: grpc.StatusCode = self.error.code()
        return code


def is_overload(error: grpc.RpcError) -> bool:
    """Return whether the server runs, and refused the call because it has too many."""
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return details_of(error).startswith(QUEUE_FULL)
    return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and MESSAGE_TOO_LARGE not in details_of(error)


def details_of(error: grpc.RpcError) -> str:
    """Return the message that came with the status; empty if there is none."""
    return getattr(error, "details", str)() or ""


class RetryBudget:
    """Bounds what is repeated to a share of what is answered; safe to use from many threads.

    A call that was given up has cost the server its work, which may even go on. If every such call were repeated, a
    server that is slow for a moment would soon compute only calls that were given up. The budget is counted
    in rows, because the work of a call grows with them, and all calls of a client share it.

    Args:
        max_rows: Rows that may be repeated at once, at least 1. A single call may exceed it.
        ratio: Rows that may be repeated for each one that was answered.
        rows_per_s: Rows that may be repeated in each second in any case.
    """

    def __init__(
        self,
        max_rows: float,
        *,
        ratio: float = RETRY_RATIO,
        rows_per_s: float = RETRIED_ROWS_PER_S,
    ) -> None:
        self._max_rows = max_rows
        self._ratio = ratio
        self._rows_per_s = rows_per_s
        self._rows = max_rows
        self._updated_s = time.monotonic()
        self._lock = threading.Lock()

    def earn(self, rows: int) -> None:
        """Add the share of rows that were answered."""
        if self._rows < self._max_rows:  # a full budget, as nearly always, needs no lock
            with self._lock:
                self._rows = min(self._max_rows, self._rows + rows * self._ratio)

    @property
    def is_spent(self) -> bool:
        """Whether nothing may be repeated at the moment."""
        if self._rows >= 1:
            return False
        with self._lock:
            return self._refill() < 1

    def spend(self, rows: int) -> bool:
        """Return whether a call of so many rows may be repeated, and take them from the budget if so."""
        with self._lock:
            if self._refill() < 1:
                return False
            self._rows -= rows
            return True

    def _refill(self) -> float:
        """Add what time has brought, and return the rows of the budget; call it locked."""
        now_s = time.monotonic()
        self._rows = min(self._max_rows, self._rows + (now_s - self._updated_s) * self._rows_per_s)
        self._updated_s = now_s
        return self._rows


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Retries on top of those that gRPC makes itself, for calls that may be repeated without harm.

    Two kinds of calls are repeated. gRPC does not retry every call of a connection that breaks, so the first call
    that finds the server unavailable gets another attempt. And a call that the server neither answers nor
    refuses is repeated: behind a name with several servers, the next attempt may reach another one. A server that
    refuses a call because it has too many is not called again. `RetryBudget` limits all repetitions together.

    Attributes:
        call_deadline_s: Time limit on a call that may be repeated; a shorter deadline of the request takes precedence.
        max_retries: Maximum number of repetitions of one call.
        hang_threshold_s: A call that finds the server unavailable only after this time counts as unanswered.
    """

    call_deadline_s: float
    max_retries: int = MAX_RETRIES
    hang_threshold_s: float = HANG_THRESHOLD_S

    def timeout_s(self, deadline: Deadline, failures: int, *, can_repeat: bool = True) -> float:
        """Return how long the next call may take.

        A call that repeats another leaves half of the time for the one after it, unless it is the last.

        Args:
            deadline: Time limit on the request.
            failures: Number of calls that have failed.
            can_repeat: Whether the budget allows repeating it. If not, it may take all the time of the request: to
                give it up early would gain nothing, and waste what the server has computed.

        Raises:
            DeadlineExceededError: No time is left.
        """
        if not can_repeat:
            return deadline.remaining_s()
        remaining_s = deadline.remaining_s(self.call_deadline_s)
        return remaining_s / 2 if 0 < failures < self.max_retries else remaining_s

    def should_retry(self, failures: Sequence[Failure], deadline: Deadline) -> bool:
        """Decide, after at least one failure, whether to call again."""
        last = failures[-1]
        if len(failures) > self.max_retries or deadline.has_passed or is_overload(last.error):
            return False
        is_unavailable = last.code is grpc.StatusCode.UNAVAILABLE
        is_late = last.code is grpc.StatusCode.DEADLINE_EXCEEDED
        is_hung = is_late or (is_unavailable and last.duration_s > self.hang_threshold_s)
        return is_hung or (is_unavailable and len(failures) == 1)

    def error_to_report(self, failures: Sequence[Failure]) -> grpc.RpcError:
        """Return the error that describes the server best.

        If earlier calls found the server unavailable, a last call that timed out merely had too little time left.
        """
        if failures[-1].code is grpc.StatusCode.DEADLINE_EXCEEDED:
            for failure in reversed(failures):
                if failure.code is grpc.StatusCode.UNAVAILABLE:
                    return failure.error
        return failures[-1].error
