"""Errors to answers: every failure becomes an RFC 9457 problem document here and nowhere else."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

import structlog
from flask import Flask, Response, g, json, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from gateway import errors
from gateway.prediction.schemas import ItemProblem

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_S = 1

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of failure as the caller sees it.

    Attributes:
        status: HTTP status code.
        slug: Last part of its type URI, `/problems/SLUG`; stable. Empty where the status says it all: `about:blank`.
        title: What it is, the same in every occurrence.
        advice: What the caller can do about it.
    """

    status: int
    slug: str
    title: str
    advice: str

    @property
    def type_uri(self) -> str:
        """What a program tells this problem by (RFC 9457 section 3.1.1)."""
        return f"/problems/{self.slug}" if self.slug else "about:blank"


PROBLEMS: dict[type[errors.GatewayError], Problem] = {
    errors.BadRequestError: Problem(
        400,
        "bad-request",
        "The request cannot be understood",
        "Send an image in one of the accepted forms, and options by their names and within their range.",
    ),
    errors.KeyMissingError: Problem(
        401,
        "key-missing",
        "An API key is needed",
        "Send the key that the operator gave you: `Authorization: Bearer KEY`, or `X-API-Key: KEY`.",
    ),
    errors.KeyUnknownError: Problem(
        401, "key-unknown", "The API key is not valid", "Check the key; if it is right, ask the operator for another."
    ),
    errors.RateLimitedError: Problem(
        429,
        "rate-limited",
        "Too many requests",
        "Wait the seconds in Retry-After; the header RateLimit tells beforehand how many requests are left.",
    ),
    errors.LimitsUnavailableError: Problem(
        503,
        "limits-unavailable",
        "Requests cannot be counted",
        "Send the request again after the seconds in Retry-After. GATEWAY_RATE_LIMIT_FALLBACK lets an operator choose.",
    ),
    errors.ModelNotFoundError: Problem(
        404, "model-not-found", "No such model is served", "GET /api/v1/models lists the models."
    ),
    errors.VersionNotFoundError: Problem(
        404,
        "version-not-found",
        "No such version of the model is served",
        "Ask for one of `versions` or `labels`, or leave the version out for the newest one.",
    ),
    errors.BodyTooLargeError: Problem(
        413,
        "body-too-large",
        "Too many bytes",
        "Send a smaller file, for example the picture scaled down or as JPEG. The limit is GATEWAY_MAX_BODY_BYTES, "
        "for a picture by URL GATEWAY_FETCH_MAX_BYTES.",
    ),
    errors.ImageTooLargeError: Problem(
        413,
        "image-too-large",
        "Too many pixels",
        "Scale the picture down; a model sees a few hundred pixels on a side. The limit is GATEWAY_MAX_PIXELS.",
    ),
    errors.TooManyImagesError: Problem(
        413,
        "too-many-images",
        "Too many images in one request",
        "Send them in several requests. The limit is GATEWAY_MAX_IMAGES.",
    ),
    errors.ContentTypeError: Problem(
        415,
        "unsupported-media-type",
        "The media type carries no image",
        "Send multipart/form-data, application/json, image/* or application/octet-stream.",
    ),
    errors.ImageFormatError: Problem(
        415,
        "unsupported-image-format",
        "The image format is not accepted",
        "Convert the picture, for example to JPEG.",
    ),
    errors.ImageUnreadableError: Problem(
        422,
        "unreadable-image",
        "The image cannot be decoded",
        "The file is damaged or cut off. Send it whole; open it in a viewer to check.",
    ),
    errors.FetchError: Problem(
        422,
        "fetch-failed",
        "The image URL gave no image",
        "Check that the URL opens without a login and answers 200.",
    ),
    errors.FetchRefusedError: Problem(
        422,
        "fetch-refused",
        "The image URL is not allowed",
        "Check the name; only http and https URLs of known, public hosts on the usual ports are fetched. An operator "
        "can allow a host by GATEWAY_FETCH_ALLOWED_HOSTS. Or send the picture itself.",
    ),
    errors.NotExplainableError: Problem(
        422,
        "model-not-explainable",
        "The model cannot explain its answers",
        "Ask without `explain`. The operator can export a model with the signature `explain`.",
    ),
    errors.ModelFailedError: Problem(
        502,
        "model-failed",
        "The model server could not compute an answer",
        "Tell the operator; retrying will not help.",
    ),
    errors.ModelContractError: Problem(
        500,
        "model-unusable",
        "The model cannot be used",
        "Its card and its signature contradict each other. The operator must export it anew or correct its card.",
    ),
    errors.VersionGoneError: Problem(
        503, "version-gone", "The version of the model is not served any more", "Send the request again."
    ),
    errors.NotReadyError: Problem(
        503,
        "not-ready",
        "The gateway is not ready",
        "`missing` lists what has to be there first; send requests elsewhere until then.",
    ),
    errors.OverloadedError: Problem(
        503,
        "overloaded",
        "More requests than can be answered",
        "Send the request again after the seconds in Retry-After, and fewer at the same time.",
    ),
    errors.ModelUnavailableError: Problem(
        503,
        "model-unavailable",
        "The model is not available",
        "Send the request again after the seconds in Retry-After.",
    ),
    errors.ModelOverloadedError: Problem(
        503,
        "model-overloaded",
        "The model server is at its limit",
        "Send the request again after the seconds in Retry-After, and fewer at the same time.",
    ),
    errors.DeadlineExceededError: Problem(
        504, "deadline-exceeded", "The answer took too long", "Send the request again, or a smaller picture."
    ),
}

