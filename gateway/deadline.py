"""Time of a request: the deadline that fetching, decoding and prediction share, and how long each stage took."""

import threading
import time
from dataclasses import dataclass
from typing import Self

from gateway.errors import DeadlineExceededError

MS_PER_S = 1000


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock after which the response is no longer useful.

    Attributes:
        at_s: The moment, in seconds of `time.monotonic`.
        allowed_s: Seconds that were allowed in all, for messages.
    """

    at_s: float
    allowed_s: float

    @classmethod
    def after(cls, seconds: float) -> Self:
        """Return the deadline that lies this many seconds ahead."""
        return cls(at_s=time.monotonic() + seconds, allowed_s=seconds)

    @property
    def has_passed(self) -> bool:
        """Whether no time is left."""
        return time.monotonic() >= self.at_s

    def no_later_than(self, seconds: float) -> "Deadline":
        """Return this deadline or the one this many seconds ahead, whichever comes first."""
        return min(self, Deadline.after(seconds), key=lambda deadline: deadline.at_s)

    def remaining_s(self, at_most: float = float("inf")) -> float:
        """Return the seconds left, at most `at_most`.

        Raises:
            DeadlineExceededError: No time is left.
        """
        remaining = self.at_s - time.monotonic()
        if remaining <= 0:
            raise self.exceeded()
        return min(remaining, at_most)

    def exceeded(self) -> DeadlineExceededError:
        """Return the error for missing this deadline."""
        return DeadlineExceededError(
            f"The request was not answered within {self.allowed_s:g} s. Send it again, with fewer or smaller images."
        )


@dataclass(slots=True)
class _Measurement:
    """The time spent in a context, which takes a third of the time of one made from a generator."""

    timings: "Timings"
    stage: str
    started_s: float = 0.0

    def __enter__(self) -> None:
        self.started_s = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.timings.add(self.stage, time.perf_counter() - self.started_s)


class Timings:
    """Seconds spent in each stage of one request; safe to use from many threads.

    The images of a batch are processed in parallel and their times are added up, so a stage can take longer than the
    request.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def measure(self, stage: str) -> "_Measurement":
        """Add the time spent inside to a stage, also when it fails."""
        return _Measurement(self, stage)

    def add(self, stage: str, seconds: float) -> None:
        """Add seconds to a stage."""
        with self._lock:
            self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds spent in each stage so far, in the order in which the stages began."""
        with self._lock:
            return dict(self._seconds)

    def header(self) -> str:
        """Format the stages as a Server-Timing header (W3C Server Timing), in milliseconds."""
        return ", ".join(f"{stage};dur={seconds * MS_PER_S:.3f}" for stage, seconds in self.seconds.items())
