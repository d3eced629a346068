"""Threads that fetch images, divided fairly among clients and their requests.

A client whose servers are slow waits for itself: it never occupies more threads than it leaves free, so that there is
always one for the next client (the dynamic thresholds of Choudhury and Hahne, 1998), and a fetch that waits for its
turn occupies none.
"""

import contextvars
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TypeAlias

from gateway.deadline import Deadline, Timings
from gateway.errors import GatewayError, OverloadedError
from gateway.fetching.fetcher import UNLIMITED, Allowance, Fetcher
from gateway.fetching.lookups import SharedLookups

Outcome: TypeAlias = bytes | GatewayError


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Shares of a `FetchPool`.

    Attributes:
        threads: Images that are fetched at the same time.
        threads_per_client: The same, for the requests of one client.
        requests: Requests that fetch, or wait to fetch, at the same time.
        max_wait_s: Seconds that an image may wait for its turn.
    """

    threads: int
    threads_per_client: int
    requests: int
    max_wait_s: float


@dataclass(frozen=True, slots=True)
class _Fetch:
    """One image. Its context makes log lines and spans of the fetch belong to the request."""

    url: str
    context: contextvars.Context
    outcome: Future[Outcome]


@dataclass(eq=False, slots=True)
class _Request:
    """A request whose images are fetched.

    Attributes:
        waiting: Images whose turn has not come.
        running: Number of images that are being fetched.
    """

    client: str
    deadline: Deadline
    allowance: Allowance
    timings: Timings
    waiting: deque[_Fetch]
    lookups: SharedLookups = field(default_factory=SharedLookups)
    running: int = 0


class FetchPool:
    """Fetches the images of requests in parallel; safe to use from many threads.

    The next image belongs to the client with the fewest threads, and to the request of it with the fewest threads.

    Args:
        fetcher: Fetches one image.
        limits: Shares of clients and requests.
    """

    def __init__(self, fetcher: Fetcher, limits: PoolLimits) -> None:
        self._fetcher = fetcher
        self._limits = limits
        self._executor = ThreadPoolExecutor(limits.threads, thread_name_prefix="fetch")
        self._lock = threading.Lock()
        self._free = limits.threads
        self._running: Counter[str] = Counter()  # images, by client
        self._requests: list[_Request] = []  # in order of arrival

    def fetch_all(
        self,
        urls: Sequence[str],
        *,
        deadline: Deadline,
        client: str = "",
        allowance: Allowance = UNLIMITED,
        timings: Timings | None = None,
    ) -> list[Outcome]:
        """Return the bytes behind each URL, or the error that prevented it, in the order of the URLs.

        Args:
            urls: The URLs.
            deadline: When the request ends.
            client: Who sent the request: the name of its key, or its address.
            allowance: The bytes that the images may take together.
            timings: Collects the time of each fetch, without the wait for its turn.

        Raises:
            DeadlineExceededError: Not all were fetched in time.
        """
        if not urls:
            return []
        fetches = [_Fetch(url, contextvars.copy_context(), Future()) for url in urls]
        request = _Request(client, deadline, allowance, timings or Timings(), deque(fetches))
        outcomes = [fetch.outcome for fetch in fetches]
        if not self._enter(request):
            return [_overloaded() for _ in urls]
        started_s = time.perf_counter()
        try:
            wait(outcomes, timeout=deadline.remaining_s(self._limits.max_wait_s))
            self._refuse_waiting(request)
            wait(outcomes, timeout=deadline.remaining_s())
        finally:
            self._leave(request)
            if request.running:  # those cannot report their time any more
                request.timings.add("fetch", time.perf_counter() - started_s)
        if not all(outcome.done() for outcome in outcomes):
            raise deadline.exceeded()
        return [outcome.result() for outcome in outcomes]

    def _enter(self, request: _Request) -> bool:
        client = request.client
        with self._lock:
            of_client = sum(other.client == client for other in self._requests)
            if of_client >= self._limits.requests - len(self._requests):
                return False
            self._requests.append(request)
            self._start()
        return True

    def _refuse_waiting(self, request: _Request) -> None:
        with self._lock:
            waiting = list(request.waiting)
            request.waiting.clear()
        for fetch in waiting:
            fetch.outcome.set_result(_overloaded())

    def _leave(self, request: _Request) -> None:
        self._refuse_waiting(request)
        with self._lock:
            self._requests.remove(request)

    def _start(self) -> None:
        """Start fetches while threads are free; the lock is held."""
        while self._free and (request := self._next()) is not None:
            fetch = request.waiting.popleft()
            self._count(request, 1)
            self._executor.submit(fetch.context.run, self._run, request, fetch)

    def _next(self) -> _Request | None:
        most = min(self._limits.threads_per_client, self._free)
        candidates = [
            request
            for request in self._requests
            if request.waiting and not request.deadline.has_passed and self._running[request.client] < most
        ]
        return min(candidates, key=lambda request: (self._running[request.client], request.running), default=None)

    def _count(self, request: _Request, threads: int) -> None:
        """Occupy a thread, or free it if the number is negative; the lock is held."""
        client = request.client
        self._free -= threads
        request.running += threads
        self._running[client] += threads
        if not self._running[client]:
            del self._running[client]

    def _run(self, request: _Request, fetch: _Fetch) -> None:
        try:
            fetch.outcome.set_result(self._fetch(request, fetch.url))
        except BaseException as error:  # noqa: BLE001  # raised in the thread that waits for it
            fetch.outcome.set_exception(error)
        finally:
            with self._lock:
                self._count(request, -1)
                self._start()

    def _fetch(self, request: _Request, url: str) -> Outcome:
        try:
            with request.timings.measure("fetch"):
                return self._fetcher.fetch(
                    url,
                    deadline=request.deadline,
                    client=request.client,
                    allowance=request.allowance,
                    lookups=request.lookups,
                )
        except GatewayError as error:
            return error


def _overloaded() -> OverloadedError:
    return OverloadedError("More images are being fetched than can arrive in time. Try again shortly.")