# What Flask refuses by itself. Other statuses of its own are about:blank.
HTTP_PROBLEMS = {
    HTTPStatus.BAD_REQUEST: PROBLEMS[errors.BadRequestError],
    HTTPStatus.NOT_FOUND: Problem(404, "not-found", "Not Found", "Nothing is served at this path; check it."),
    HTTPStatus.METHOD_NOT_ALLOWED: Problem(
        405, "method-not-allowed", "Method Not Allowed", "Use one of the methods that the Allow header lists."
    ),
}

# What a 401 must say (RFC 9110 section 11.6.1; the errors are those of RFC 6750 section 3.1).
CHALLENGES: dict[type[errors.GatewayError], str] = {
    errors.KeyMissingError: 'Bearer realm="image-gateway"',
    errors.KeyUnknownError: 'Bearer realm="image-gateway", error="invalid_token"',
}

INTERNAL = Problem(
    500, "internal-error", "Something went wrong here", "Give the operator the request_id; the log has it."
)


def register(app: Flask) -> None:
    """Let every error of the app, ours and Flask's, be answered as a problem document."""
    app.register_error_handler(errors.GatewayError, answer)
    app.register_error_handler(HTTPException, answer_http)
    app.register_error_handler(Exception, answer_unexpected)


def answer(error: errors.GatewayError) -> Response:
    """Answer one of our own errors."""
    problem = PROBLEMS[type(error)]
    if error.__cause__ is not None and problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("request_failed", problem=problem.slug, cause=str(error.__cause__))
    response = document(problem, error.detail, error.members)
    if problem.status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}:
        response.headers["Retry-After"] = str(error.members.get("retry_after_s", RETRY_AFTER_S))
    if type(error) in CHALLENGES:
        response.headers["WWW-Authenticate"] = CHALLENGES[type(error)]
    return response


def answer_http(error: HTTPException) -> Response:
    """Answer what Flask and werkzeug refuse by themselves, with the headers they want (a 405 needs Allow)."""
    if isinstance(error, RequestEntityTooLarge):
        return answer(_too_large())
    status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
    problem = HTTP_PROBLEMS.get(status) or Problem(status, "", status.phrase, "")
    response = document(problem, error.description or status.phrase, {})
    for name, value in error.get_headers():
        if name.lower() not in {"content-type", "content-length"}:
            response.headers[name] = value
    return response


def _too_large() -> errors.GatewayError:
    """Tell which of the two limits it was for which werkzeug has one exception."""
    limit = g.max_body_bytes
    if request.content_length is not None and request.content_length <= limit:
        return errors.BadRequestError(f"The form has more than {request.max_form_parts} parts. Send fewer images.")
    return errors.BodyTooLargeError(f"The body has more than {limit} bytes.", max_bytes=limit)


def answer_unexpected(error: Exception) -> Response:
    """Answer a bug: the log has the traceback, the caller only the request id."""
    log.error("unexpected_error", exc_info=error)
    return document(INTERNAL, "An unexpected error; the log has it under the request_id.", {})


def item(error: errors.GatewayError) -> ItemProblem:
    """Write the problem of one image of a batch, as it stands in place of its result."""
    return cast("ItemProblem", _members(PROBLEMS[type(error)], error.detail, error.members))


def document(problem: Problem, detail: str, members: dict[str, object]) -> Response:
    """Write one problem document (RFC 9457)."""
    body = _members(problem, detail, members) | {"request_id": g.get("request_id", "")}
    g.problem = problem.slug or f"http-{problem.status}"
    return Response(json.dumps(body) + "\n", status=problem.status, content_type=CONTENT_TYPE)


def _members(problem: Problem, detail: str, members: dict[str, object]) -> dict[str, object]:
    return {
        "type": problem.type_uri,
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
        **members,
    }
