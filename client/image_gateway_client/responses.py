"""Read responses: JSON, or an error that says what the response is instead."""

import json
import re
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from image_gateway_client.endpoint import Endpoint
from image_gateway_client.errors import (
    ABOUT_BLANK,
    PROBLEM_MEMBERS,
    Problem,
    ProblemError,
    UnexpectedAnswerError,
    parse_problem,
)
from image_gateway_client.retries import parse_retry_after
from image_gateway_client.steps import ApiResponse

EXCERPT_LENGTH = 200
EXCERPT_BYTES = 10 * EXCERPT_LENGTH
TAG = re.compile(r"<[^<>]*>")
TENSORFLOW_SERVING_PAGE = b"<HTML><HEAD>\n<TITLE>"
"""How the error pages of TensorFlow Serving's HTTP library begin."""
PROBLEM_MEDIA_TYPE = "application/problem+json"
NOT_FOUND = "/problems/not-found"
NO_ROUTE_STATUSES = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})
GZIP = zlib.MAX_WBITS | 16


def decompress(data: bytes, headers: Mapping[str, str], max_bytes: int) -> bytes:
    """Return a body without its compression (RFC 9110 section 8.4).

    Raises:
        UnexpectedAnswerError: It is larger than `max_bytes`, damaged, or compressed in a way that was not asked for.
    """
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding in {"", "identity"} or not data:
        return data
    if encoding not in {"gzip", "x-gzip"}:
        raise UnexpectedAnswerError(f"the response is compressed with {encoding!r}, but only gzip is accepted")
    decompressor = zlib.decompressobj(GZIP)
    try:
        body = decompressor.decompress(data, max_bytes + 1)
    except zlib.error as error:
        raise UnexpectedAnswerError("the compressed response is damaged") from error
    if len(body) > max_bytes:
        raise too_large(max_bytes)
    if not decompressor.eof:
        raise UnexpectedAnswerError("the compressed response is incomplete")
    return body


def too_large(max_bytes: int) -> UnexpectedAnswerError:
    """Return the error for a response that is larger than `max_bytes`."""
    return UnexpectedAnswerError(
        f"the response is larger than {max_bytes} bytes. Ask for less, or raise max_response_bytes."
    )


def check_response(response: ApiResponse, endpoint: Endpoint) -> None:
    """Check that a response is a success.

    Raises:
        UnexpectedAnswerError: It is a redirect, or the URL has the path of a route.
        ProblemError: It is a problem. Without a problem document, it comes from a proxy, not the gateway.
    """
    if response.status < HTTPStatus.MULTIPLE_CHOICES:
        return
    if response.status < HTTPStatus.BAD_REQUEST:
        location = response.headers.get("location", "")
        location = location if location.isprintable() and location else "another address"
        raise UnexpectedAnswerError(f"{endpoint.url} redirects to {location}. Use the URL of the gateway itself.")
    document = _parse(response.body)
    if isinstance(document, dict) and (document.keys() & PROBLEM_MEMBERS or not document):
        problem = parse_problem(document, response.status)
    else:
        title = response.reason or "The request failed"
        problem = Problem(ABOUT_BLANK, title, _describe_page(response, endpoint), response.status)
    is_no_route = response.status in NO_ROUTE_STATUSES and problem.type in {ABOUT_BLANK, NOT_FOUND}
    if is_no_route and endpoint.likely_url:
        raise UnexpectedAnswerError(
            f"{endpoint.url} answered {response.status}: its path is too long. Did you mean {endpoint.likely_url}?"
        )
    is_document = response.headers.get("content-type", "").startswith(PROBLEM_MEDIA_TYPE)
    raise ProblemError(problem, retry_after_s=retry_after_s(response), is_document=is_document)


def read_json(response: ApiResponse, endpoint: Endpoint) -> Any:
    """Return the JSON of a successful response.

    Raises:
        UnexpectedAnswerError: It is not JSON.
    """
    document = _parse(response.body)
    if document is None:
        raise not_as_expected(response, endpoint, "JSON")
    return document


def not_as_expected(response: ApiResponse, endpoint: Endpoint, expected: str) -> UnexpectedAnswerError:
    """Return the error for a successful response of another media type."""
    content_type = response.headers.get("content-type", "no Content-Type")
    proxy = endpoint.proxy
    hint = f"The request went through {proxy}. {proxy.hint}" if proxy else "Is it an Image Gateway?"
    return UnexpectedAnswerError(
        f"{endpoint.url} answered {response.status} ({content_type}), but not with {expected}. {hint}"
    )


def retry_after_s(response: ApiResponse) -> float | None:
    """Return the time in Retry-After from now, in seconds; None without one."""
    return parse_retry_after(response.headers.get("retry-after"), datetime.now(UTC))


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _describe_page(response: ApiResponse, endpoint: Endpoint) -> str:
    """Return the detail of a problem whose response is not a problem document."""
    excerpt = _excerpt(response.body)
    if response.body.startswith(TENSORFLOW_SERVING_PAGE):
        return f"{endpoint.url} is TensorFlow Serving. The gateway is usually at {endpoint.usual_url}."
    if endpoint.proxy and response.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return endpoint.proxy.refusal
    if endpoint.proxy:
        return f"{excerpt} (through {endpoint.proxy}) {endpoint.proxy.hint}".lstrip()
    if response.status in NO_ROUTE_STATUSES:
        return f"Is {endpoint.url} an Image Gateway?"
    return excerpt


def _excerpt(body: bytes) -> str:
    """Return the beginning of a text or of a page, without its tags, on one line."""
    text = TAG.sub(" ", body[:EXCERPT_BYTES].decode(errors="replace"))
    return " ".join(text.split())[:EXCERPT_LENGTH]
