"""Responses in the OpenAPI document, and their headers."""

from collections.abc import Collection, Iterable, Sequence
from http import HTTPStatus

from gateway.errors import BodyTooLargeError
from gateway.http.headers import CACHE_CONTROL, ETAG, RATE_LIMIT, RATE_LIMIT_POLICY, REQUEST_ID, SERVER_TIMING
from gateway.http.problems import CONTENT_TYPE, HTTP_PROBLEMS, INTERNAL, PROBLEMS, Problem
from gateway.openapi.examples import Example, references
from gateway.openapi.operations import Operation
from gateway.openapi.problems import ACCESS_PROBLEMS, NGINX_PROBLEMS, PROBLEM, all_problems
from gateway.openapi.schemas import COMPONENT, Schema, reference

RETRY_AFTER = "Retry-After"
CHALLENGE = "WWW-Authenticate"
OPTIONAL_HEADERS = (SERVER_TIMING, RATE_LIMIT, RATE_LIMIT_POLICY)
"""Headers that any response may have."""
HEADERS_BY_STATUS: dict[int, tuple[str, ...]] = {
    HTTPStatus.UNAUTHORIZED: (CHALLENGE,),
    HTTPStatus.TOO_MANY_REQUESTS: (RETRY_AFTER,),
    HTTPStatus.SERVICE_UNAVAILABLE: (RETRY_AFTER,),
}
"""Additional headers of problems, by status."""
ALWAYS_LISTED = frozenset(
    {
        HTTPStatus.BAD_REQUEST,  # the header X-Request-Timeout may be invalid
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
OTHER = "Other"
"""End of the name of the response to a request that is refused before it reaches its operation."""


def responses(operation: Operation, examples: Iterable[Example], *, is_open: bool) -> Schema:
    """Return the responses of an operation, by status; those with problems are references to `problem_responses`.

    Args:
        operation: The operation.
        examples: The examples of its responses.
        is_open: Whether it is answered without an API key.
    """
    documents = {str(operation.status.value): _success(operation, examples)}
    if ETAG in operation.headers:
        documents["304"] = {
            "description": "The copy that the client named in `If-None-Match` is current.",
            "headers": _references(REQUEST_ID, *operation.headers, *OPTIONAL_HEADERS),
        }
    for status in problem_statuses(operation, is_open=is_open):
        documents[str(status)] = _problem_reference(str(status))
    return documents | {"default": _problem_reference(OTHER)}


def problem_statuses(operation: Operation, *, is_open: bool) -> list[int]:
    """Return the statuses of the problems that an operation lists."""
    problems = [*(PROBLEMS[error] for error in operation.errors), *(() if is_open else ACCESS_PROBLEMS)]
    return sorted({problem.status for problem in problems} | ALWAYS_LISTED)


def problem_responses(
    statuses: Iterable[int], examples: Sequence[Example], *, omitted: Collection[Problem] = ()
) -> dict[str, Schema]:
    """Return one response for each status, with all problems that have it, and one for any other status.

    Args:
        statuses: The statuses.
        examples: Examples of responses.
        omitted: Problems that no operation has.
    """
    problems = [problem for problem in all_problems() if problem not in omitted]
    documents = {
        _name(str(status)): _failure(
            [problem for problem in problems if problem.status == status],
            [example.name for example in examples if example.status == status],
            HEADERS_BY_STATUS.get(status, ()),
        )
        for status in sorted(statuses)
    }
    others = [*HTTP_PROBLEMS.values(), INTERNAL, PROBLEMS[BodyTooLargeError], *NGINX_PROBLEMS]
    return documents | {_name(OTHER): _failure(others, [], ())}


def headers() -> dict[str, Schema]:
    """Return the headers of responses, by name."""
    return {
        REQUEST_ID: {
            "required": True,
            "schema": {"type": "string"},
            "description": "Identifies the request in the log.",
        },
        ETAG: {
            "required": True,
            "schema": {"type": "string"},
            "description": "Identifies the body; send it in `If-None-Match` to receive 304 if nothing has changed.",
        },
        CACHE_CONTROL: {
            "required": True,
            "schema": {"type": "string"},
            "description": "`no-cache`: keep the response, and revalidate it before each use.",
        },
        SERVER_TIMING: {
            "schema": {"type": "string"},
            "description": "How long each stage of a prediction took, in milliseconds (W3C Server Timing).",
        },
        CHALLENGE: {
            "required": True,
            "schema": {"type": "string"},
            "description": "Requires a key, and says what was wrong with the one received (RFC 6750).",
        },
        RATE_LIMIT: {
            "schema": {"type": "string"},
            "description": "Only if the rate of requests is limited: `r` requests, or images of a batch, are left "
            "until the limit resets in `t` seconds (draft-ietf-httpapi-ratelimit-headers-09).",
        },
        RATE_LIMIT_POLICY: {
            "schema": {"type": "string"},
            "description": "The limits: `q` requests in `w` seconds.",
        },
        RETRY_AFTER: {
            "required": True,
            "schema": {"type": "integer", "minimum": 0},
            "description": "Seconds to wait before sending the request again.",
        },
    }


def _success(operation: Operation, examples: Iterable[Example]) -> Schema:
    content: Schema = {"schema": reference(operation.response) if operation.response else {"type": "string"}}
    names = [example.name for example in examples if example.status == operation.status]
    if names:
        content["examples"] = references(names)
    return {
        "description": "Success.",
        "headers": {**_references(REQUEST_ID, *operation.headers, *OPTIONAL_HEADERS), **operation.own_headers},
        "content": dict.fromkeys(operation.media_types, content),
    }


def _failure(problems: Iterable[Problem], example_names: list[str], own_headers: tuple[str, ...]) -> Schema:
    content: Schema = {"schema": {"$ref": COMPONENT.format(model=PROBLEM)}}
    if example_names:
        content["examples"] = references(example_names)
    return {
        "description": "\n".join(f"- `{problem.type_uri}`: {problem.title}. {problem.advice}" for problem in problems),
        "headers": _references(REQUEST_ID, *own_headers, *OPTIONAL_HEADERS),
        "content": {CONTENT_TYPE: content},
    }


def _references(*names: str) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _problem_reference(status: str) -> Schema:
    return {"$ref": f"#/components/responses/{_name(status)}"}


def _name(status: str) -> str:
    return f"{PROBLEM}{status}"
