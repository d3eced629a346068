"""Generate load: users that repeat a call, and a record of every call's outcome and latency.

The users are threads of this process. They suit services that take a millisecond or more for a call, and calls of any
kind. `bench.external_load` runs wrk and h2load, which use less of the processor, where that matters.
"""

import contextlib
import http.client
import itertools
import math
import statistics
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self, TypeAlias

from tools.waiting import wait_until

OK = "ok"
"""Outcome of a successful call; every other outcome names a failure."""
ANSWER_TIMEOUT_S = 60.0
AWAIT_S = 120.0

Send: TypeAlias = Callable[[int], str]
"""Sends request number 0, 1, … and returns its outcome."""
Connect: TypeAlias = Callable[[], AbstractContextManager[Send]]
"""Opens what one user needs, such as a connection."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    Attributes:
        started_s: Start, by `time.monotonic`.
        latency_s: Seconds until its outcome was known.
        outcome: `OK` or the name of the failure.
    """

    started_s: float
    latency_s: float
    outcome: str


@dataclass(frozen=True, slots=True)
class LoadResult:
    """The calls of a measurement.

    Attributes:
        calls: The calls that count.
        seconds: Duration of the measurement.
        total: Number of all calls, those of the warm-up included.
    """

    calls: Sequence[Call]
    seconds: float
    total: int

    @property
    def counts(self) -> Counter[str]:
        """Number of calls by outcome."""
        return Counter(call.outcome for call in self.calls)

    @property
    def failures(self) -> int:
        """Number of calls that did not succeed."""
        return sum(call.outcome != OK for call in self.calls)

    def rate(self, outcome: str | None = OK) -> float:
        """Return the calls per second with an outcome, or with any."""
        return len(self._latencies_s(outcome)) / self.seconds

    def percentile_ms(self, percent: int, outcome: str | None = None) -> float:
        """Return the latency that `percent` % (1 to 99) of the calls with an outcome, or with any, did not exceed.

        Infinity if there are fewer than two such calls.
        """
        latencies_s = self._latencies_s(outcome)
        if len(latencies_s) < 2:  # noqa: PLR2004  # a quantile needs two values
            return math.inf
        return statistics.quantiles(latencies_s, n=100, method="inclusive")[percent - 1] * 1e3

    def _latencies_s(self, outcome: str | None) -> list[float]:
        return [call.latency_s for call in self.calls if outcome in {None, call.outcome}]


class LoadGenerator:
    """Users that repeat a call, each in its own thread, while the context lasts; each makes at least one call.

    An exception from a call ends its user and is raised when the context is left. A generator is entered once.

    Args:
        connect: Entered by each user; the resulting function makes one call. Its argument counts up from the user's
            number.
        users: Number of users.
        pause_s: Seconds that each user waits between two calls.
    """

    def __init__(self, connect: Connect, *, users: int, pause_s: float = 0.0) -> None:
        self._pause_s = pause_s
        self._connect = connect
        self._calls: list[list[Call]] = [[] for _ in range(users)]
        self._counts = [Counter[str]() for _ in range(users)]
        self._may_send = threading.Event()
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(users)
        self._users: list[Future[None]] = []

    def __enter__(self) -> Self:
        """Start the users."""
        self._may_send.set()
        self._users = [self._pool.submit(self._repeat, number) for number in range(len(self._calls))]
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the users and wait for the calls in progress."""
        self._stop.set()
        self._may_send.set()
        self._pool.shutdown()
        self._raise_errors()

    def run(self, seconds: float, *, warm_up_s: float = 0.0) -> LoadResult:
        """Generate load for some time.

        Args:
            seconds: Duration of the measurement.
            warm_up_s: Seconds of load before it. With a warm-up, calls count that start within `seconds`. Without one,
                all calls count, and the measurement lasts until the last one has ended.
        """
        started_s = time.monotonic()
        with self:
            if warm_up_s:
                time.sleep(warm_up_s)
                started_s = time.monotonic()
            time.sleep(seconds)
        calls = self.calls
        measured_calls = [call for call in calls if call.started_s >= started_s]
        end_s = max(call.started_s + call.latency_s for call in calls)
        return LoadResult(measured_calls, seconds if warm_up_s else end_s - started_s, len(calls))

    @property
    def calls(self) -> list[Call]:
        """All calls that have ended so far."""
        return list(itertools.chain.from_iterable(self._calls))

    @property
    def counts(self) -> Counter[str]:
        """Number of calls that have ended so far, by outcome."""
        return sum(self._counts, Counter())

    def slowest_s(self, outcome: str) -> float:
        """Return the longest latency of the calls with an outcome, 0 without one."""
        return max((call.latency_s for call in self.calls if call.outcome == outcome), default=0.0)

    def pause(self) -> None:
        """Start no new calls; those in progress still count."""
        self._may_send.clear()

    def resume(self) -> None:
        """Start new calls again."""
        self._may_send.set()

    def await_successes(self, number: int) -> None:
        """Wait until `number` more calls have succeeded.

        Raises:
            TimeoutError: They did not within `AWAIT_S`.
        """
        goal = self._successes() + number
        wait_until(lambda: self._successes() >= goal, AWAIT_S, f"{number} more successful calls")

    def _successes(self) -> int:
        self._raise_errors()
        return sum(counts[OK] for counts in self._counts)

    def _raise_errors(self) -> None:
        for user in self._users:
            if user.done():
                user.result()

    def _repeat(self, user: int) -> None:
        with self._connect() as send:
            for number in itertools.count(user):
                started_s = time.monotonic()
                outcome = send(number)
                self._calls[user].append(Call(started_s, time.monotonic() - started_s, outcome))
                self._counts[user][outcome] += 1
                self._may_send.wait()
                if self._stop.wait(self._pause_s):
                    return


@dataclass(frozen=True, slots=True)
class ImageRequests:
    """Classification requests with encoded images in turn, over one persistent connection per user.

    An outcome is `OK`, `status N`, or the name of the exception of a failed connection.

    Attributes:
        url: URL to post to.
        images: Encoded images, sent one at a time.
    """

    url: str
    images: Sequence[bytes]

    @contextlib.contextmanager
    def connect(self) -> Iterator[Send]:
        """Yield the function that sends one request."""
        parts = urllib.parse.urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        with contextlib.closing(kind(parts.netloc, timeout=ANSWER_TIMEOUT_S)) as connection:
            yield lambda number: self._send(connection, parts.path, number)

    def _send(self, connection: http.client.HTTPConnection, path: str, number: int) -> str:
        image = self.images[number % len(self.images)]
        try:
            connection.request("POST", path, image, {"Content-Type": "application/octet-stream"})
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return type(error).__name__
        return OK if response.status == HTTPStatus.OK else f"status {response.status}"
