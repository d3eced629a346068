"""When a call to the model server is made again, and for how long it may take."""

from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from gateway.deadline import Deadline

HANG_THRESHOLD_S = 1.0
"""Longer than gRPC's own retries of a call take if every attempt is refused at once."""
MAX_RETRIES = 3


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


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Retries on top of those that gRPC makes itself, for calls that may be repeated without harm.

    Two kinds of calls are repeated. gRPC does not retry every call of a connection that breaks, so the first call
    that finds the server unavailable gets another attempt. And a call that the server neither answers nor
    refuses is repeated: behind a name with several servers, the next attempt may reach another one.

    Attributes:
        call_deadline_s: Time limit on one call; a shorter deadline of the request takes precedence.
        max_retries: Maximum number of repetitions of one call.
        hang_threshold_s: A call that finds the server unavailable only after this time counts as unanswered.
    """

    call_deadline_s: float
    max_retries: int = MAX_RETRIES
    hang_threshold_s: float = HANG_THRESHOLD_S

    def timeout_s(self, deadline: Deadline, *, is_retry: bool) -> float:
        """Return how long the next call may take; a retry leaves half of the time for the one after it.

        Raises:
            DeadlineExceededError: No time is left.
        """
        remaining_s = deadline.remaining_s(self.call_deadline_s)
        return remaining_s / 2 if is_retry else remaining_s

    def should_retry(self, failures: Sequence[Failure], deadline: Deadline) -> bool:
        """Decide, after at least one failure, whether to call again."""
        if len(failures) > self.max_retries or deadline.has_passed:
            return False
        last = failures[-1]
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
