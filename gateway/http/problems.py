"""Problem documents (RFC 9457): the only place where errors become HTTP responses."""

import errno
import inspect
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple, cast

import structlog
from flask import Flask, Response, g, json, request
from werkzeug.exceptions import ClientDisconnected, HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from gateway import errors
from gateway.http.route_hints import RouteHints
from gateway.prediction.schemas import ItemProblem
from gateway.sizes import exceeds

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
LACKS_RESOURCES = errors.NO_RESOURCES | {errno.ENOSPC}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of failure as the caller sees it.

    Attributes:
        status: HTTP status code.
        slug: Last part of its type URI, `/problems/SLUG`; stable. Empty for the type `about:blank`, which adds nothing
            to the status.
        title: What went wrong; the same in every occurrence.
        advice: What the caller can do about it.
        meaning: When it occurs.
    """

    status: int
    slug: str
    title: str
    advice: str
    meaning: str = ""

    @property
    def type_uri(self) -> str:
        """URI by which programs identify this problem (RFC 9457 section 3.1.1)."""
        return f"/problems/{self.slug}" if self.slug else "about:blank"

    @property
    def outcome(self) -> str:
        """Its name in the log and the metrics."""
        return self.slug or f"http-{self.status}"


class _Entry(NamedTuple):
    """The attributes of a `Problem` that are not part of the error class."""

    status: int
    title: str
    advice: str


_TABLE: dict[type[errors.GatewayError], _Entry] = {
    errors.BadRequestError: _Entry(
        400,
        "The request cannot be understood",
        "Send an image in one of the accepted forms, and only known options with values in their range.",
    ),
    errors.KeyMissingError: _Entry(
        401,
        "An API key is required",
        "Send the key that the operator gave you: `Authorization: Bearer KEY`, or `X-API-Key: KEY`.",
    ),
    errors.KeyUnknownError: _Entry(
        401,
        "The API key is not valid",
        "Check the key. If it is correct, ask the operator for a new one.",
    ),
    errors.KeysUnavailableError: _Entry(
        503,
        "API keys cannot be checked",
        "Retry after the number of seconds in Retry-After. The operator must repair the file of the API keys.",
    ),
    errors.RateLimitedError: _Entry(
        429,
        "Too many requests",
        "Wait for the number of seconds in Retry-After. The RateLimit header of every response shows how many requests "
        "are left.",
    ),
    errors.LimitsUnavailableError: _Entry(
        503,
        "Requests cannot be counted",
        "Retry after the number of seconds in Retry-After. Operators choose what happens in this case with "
        "GATEWAY_RATE_LIMIT_FALLBACK.",
    ),
    errors.ModelNotFoundError: _Entry(
        404,
        "The model is not served",
        "`GET /api/v1/models` lists the models.",
    ),
    errors.VersionNotFoundError: _Entry(
        404,
        "The version of the model is not served",
        "Use one of `versions` or `labels`, or omit the version to use the newest one.",
    ),
    errors.BodyTimeoutError: _Entry(
        408,
        "The body arrives too slowly",
        "Send the request again, with a smaller image or over a faster connection. The limit is "
        "GATEWAY_REQUEST_DEADLINE_S, or X-Request-Timeout if that is less. For a job it is "
        "GATEWAY_JOBS_UPLOAD_DEADLINE_S, and GATEWAY_JOBS_UPLOAD_MIN_RATE on average.",
    ),
    errors.BodyTooLargeError: _Entry(
        413,
        "Too many bytes",
        "Send a smaller file: scale the image down or save it as JPEG. The limit is GATEWAY_MAX_BODY_BYTES, "
        "GATEWAY_FETCH_MAX_BYTES for an image URL, and GATEWAY_JOBS_MAX_BYTES for a job.",
    ),
    errors.ImageTooLargeError: _Entry(
        413,
        "Too many pixels",
        "Scale the image down; a model sees a few hundred pixels on each side. The limit is GATEWAY_MAX_PIXELS.",
    ),
    errors.TooManyImagesError: _Entry(
        413,
        "Too many images in one request",
        "Send the images in several requests. The limit is GATEWAY_MAX_IMAGES, GATEWAY_JOBS_MAX_IMAGES for a job, or "
        "GATEWAY_RATE_LIMIT if that is less.",
    ),
    errors.ContentTypeError: _Entry(
        415,
        "The media type is not supported",
        "Send multipart/form-data, application/json, image/* or application/octet-stream.",
    ),
    errors.ImageFormatError: _Entry(
        415,
        "The image format is not accepted",
        "Convert the image, for example to JPEG.",
    ),
    errors.ImageUnreadableError: _Entry(
        422,
        "The image cannot be decoded",
        "The file is damaged or incomplete. Check that it opens in an image viewer, and send all of it.",
    ),
    errors.FetchError: _Entry(
        422,
        "The image could not be fetched from the URL",
        "Check that the URL opens without a login and answers with status 200.",
    ),
    errors.FetchRefusedError: _Entry(
        422,
        "The image URL is not allowed",
        "Check the host name. Images are fetched only from http and https URLs of public hosts on the usual ports. "
        "Operators can allow a host with GATEWAY_FETCH_ALLOWED_HOSTS. You can also send the image itself.",
    ),
    errors.NotExplainableError: _Entry(
        422,
        "The model cannot explain its predictions",
        "Omit `explain`. Operators can export a model with the signature `explain`.",
    ),
    errors.ArchiveError: _Entry(
        422,
        "The archive cannot be used",
        "Send a ZIP archive of images with relative names, without a password, packed with store or deflate. "
        "The limits are GATEWAY_JOBS_MAX_BYTES, also for what is unpacked, and GATEWAY_JOBS_MAX_IMAGES.",
    ),
    errors.IdempotencyKeyReusedError: _Entry(
        422,
        "The idempotency key belongs to another request",
        "Send a new value in Idempotency-Key for each new job. Send the same value only to repeat the same request.",
    ),
    errors.JobNotFoundError: _Entry(
        404,
        "The job does not exist",
        "Check the id, and use the API key that the job was created with. Operators set how long jobs are kept with "
        "GATEWAY_JOBS_RETENTION_S.",
    ),
    errors.TooManyJobsError: _Entry(
        429,
        "Too many unfinished jobs",
        "Wait until one of your jobs has finished and its webhook is delivered, or cancel one. The limits are "
        "GATEWAY_JOBS_MAX_UNFINISHED and GATEWAY_JOBS_MAX_WEBHOOKS.",
    ),
    errors.JobsFullError: _Entry(
        507,
        "There is no space for the job",
        "Send the job later, or a smaller one. Operators set the space with GATEWAY_JOBS_MAX_STORED_BYTES, and have to "
        "check the disk or the memory of Redis.",
    ),
    errors.JobsUnavailableError: _Entry(
        503,
        "Jobs are not available",
        "Retry after the number of seconds in Retry-After. Operators have to check the disk, or Redis.",
    ),
    errors.ModelFailedError: _Entry(
        502,
        "The model server failed to compute a prediction",
        "Report this to the operator. A retry does not help.",
    ),
    errors.ModelContractError: _Entry(
        500,
        "The model cannot be used",
        "The model's card and its signature contradict each other, or its scores are not probabilities. The operator "
        "must export the model again or correct its card.",
    ),
    errors.VersionGoneError: _Entry(
        503,
        "The version of the model is no longer served",
        "Send the request again.",
    ),
    errors.NotReadyError: _Entry(
        503,
        "The gateway is not ready",
        "`missing` lists what is not available yet. Until then, send requests to another gateway.",
    ),
    errors.MetricsUnavailableError: _Entry(
        503,
        "The metrics cannot be read",
        "Requests are answered meanwhile. Operators restart the counters by replacing the workers: send SIGHUP to the "
        "gateway.",
    ),
    errors.OverloadedError: _Entry(
        503,
        "More requests than can be answered",
        "Retry after the number of seconds in Retry-After, with fewer requests at the same time.",
    ),
    errors.ModelUnavailableError: _Entry(
        503,
        "The model is not available",
        "Retry after the number of seconds in Retry-After.",
    ),
    errors.ModelOverloadedError: _Entry(
        503,
        "The model server is overloaded",
        "Retry after the number of seconds in Retry-After, with fewer requests at the same time.",
    ),
    errors.DeadlineExceededError: _Entry(
        504,
        "The request took too long",
        "Send the request again, or a smaller image.",
    ),
}
PROBLEMS = {
    error: Problem(status, error.slug, title, advice, inspect.cleandoc(error.__doc__ or ""))
    for error, (status, title, advice) in _TABLE.items()
}

# Errors of Flask and gunicorn themselves. Other statuses have the type about:blank.
HTTP_PROBLEMS = {
    HTTPStatus.BAD_REQUEST: PROBLEMS[errors.BadRequestError],
    HTTPStatus.NOT_FOUND: Problem(
        404,
        "not-found",
        "Not Found",
        "Check the path. `GET /api/v1/openapi.json` lists all paths.",
        "There is no route with this path.",
    ),
    HTTPStatus.METHOD_NOT_ALLOWED: Problem(
        405,
        "method-not-allowed",
        "Method Not Allowed",
        "Use one of the methods that the Allow header lists.",
        "The path exists, but does not take this method.",
    ),
    HTTPStatus.REQUEST_URI_TOO_LONG: Problem(
        414,
        "uri-too-long",
        "The URL is too long",
        "Send images in the body, not in the URL.",
        "The request line is longer than 8 KiB.",
    ),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: Problem(
        431,
        "headers-too-large",
        "The headers are too long",
        "Send fewer and shorter headers; cookies are not needed.",
        "One header is longer than 8 KiB, or all of them together are longer than 32 KiB, or there are more than 100.",
    ),
}

# The header WWW-Authenticate of a 401 (RFC 9110 section 11.6.1), with the errors of RFC 6750 section 3.1.
CHALLENGES: dict[type[errors.GatewayError], str] = {
    errors.KeyMissingError: 'Bearer realm="image-gateway"',
    errors.KeyUnknownError: 'Bearer realm="image-gateway", error="invalid_token"',
}

INTERNAL = Problem(
    500,
    "internal-error",
    "Internal error",
    "Report the request_id to the operator, who can find it in the log.",
    "The gateway has a fault.",
)


def register(app: Flask) -> None:
    """Answer every error of the application with a problem document."""
    app.register_error_handler(errors.GatewayError, respond)
    hints = RouteHints(app.url_map)
    app.register_error_handler(HTTPException, lambda error: respond_to_http_error(error, hints))
    app.register_error_handler(Exception, respond_to_bug)


def respond(error: errors.GatewayError) -> Response:
    """Return the response to a `GatewayError`, and record the model version that it carries."""
    problem = PROBLEMS[type(error)]
    if error.model_version is not None:
        g.model_version = error.model_version
    if error.__cause__ is not None and problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("request_failed", problem=problem.slug, cause=str(error.__cause__))
    response = make_response(problem, error.detail, error.members)
    if problem.status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}:
        response.headers["Retry-After"] = str(error.members.get("retry_after_s", RETRY_AFTER_S))
        g.log_reason = error.detail  # which of the limits, for the operator
    if isinstance(error, errors.ContentTypeError) and error.accept_encoding:  # RFC 9110 section 15.5.16
        response.headers["Accept-Encoding"] = error.accept_encoding
    if type(error) in CHALLENGES:
        response.headers["WWW-Authenticate"] = CHALLENGES[type(error)]
    return response


def respond_to_http_error(error: HTTPException, hints: RouteHints) -> Response:
    """Return the response to an error of Flask or werkzeug, with the headers that it needs (Allow for a 405)."""
    if isinstance(error, RequestEntityTooLarge):
        sentence = exceeds("The body", request.content_length, g.max_body_bytes)
        return respond(errors.BodyTooLargeError(f"{sentence} Send a smaller image.", max_bytes=g.max_body_bytes))
    status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
    problem = problem_of(status)
    response = make_response(problem, _detail(error, hints) or status.phrase, {})
    for name, value in error.get_headers():
        if name.lower() not in {"content-type", "content-length"}:
            response.headers[name] = value
    return response


def _detail(error: HTTPException, hints: RouteHints) -> str | None:
    """Return what to say about an error of Flask: for a request that has no route, the nearest one."""
    if isinstance(error, ClientDisconnected):
        return "The body ended before all of it had arrived: it is shorter than its Content-Length. Send all of it."
    if isinstance(error, NotFound) and error.description == NotFound.description:
        return hints.no_route(request.method, _sent_path(), request.root_path.rstrip("/"))
    if isinstance(error, MethodNotAllowed):
        allowed = error.valid_methods or ()
        return hints.wrong_method(request.method, request.path, allowed, request.root_path.rstrip("/"))
    return error.description


def _sent_path() -> str:
    """Return the path of the request; Flask makes one slash of several at its beginning."""
    return f"/{request.path}" if request.environ.get("PATH_INFO", "").startswith("//") else request.path


def problem_of(status: HTTPStatus) -> Problem:
    """Return the problem of an error that no part of the gateway raised."""
    return HTTP_PROBLEMS.get(status) or Problem(status, "", status.phrase, "")


def respond_to_bug(error: Exception) -> Response:
    """Return the response to a bug: the log gets the traceback, the caller only the request id.

    If the process has no more files, memory or threads, that is overload.
    """
    if _lacks_resources(error):
        log.warning("request_failed", problem=errors.OverloadedError.slug, cause=str(error))
        return respond(errors.OverloadedError("The gateway has no more files, memory or threads. Try again shortly."))
    log.error("unexpected_error", exc_info=error)
    return make_response(INTERNAL, "An unexpected error occurred. The log has the details under the request_id.", {})


def _lacks_resources(error: BaseException | None) -> bool:
    if error is None:
        return False
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno in LACKS_RESOURCES)
        or (isinstance(error, RuntimeError) and "can't start new thread" in str(error))
        or _lacks_resources(error.__cause__ or error.__context__)
    )


def make_item_problem(error: errors.GatewayError) -> ItemProblem:
    """Return the problem of one image of a batch or a job, which takes the place of its result."""
    return _make_item_document(PROBLEMS[type(error)], error.detail, error.members)


def make_internal_item_problem(detail: str) -> ItemProblem:
    """Return the same for a fault of the gateway's own."""
    return _make_item_document(INTERNAL, detail, {})


def _make_item_document(problem: Problem, detail: str, members: dict[str, object]) -> ItemProblem:
    return cast("ItemProblem", {"kind": "problem", **make_document(problem, detail, members)})


def make_response(problem: Problem, detail: str, members: dict[str, object]) -> Response:
    """Return a response with a problem document."""
    body = make_document(problem, detail, members) | {"request_id": g.get("request_id", "")}
    g.problem = problem.outcome
    return Response(json.dumps(body) + "\n", status=problem.status, content_type=CONTENT_TYPE)


def make_document(problem: Problem, detail: str, members: dict[str, object]) -> dict[str, object]:
    """Return a problem as a JSON object."""
    return {
        "type": problem.type_uri,
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
        **members,
    }
