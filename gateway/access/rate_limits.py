"""Rate limits for each API key or client address.

Requests are counted in fixed windows. Responses report them in the headers RateLimit and RateLimit-Policy of
draft-ietf-httpapi-ratelimit-headers-09: q is the limit, w the length of the window, r the number of requests left, and
t the time until the window ends, both times in seconds.
"""

import math
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import structlog
from flask import Flask, Response, g, request
from limits import RateLimitItem, parse_many
from limits.errors import ConfigurationError, StorageError
from limits.storage import RedisStorage

from gateway.access.window_counts import CountStorage, WindowCounts
from gateway.errors import LimitsUnavailableError, RateLimitedError
from gateway.http.headers import RATE_LIMIT, RATE_LIMIT_POLICY
from gateway.http.request_context import request_client
from gateway.http.views import API_BLUEPRINT
from gateway.settings import Settings, SettingsError

KEY_PREFIX = "image-gateway"
FIRST_CHECK_S = 1.0
MAX_CHECK_INTERVAL_S = 32.0

Fallback: TypeAlias = Literal["memory", "allow", "deny"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WindowState:
    """One limit of a caller after a request was counted.

    Attributes:
        limit: The limit; its text form names it, as in `60 per 1 minute`.
        count: Requests in the current window.
        ends_s: When the window ends, in seconds since 1970.
    """

    limit: RateLimitItem
    count: int
    ends_s: float

    @property
    def is_exceeded(self) -> bool:
        """Whether the request is beyond the limit."""
        return self.count > self.limit.amount

    @property
    def remaining(self) -> int:
        """Requests left in the window."""
        return max(0, self.limit.amount - self.count)

    @property
    def seconds_left(self) -> int:
        """Whole seconds until the window has certainly ended; Redis rounds its time to the nearest second."""
        seconds = math.ceil(int(self.ends_s + 1) - time.time())
        return min(max(1, seconds), self.limit.get_expiry())


class RateLimiter:
    """Counts requests of callers; safe to use from many threads.

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
        if self._fallback == "deny":
            try:
                return self._count(self._storage, caller)
            except StorageError as error:
                raise LimitsUnavailableError("Requests cannot be counted at the moment. Retry shortly.") from error
        if self._is_reachable():
            try:
                return self._count(self._storage, caller)
            except StorageError as error:
                self._begin_outage(error)
        return self._count(self._memory, caller) if self._fallback == "memory" else []

    def _count(self, storage: CountStorage, caller: str) -> list[WindowState]:
        states = []
        for limit in self._limits:
            key = limit.key_for(KEY_PREFIX, caller)
            states.append(WindowState(limit, storage.incr(key, limit.get_expiry()), storage.get_expiry(key)))
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


def register(app: Flask, settings: Settings) -> None:
    """Refuse requests to the API that exceed the limits, and report the limits in the responses.

    Raises:
        SettingsError: The configured Redis cannot be used.
    """
    storage = _make_redis_storage(settings) if settings.rate_limit_storage == "redis" else WindowCounts()
    limiter = RateLimiter(parse_many(settings.rate_limit), storage, settings.rate_limit_fallback)

    def check() -> None:
        if not _is_limited():
            return
        g.rate_limits = limiter.count(request_client())
        if g.rate_limits and g.rate_limits[-1].is_exceeded:
            exceeded = g.rate_limits[-1]
            seconds = exceeded.seconds_left
            raise RateLimitedError(
                f"Too many requests: the limit is {exceeded.limit}. Retry in {seconds} s.", retry_after_s=seconds
            )

    app.before_request(check)
    app.after_request(_write_headers)


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


def _is_limited() -> bool:
    """Return whether requests of this kind are counted: those to the API, except CORS preflight requests."""
    return request.blueprint == API_BLUEPRINT and request.method != "OPTIONS"


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
