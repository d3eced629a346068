"""Responses to requests that gunicorn cannot parse: problem documents in place of its HTML pages.

Modules that need prometheus_client are imported late: gunicorn imports this module before the directory for the metrics
exists.
"""

import importlib
import json
import re
import uuid
from http import HTTPStatus

from flask import Flask, Response
from gunicorn.http import errors  # type: ignore[import-untyped]

from gateway.errors import BadRequestError, OverloadedError
from gateway.http.headers import REQUEST_ID, WELL_FORMED_ID

ID_LINE = re.compile(rf"\r\n{REQUEST_ID}:[ \t]*({WELL_FORMED_ID.pattern})[ \t]*\r\n".encode(), re.IGNORECASE)
STATUSES: dict[type[Exception], HTTPStatus] = {
    # The application's own headers; these are subclasses of the client's errors.
    errors.InvalidResponseHeader: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.InvalidResponseHeaderName: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    errors.UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
    errors.ConfigurationProblem: HTTPStatus.INTERNAL_SERVER_ERROR,
}
DETAILS = {
    HTTPStatus.BAD_REQUEST: "The request line or a header is malformed. Send HTTP/1.1, Host and Content-Length once, "
    "the latter as a number, only printable ASCII in headers, and all other bytes of the URL as %XX.",
    HTTPStatus.REQUEST_URI_TOO_LONG: "The request line is longer than 8 KiB. Send images in the body, not in the URL.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "One header is longer than 8 KiB, or all of them together are longer "
    "than 32 KiB, or there are more than 100. Send fewer and shorter ones.",
    HTTPStatus.EXPECTATION_FAILED: "The only expectation that is met is `100-continue`. Omit the header Expect.",
    HTTPStatus.NOT_IMPLEMENTED: "The transfer coding is not supported. Send Content-Length, or chunks.",
    HTTPStatus.SERVICE_UNAVAILABLE: "There are more requests in progress than can be answered in time. Try again soon.",
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED: "The version of HTTP is not supported. Send HTTP/1.1.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "An unexpected error occurred. The log has the details under the request_id.",
}


def status_of(error: Exception) -> HTTPStatus:
    """Return the status of the response to an error in gunicorn: 500 unless the client is at fault."""
    if isinstance(error, errors.InvalidHTTPVersion) and isinstance(error.version, tuple):
        return HTTPStatus.HTTP_VERSION_NOT_SUPPORTED
    for kind, status in STATUSES.items():
        if isinstance(error, kind):
            return status
    is_client_error = isinstance(error, errors.ParseException)
    return HTTPStatus.BAD_REQUEST if is_client_error else HTTPStatus.INTERNAL_SERVER_ERROR


def request_id_of(head: bytes) -> str:
    """Return the id in a request's head, or a new one if it has none that is safe to log."""
    match = ID_LINE.search(head)
    return match[1].decode() if match else uuid.uuid4().hex


def make_response(status: HTTPStatus, request_id: str) -> bytes:
    """Count a refusal and return a whole response, after which the connection is closed."""
    metrics = importlib.import_module("gateway.observability.metrics")
    problems = importlib.import_module("gateway.http.problems")
    own = {
        HTTPStatus.INTERNAL_SERVER_ERROR: problems.INTERNAL,
        HTTPStatus.SERVICE_UNAVAILABLE: problems.PROBLEMS[OverloadedError],
    }
    problem = own.get(status) or problems.problem_of(status)
    metrics.child(metrics.REQUESTS, "none", "other", status.value, problem.outcome, "", "").inc()
    retry_after = f"Retry-After: {problems.RETRY_AFTER_S}\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else ""
    document = problems.make_document(problem, DETAILS.get(status, problem.advice), {"request_id": request_id})
    body = json.dumps(document).encode() + b"\n"
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"Content-Type: {problems.CONTENT_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"{REQUEST_ID}: {request_id}\r\n"
        f"{retry_after}"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body


def register(app: Flask) -> None:
    """Answer 400 if the application reads a body whose chunks gunicorn cannot parse."""
    problems = importlib.import_module("gateway.http.problems")

    def respond(_: errors.ParseException) -> Response:
        response: Response = problems.respond(
            BadRequestError("The chunks of the body are malformed or incomplete. Let your HTTP library send them.")
        )
        return response

    app.register_error_handler(errors.ParseException, respond)
