"""How long the stages of a request took."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

MS_PER_S = 1000


class Timings:
    """Seconds spent in each stage of one request; safe to use from many threads.

    Images of a batch are worked on side by side, and their times added up: a stage may then take longer than the whole.
    """

    def __init__(self) -> None:
        self._spent_s: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def measured(self, stage: str) -> Iterator[None]:
        """Count the time inside to a stage, also when it fails."""
        started_s = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - started_s)

    def add(self, stage: str, seconds: float) -> None:
        """Count some time to a stage."""
        with self._lock:
            self._spent_s[stage] = self._spent_s.get(stage, 0.0) + seconds

    @property
    def spent_s(self) -> dict[str, float]:
        """Seconds spent in each stage so far, in the order they were begun."""
        with self._lock:
            return dict(self._spent_s)

    def header(self) -> str:
        """Write the stages, in the order they were begun, as Server-Timing (W3C Server Timing): milliseconds."""
        return ", ".join(f"{stage};dur={seconds * MS_PER_S:.3f}" for stage, seconds in self.spent_s.items())
