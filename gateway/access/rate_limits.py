"""How often one caller may ask.

flask-limiter counts; the answer tells what is left by the fields RateLimit and RateLimit-Policy of
draft-ietf-httpapi-ratelimit-headers-09, in which q is the quota, w the window, r what remains and t when it is
full again, in seconds.
"""

import math
import time
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

import structlog
from flask import Flask, Response, g, request
from flask_limiter import Limit, Limiter, RateLimitExceeded, RequestLimit
from limits.errors import ConfigurationError, StorageError
from limits.strategies import FixedWindowRateLimiter

from gateway.access.window_counts import WindowCounts
from gateway.errors import LimitsUnavailableError, RateLimitedError
from gateway.http import problems
from gateway.http.headers import LIMITED_BLUEPRINT, RATE_LIMIT, RATE_LIMIT_POLICY
from gateway.settings import Settings, SettingsError

MEMORY = f"{WindowCounts.STORAGE_SCHEME[0]}://"
IPV6_NETWORK_BITS = 64
"""Of what one subscriber gets at least (RFC 6177), and could take a new address of for each request."""

log = structlog.get_logger(__name__)


def register(app: Flask, settings: Settings) -> None:
    """Refuse what is more than the limit.

    Raises:
        SettingsError: the counts cannot be kept where the settings say.
    """
    limiter = _make_limiter(settings)

    def refuse(_: RateLimitExceeded) -> Response:
        breached = next(limit for limit in limiter.current_limits if limit.breached)
        seconds = _seconds_left(breached)
        detail = f"No more than {breached.limit} are answered. Ask again in {seconds} s."
        return problems.answer(RateLimitedError(detail, retry_after_s=seconds))

    def fail(error: StorageError) -> Response:
        away = LimitsUnavailableError("What was asked before cannot be counted now. Send the request again.")
        away.__cause__ = error
        return problems.answer(away)

    def tell(response: Response) -> Response:
        try:
            _write_fields(response, limiter.current_limits)
        except StorageError as error:
            log.warning("rate_limit_not_told", reason=str(error))
        return response

    # Before the limiter's own: it leaves the errors of its storage to these, and what it counted to be told.
    app.register_error_handler(RateLimitExceeded, refuse)
    app.register_error_handler(StorageError, fail)
    app.after_request(tell)
    try:
        limiter.init_app(app)
    except (ConfigurationError, ValueError):  # its message has the URL, which may have a password
        raise SettingsError(
            "GATEWAY_REDIS_URL cannot be used; expected redis://HOST:PORT/NUMBER, and the package redis installed."
        ) from None
    if settings.rate_limit_fallback == "memory":
        # flask-limiter has no option for the storage that it falls back to.
        limiter._fallback_limiter = FixedWindowRateLimiter(WindowCounts())  # noqa: SLF001


def _make_limiter(settings: Settings) -> Limiter:
    timeouts: dict[str, Any] = dict.fromkeys(("socket_timeout", "socket_connect_timeout"), settings.redis_timeout_s)
    no_limit: Any = Limit(settings.rate_limit, key_function=_caller, exempt_when=lambda: True)
    return Limiter(
        _caller,
        application_limits=[settings.rate_limit],
        application_limits_exempt_when=_is_unlimited,
        storage_uri=settings.redis_url if settings.rate_limit_storage == "redis" else MEMORY,
        storage_options={"wrap_exceptions": True, **timeouts},
        key_prefix="image-gateway",
        # Either takes over while the storage is away, which is then asked for at growing intervals; else it raises.
        in_memory_fallback_enabled=settings.rate_limit_fallback == "memory",
        in_memory_fallback=[no_limit] if settings.rate_limit_fallback == "allow" else None,
    )


def _is_unlimited() -> bool:
    """Tell whether a request is answered however often it comes: health, metrics, pages, and browsers' questions."""
    return request.blueprint != LIMITED_BLUEPRINT or request.method == "OPTIONS"


def _caller() -> str:
    """Name who asks: the key's name or, without keys, the address, of IPv6 the network."""
    if "key_name" in g:
        return f"key:{g.key_name}"
    given = request.remote_addr or "local"  # a Unix socket's other end has no address
    try:
        address = ip_address(given)
    except ValueError:
        return given
    if not isinstance(address, IPv6Address):
        return given
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ip_network((address, IPV6_NETWORK_BITS), strict=False))


def _write_fields(response: Response, counted: list[RequestLimit]) -> None:
    if not counted:
        return
    response.headers[RATE_LIMIT_POLICY] = ", ".join(
        f'"{item.limit}";q={item.limit.amount};w={item.limit.get_expiry()}' for item in counted
    )
    response.headers[RATE_LIMIT] = ", ".join(
        f'"{item.limit}";r={item.remaining};t={_seconds_left(item)}' for item in counted
    )


def _seconds_left(counted: RequestLimit) -> int:
    seconds = math.ceil(counted.reset_at - time.time())
    return min(max(1, seconds), counted.limit.get_expiry())
