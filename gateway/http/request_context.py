"""The context of every request: its id, deadline, timings, log line and metrics."""

import functools
import re
import time
import uuid
from collections.abc import Callable
from http import HTTPMethod
from ipaddress import IPv6Address, ip_address
from typing import Any, TypeVar

import structlog
from flask import Flask, Request, Response, g, request
from flask.sessions import NullSession, SessionInterface, SessionMixin
from werkzeug.routing import MapAdapter

from gateway.deadline import Deadline
from gateway.errors import BadRequestError
from gateway.fetching.ip_addresses import subscriber_network
from gateway.http.bodies import BodyRequest
from gateway.http.headers import REQUEST_ID, REQUEST_TIMEOUT, SERVER_TIMING, WELL_FORMED_ID
from gateway.http.hints import quote
from gateway.observability import metrics
from gateway.settings import Settings

SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,20})?")
METHODS = frozenset(HTTPMethod)
QUIET_ROUTES = frozenset({"/livez", "/readyz", "/metrics", "/ping", "/v2/health/live", "/v2/health/ready"})

T = TypeVar("T")

log = structlog.get_logger(__name__)


class NoSessions(SessionInterface):
    """Opens the same empty session for every request: the gateway keeps none, and Flask looks for a key each time."""

    _session = NullSession()

    def open_session(self, app: Flask, request: Request) -> SessionMixin:  # noqa: ARG002  # the signature of Flask
        """Return the empty session, which Flask never saves."""
        return self._session


class Gateway(Flask):
    """Flask with `BodyRequest` as its request class, and without sessions, coroutines and several hosts."""

    request_class = BodyRequest
    session_interface = NoSessions()

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Return what matches the path of a request; see `Flask.create_url_adapter`.

        The host is not looked at: routes are the same for every name of the gateway, and no response contains it.
        """
        if request is None:
            return super().create_url_adapter(request)
        return MapAdapter(
            self.url_map,
            server_name="",
            script_name=request.root_path,
            subdomain="",
            url_scheme=request.scheme,
            path_info=request.path,
            default_method=request.method,
        )

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return a view or hook unchanged: none is a coroutine, and the check takes longer than most of them."""
        return func


def unwrap(proxy: T) -> T:
    """Return the object behind `flask.request` or `flask.g`.

    Each access through a proxy takes about a microsecond, and a request is accessed dozens of times.
    """
    current: T = proxy._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001  # werkzeug's name for it
    return current


def request_client() -> str:
    """Return who sent the request: the name of its API key or, without keys, its IPv4 address or IPv6 network."""
    context = unwrap(g)
    if "key_name" in context:
        return f"key:{context.key_name}"
    return _network_of(unwrap(request).remote_addr or "local")  # the peer of a Unix socket has no address


@functools.lru_cache(maxsize=1024)
def _network_of(remote: str) -> str:
    """Return an IPv4 address, the network of an IPv6 address, or any other name as it is."""
    try:
        address = ip_address(remote)
    except ValueError:
        return remote
    if not isinstance(address, IPv6Address):
        return remote
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return subscriber_network(address)


def register(app: Flask, settings: Settings) -> None:
    """Assign an id and a deadline to every request of the app, and log and count its response."""
    metrics.REQUEST_THREADS.set(settings.threads)

    def begin() -> None:
        metrics.REQUESTS_IN_PROGRESS.inc()
        http_request, context = unwrap(request), unwrap(g)
        client_id = http_request.headers.get(REQUEST_ID, "")
        context.request_id = client_id if WELL_FORMED_ID.fullmatch(client_id) else uuid.uuid4().hex
        context.started_s = time.perf_counter()
        context.max_body_bytes = http_request.max_content_length = settings.max_body_bytes
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=context.request_id, client=http_request.remote_addr)
        context.deadline = Deadline.after(settings.request_deadline_s)

    app.before_request(begin)
    app.after_request(_finish)
    app.teardown_request(_end)


def register_timeout(app: Flask) -> None:
    """Shorten the deadline of a request whose caller wants to wait less; call it after access control is registered.

    A request with an invalid value is refused, and must be counted before.
    """

    def shorten_deadline() -> None:
        if unwrap(request).routing_exception is None:  # otherwise that is the problem to report
            _shorten_deadline()

    app.before_request(shorten_deadline)


def extend_deadline(seconds: float) -> None:
    """Give the request that is being handled more time than usual, unless its caller wants to wait less.

    Raises:
        BadRequestError: The caller's time is not a number of seconds above 0.
    """
    unwrap(g).deadline = Deadline.after(seconds)
    _shorten_deadline()


def _shorten_deadline() -> None:
    context, value = unwrap(g), unwrap(request).headers.get(REQUEST_TIMEOUT)
    if value is not None:
        context.deadline = context.deadline.no_later_than(_parse_timeout_s(value))


def _parse_timeout_s(value: str) -> float:
    """Parse how long the caller wants to wait.

    Raises:
        BadRequestError: It is not a number of seconds above 0.
    """
    if not SECONDS.fullmatch(value) or not float(value):
        raise BadRequestError(
            f"{REQUEST_TIMEOUT} must be a number of seconds above 0, such as 2.5, not {quote(value)}.",
            field=REQUEST_TIMEOUT,
        )
    return float(value)


def _finish(response: Response) -> Response:
    http_request, context = unwrap(request), unwrap(g)
    response.headers[REQUEST_ID] = context.request_id
    route = http_request.url_rule.rule if http_request.url_rule else "none"
    seconds = time.perf_counter() - context.started_s
    model, version = context.get("model_version") or ("", "")
    if "timings" in context:
        for stage, stage_s in context.timings.seconds.items():
            metrics.child(metrics.STAGE_SECONDS, stage, model).observe(stage_s)
        context.timings.add("total", seconds)
        response.headers[SERVER_TIMING] = context.timings.header()
    status = response.status_code
    method = http_request.method if http_request.method in METHODS else "other"  # a client may invent methods
    outcome = context.get("problem", metrics.ANSWERED)
    metrics.child(metrics.REQUESTS, route, method, status, outcome, model, version).inc()
    metrics.child(metrics.REQUEST_SECONDS, route).observe(seconds)
    fields = {"model": model, "version": version} if model else {}
    write = log.debug if route in QUIET_ROUTES else log.info
    write(
        "request",
        method=http_request.method,
        path=http_request.path,
        status=status,
        duration_ms=round(seconds * 1000, 2),
        **fields,
        **({"problem": context.problem} if "problem" in context else context.get("log_fields", {})),
        **({"reason": context.log_reason} if "log_reason" in context else {}),
    )
    return response


def _end(_: BaseException | None) -> None:
    if "started_s" in unwrap(g):  # absent if a hook before `begin` answered the request
        metrics.REQUESTS_IN_PROGRESS.dec()
