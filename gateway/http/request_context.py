"""What surrounds every request: its id, its deadline, its times, its log line and its counts."""

import math
import re
import time
import uuid
from http import HTTPMethod

import structlog
from flask import Flask, Response, g, request

from gateway.deadline import Deadline
from gateway.errors import BadRequestError
from gateway.http.headers import REQUEST_ID, REQUEST_TIMEOUT, SERVER_TIMING
from gateway.http.proxies import itself
from gateway.observability import metrics
from gateway.settings import Settings

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
        asked, known = itself(request), itself(g)
        given = asked.headers.get(REQUEST_ID, "")
        known.request_id = given if WELL_FORMED_ID.fullmatch(given) else uuid.uuid4().hex
        known.started_s = time.perf_counter()
        known.max_body_bytes = settings.max_body_bytes
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=known.request_id, client=asked.remote_addr)
        known.deadline = Deadline.after(
            min(settings.request_deadline_s, _timeout_s(asked.headers.get(REQUEST_TIMEOUT)))
        )

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
    asked, known = itself(request), itself(g)
    response.headers[REQUEST_ID] = known.request_id
    route = asked.url_rule.rule if asked.url_rule else "none"
    seconds = time.perf_counter() - known.started_s
    model, version = (known.served.name, known.served.version) if "served" in known else ("", "")
    if "timings" in known:
        for stage, spent_s in known.timings.spent_s.items():
            metrics.part(metrics.STAGE_SECONDS, stage, model).observe(spent_s)
        known.timings.add("total", seconds)
        response.headers[SERVER_TIMING] = known.timings.header()
    status = response.status_code
    method = asked.method if asked.method in METHODS else "other"  # a client may make one up every time
    outcome = known.get("problem", metrics.ANSWERED)
    metrics.part(metrics.REQUESTS, route, method, status, outcome, model, version).inc()
    metrics.part(metrics.REQUEST_SECONDS, route).observe(seconds)
    facts = {"model": model, "version": version} if model else {}
    level = log.debug if route in QUIET_ROUTES else log.info
    level(
        "request",
        method=asked.method,
        path=asked.path,
        status=status,
        duration_ms=round(seconds * 1000, 2),
        **facts,
        **({"problem": known.problem} if "problem" in known else known.get("log_fields", {})),
    )
    return response


def _end(_: BaseException | None) -> None:
    if "started_s" in g:  # else something before `begin` has answered
        metrics.REQUESTS_IN_PROGRESS.dec()
