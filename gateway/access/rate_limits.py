"""Rate limits for each API key or client address.

A request counts one, and each further image of a batch one more. They are counted in fixed windows. Responses report
them in the headers RateLimit and RateLimit-Policy of draft-ietf-httpapi-ratelimit-headers-09: q is the limit, w the
length of the window, r how much is left, and t the time until the window ends, both times in seconds.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import structlog
from flask import Flask, Response, g, request
from limits import RateLimitItem, parse_many
from limits.errors import ConfigurationError, StorageError
from limits.storage import RedisStorage

from gateway.access.authentication import OPEN_ENDPOINTS
from gateway.access.window_counts import CountStorage, WindowCounts
from gateway.errors import LimitsUnavailableError, RateLimitedError, TooManyImagesError
from gateway.http.headers import RATE_LIMIT, RATE_LIMIT_POLICY
from gateway.http.request_context import request_client
from gateway.settings import Settings, SettingsError

UNLIMITED_ENDPOINTS = OPEN_ENDPOINTS | {"health.prometheus", "playground.samples", "playground.sample"}
"""Endpoints that orchestrators, Prometheus and pages call by themselves; everything else is counted, also paths that do
not exist."""
KEY_PREFIX = "image-gateway"
FIRST_CHECK_S = 1.0
MAX_CHECK_INTERVAL_S = 32.0

Fallback: TypeAlias = Literal["memory", "allow", "deny"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WindowState:
    """One limit of a caller after something was counted.

    Attributes:
        limit: The limit; its text form names it, as in `60 per 1 minute`.
        count: Count of the current window.
        ends_s: When the window ends, in seconds of `time.monotonic`.
    """

    limit: RateLimitItem
    count: int
    ends_s: float

    @property
    def is_exceeded(self) -> bool:
        """Whether what was counted last is beyond the limit."""
        return self.count > self.limit.amount

    @property
    def remaining(self) -> int:
        """How much is left in the window."""
        return max(0, self.limit.amount - self.count)

    @property
    def seconds_left(self) -> int:
        """Whole seconds until the window has certainly ended; Redis rounds its time to the nearest second."""
        seconds = math.floor(self.ends_s - time.monotonic()) + 1
        return min(max(1, seconds), self.limit.get_expiry())


class RateLimiter:
    """Counts what callers use; safe to use from many threads.

    While the storage is unreachable, the fallback takes over, and the storage is checked at growing intervals.

    Args:
        limits: The limits that apply to each caller.
        storage: Counts the requests; raises StorageError while it is unreachable.
        fallback: What happens meanwhile: count in `memory`, `allow` every request, or `deny` every request.
    """

    def __init__(self, limits: Iterable[RateLimitItem], storage: CountStorage, fallback: Fallback) -> None:
        self._limits = sorted(limits)
        self._storage = storage
        self._fallback = fallback
        self._memory = WindowCounts()
        self._lock = threading.Lock()
        self._is_unreachable = False
        self._check_interval_s = FIRST_CHECK_S
        self._next_check_s = 0.0

    def count(self, caller: str) -> list[WindowState]:
        """Count one request, up to the first limit that it exceeds.

        Returns:
            The limits in which it was counted, shortest window first; none if it was allowed without counting.

        Raises:
            LimitsUnavailableError: The storage is unreachable and the fallback is `deny`.
        """
        return self._use_storage(lambda storage: self._count(storage, caller, 1))

    def count_more(self, caller: str, amount: int) -> list[WindowState]:
        """Count further units of a request, if every limit has room for all of them.

        Returns:
            As `count`. If the last limit is exceeded, nothing was counted, unless another request used what was left at
            the same moment.

        Raises:
            LimitsUnavailableError: As `count`.
        """

        def count(storage: CountStorage) -> list[WindowState]:
            for limit in self._limits:
                key = limit.key_for(KEY_PREFIX, caller)
                if (total := storage.get(key) + amount) > limit.amount:
                    return [_window_state(storage, limit, key, total)]
            return self._count(storage, caller, amount)

        return self._use_storage(count)

    @property
    def most_at_once(self) -> int:
        """The most that a single request may use."""
        return min(limit.amount for limit in self._limits)

    def _use_storage(self, count: Callable[[CountStorage], list[WindowState]]) -> list[WindowState]:
        """Count with the storage or, while it is unreachable, as the fallback says."""
        if self._fallback == "deny":
            try:
                return count(self._storage)
            except StorageError as error:
                raise LimitsUnavailableError("The storage of the rate limits is unreachable. Retry shortly.") from error
        if self._is_reachable():
            try:
                return count(self._storage)
            except StorageError as error:
                self._begin_outage(error)
        return count(self._memory) if self._fallback == "memory" else []

    def _count(self, storage: CountStorage, caller: str, amount: int) -> list[WindowState]:
        states = []
        for limit in self._limits:
            key = limit.key_for(KEY_PREFIX, caller)
            total = storage.incr(key, limit.get_expiry(), amount)
            states.append(_window_state(storage, limit, key, total))
            if states[-1].is_exceeded:
                break
        return states

    def _is_reachable(self) -> bool:
        """Return whether the storage can be used; during an outage, check it when the next check is due."""
        with self._lock:
            if not self._is_unreachable:
                return True
            if time.monotonic() < self._next_check_s:
                return False
            self._schedule_check()
        if not self._storage.check():
            return False
        with self._lock:
            self._is_unreachable = False
        log.info("rate_limit_storage_recovered")
        return True

    def _begin_outage(self, error: StorageError) -> None:
        with self._lock:
            if self._is_unreachable:
                return
            self._is_unreachable = True
            self._check_interval_s = FIRST_CHECK_S
            self._schedule_check()
        log.warning("rate_limit_storage_unreachable", reason=str(error), fallback=self._fallback)

    def _schedule_check(self) -> None:
        self._next_check_s = time.monotonic() + self._check_interval_s
        self._check_interval_s = min(2 * self._check_interval_s, MAX_CHECK_INTERVAL_S)


class RateLimits:
    """The limits of an application.

    Args:
        limiter: Counts what callers use.
    """

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter

    def register(self, app: Flask) -> None:
        """Refuse requests that exceed the limits, and report the limits in the responses.

        Call it after the registration of whatever sets `g.key_name`.
        """
        app.before_request(self._count_request)
        app.after_request(_write_headers)

    def count_refusal(self) -> None:
        """Count a request that is refused for its key against the client's address.

        Raises:
            RateLimitedError: The address has exceeded a limit by such requests.
        """
        self._set_states(self._limiter.count(request_client()))

    def _count_request(self) -> None:
        if request.endpoint in UNLIMITED_ENDPOINTS:
            return
        if request.method == "OPTIONS":  # sent by browsers on their own: it must not use up what its user may send
            self._set_states(self._limiter.count(f"options:{request_client()}"))
            return
        caller = request_client()
        self._set_states(self._limiter.count(caller))
        g.count_images = partial(self._count_images, caller)

    def _count_images(self, caller: str, images: int) -> None:
        """Count the images of a request, of which the first is counted already.

        Raises:
            TooManyImagesError: No window has room for so many.
            RateLimitedError: Less than that is left in the current window.
        """
        if images <= 1:
            return
        limit = self._limiter.most_at_once
        if images > limit:
            raise TooManyImagesError(
                f"The request carries {images} images, each of which counts towards the rate limit; at most {limit} "
                "are accepted in one request. Send them in several requests.",
                max_images=limit,
            )
        self._set_states(self._limiter.count_more(caller, images - 1))

    def _set_states(self, states: list[WindowState]) -> None:
        """Store the limits for the response.

        Raises:
            RateLimitedError: The last one is exceeded.
        """
        if not states or not states[-1].is_exceeded:
            g.rate_limits = states
            return
        exceeded = states[-1]
        g.rate_limits = g.get("rate_limits") or states  # if images were refused, what the request itself has left
        seconds = exceeded.seconds_left
        raise RateLimitedError(f"The limit is {exceeded.limit}. Retry in {seconds} s.", retry_after_s=seconds)


def make_rate_limits(settings: Settings) -> RateLimits:
    """Return the limits that the settings define.

    Raises:
        SettingsError: The configured Redis cannot be used.
    """
    storage = _make_redis_storage(settings) if settings.rate_limit_storage == "redis" else WindowCounts()
    return RateLimits(RateLimiter(parse_many(settings.rate_limit), storage, settings.rate_limit_fallback))


def _make_redis_storage(settings: Settings) -> CountStorage:
    try:
        return RedisStorage(
            settings.redis_url,
            wrap_exceptions=True,
            socket_timeout=settings.redis_timeout_s,
            socket_connect_timeout=settings.redis_timeout_s,
        )
    except (ConfigurationError, ValueError):  # their messages contain the URL, which may contain a password
        raise SettingsError(
            "GATEWAY_REDIS_URL cannot be used; expected redis://HOST:PORT/NUMBER, and the package redis installed."
        ) from None


def _window_state(storage: CountStorage, limit: RateLimitItem, key: str, count: int) -> WindowState:
    left_s = storage.get_expiry(key) - time.time()
    return WindowState(limit, count, time.monotonic() + left_s)


def _write_headers(response: Response) -> Response:
    states: list[WindowState] = g.get("rate_limits", [])
    if states:
        response.headers[RATE_LIMIT_POLICY] = ", ".join(
            f'"{state.limit}";q={state.limit.amount};w={state.limit.get_expiry()}' for state in states
        )
        response.headers[RATE_LIMIT] = ", ".join(
            f'"{state.limit}";r={state.remaining};t={state.seconds_left}' for state in states
        )
    return response
