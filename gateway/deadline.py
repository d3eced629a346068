"""One time budget per request, shared by fetching, decoding and the call to the model server."""

import time
from dataclasses import dataclass
from typing import Self

from gateway.errors import DeadlineExceededError


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock after which nobody waits for the answer any more."""

    at_s: float
    allowed_s: float

    @classmethod
    def after(cls, seconds: float) -> Self:
        """Start a budget of so many seconds now."""
        return cls(at_s=time.monotonic() + seconds, allowed_s=seconds)

    @property
    def passed(self) -> bool:
        """Whether nothing is left."""
        return time.monotonic() >= self.at_s

    def no_later_than(self, seconds: float) -> "Deadline":
        """Give this deadline or the one so many seconds from now, whichever comes first."""
        return min(self, Deadline.after(seconds), key=lambda deadline: deadline.at_s)

    def remaining_s(self, at_most: float = float("inf")) -> float:
        """Give the seconds left, no more than `at_most`.

        Raises:
            DeadlineExceededError: nothing is left.
        """
        remaining = self.at_s - time.monotonic()
        if remaining <= 0:
            raise self.missed()
        return min(remaining, at_most)

    def missed(self) -> DeadlineExceededError:
        """Make the error that tells of this deadline."""
        return DeadlineExceededError(f"The request was not answered within {self.allowed_s:g} s.")
