"""What surrounds every request: its id, its deadline, its times, its log line and its counts."""

import math
import re
import time
import uuid
from http import HTTPMethod

import structlog
from flask import Flask, Response, g, request

from gateway import metrics
from gateway.deadline import Deadline
from gateway.errors import BadRequestError
from gateway.settings import Settings

REQUEST_ID = "X-Request-ID"
REQUEST_TIMEOUT = "X-Request-Timeout"
SERVER_TIMING = "Server-Timing"
SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
WELL_FORMED_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
METHODS = frozenset(HTTPMethod)
QUIET_ROUTES = frozenset({"/livez", "/readyz", "/metrics", "/ping"})

log = structlog.get_logger(__name__)


def register(app: Flask, settings: Settings) -> None:
    """Give every request of the app an id and a deadline, and log and count its answer."""
    metrics.REQUEST_THREADS.set(settings.threads)

    def begin() -> None:
        metrics.REQUESTS_IN_PROGRESS.inc()
        given = request.headers.get(REQUEST_ID, "")
        g.request_id = given if WELL_FORMED_ID.fullmatch(given) else uuid.uuid4().hex
        g.started_s = time.perf_counter()
        g.max_body_bytes = settings.max_body_bytes
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=g.request_id, client=request.remote_addr)
        g.deadline = Deadline.after(min(settings.request_deadline_s, _timeout_s(request.headers.get(REQUEST_TIMEOUT))))

    app.before_request(begin)
    app.after_request(_finish)
    app.teardown_request(_end)


def _timeout_s(given: str | None) -> float:
    """Read how long the caller wants to wait.

    Raises:
        BadRequestError: it is no number of seconds above 0.
    """
    if given is None:
        return math.inf
    if not SECONDS.fullmatch(given) or not float(given):
        raise BadRequestError(
            f"{REQUEST_TIMEOUT} must be a number of seconds above 0, such as 2.5, not {given[:40]!r}."
        )
    return float(given)


def _finish(response: Response) -> Response:
    response.headers[REQUEST_ID] = g.request_id
    route = request.url_rule.rule if request.url_rule else "none"
    seconds = time.perf_counter() - g.started_s
    model, version = (g.served.name, g.served.version) if "served" in g else ("", "")
    if "timings" in g:
        for stage, spent_s in g.timings.spent_s.items():
            metrics.STAGE_SECONDS.labels(stage, model).observe(spent_s)
        g.timings.add("total", seconds)
        response.headers[SERVER_TIMING] = g.timings.header()
    method = request.method if request.method in METHODS else "other"  # a client may make one up every time
    outcome = g.get("problem", metrics.ANSWERED)
    metrics.REQUESTS.labels(route, method, response.status_code, outcome, model, version).inc()
    metrics.REQUEST_SECONDS.labels(route).observe(seconds)
    facts = {"model": model, "version": version} if model else {}
    level = log.debug if route in QUIET_ROUTES else log.info
    level(
        "request",
        method=request.method,
        path=request.path,
        status=response.status_code,
        duration_ms=round(seconds * 1000, 2),
        **facts,
        **({"problem": g.problem} if "problem" in g else g.get("log_fields", {})),
    )
    return response


def _end(_: BaseException | None) -> None:
    if "started_s" in g:  # else something before `begin` has answered
        metrics.REQUESTS_IN_PROGRESS.dec()
