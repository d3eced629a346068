"""Problems in the OpenAPI document, and what each type has beyond the members that all have."""

from collections.abc import Mapping

from gateway import errors
from gateway.health.readiness import REQUIREMENTS
from gateway.http.problems import HTTP_PROBLEMS, INTERNAL, PROBLEMS, Problem
from gateway.openapi.schemas import Schema
from vision.decode import ImageFormat

PROBLEM = "Problem"
"""Name of the schema of all problems."""
MEMBERS: Mapping[type[errors.GatewayError], Mapping[str, Schema]] = {
    errors.BodyTooLargeError: {
        "max_bytes": {"type": "integer", "description": "The limit, in bytes.", "examples": [10485760]},
    },
    errors.TooManyImagesError: {
        "max_images": {"type": "integer", "description": "The limit.", "examples": [64]},
    },
    errors.TooManyJobsError: {
        "max_unfinished": {"type": "integer", "description": "The limit.", "examples": [10]},
    },
    errors.NotReadyError: {
        "missing": {
            "type": "array",
            "items": {"type": "string", "enum": [*REQUIREMENTS]},
            "description": "The requirements that are not met; empty while the gateway shuts down.",
            "examples": [[REQUIREMENTS[0]]],
        },
    },
    errors.VersionNotFoundError: {
        "versions": {
            "type": "array",
            "items": {"type": "integer"},
            "description": "The versions served, newest first.",
            "examples": [[2, 1]],
        },
        "labels": {
            "type": "array",
            "items": {"type": "string"},
            "description": "The version labels that can be used instead of a number.",
            "examples": [["stable"]],
        },
    },
    errors.RateLimitedError: {
        "retry_after_s": {
            "type": "integer",
            "description": "The value of Retry-After, in seconds.",
            "examples": [30],
        },
    },
    errors.ImageTooLargeError: {
        "max_pixels": {
            "type": "integer",
            "description": "The limit on width times height.",
            "examples": [50_000_000],
        },
    },
    errors.ImageFormatError: {
        "accepted": {
            "type": "array",
            "items": {"type": "string", "enum": [image_format.value for image_format in ImageFormat]},
            "description": "The accepted formats.",
            "examples": [[image_format.value for image_format in ImageFormat]],
        },
    },
}
"""Members of problems in addition to those that all problems have."""

NGINX_PROBLEMS = (
    Problem(
        503,
        "gateway-unavailable",
        "The gateway is not available",
        "Retry after the number of seconds in Retry-After.",
        "The gateway does not respond to nginx, which is in front of it.",
    ),
    Problem(
        504,
        "gateway-timeout",
        "The gateway took too long",
        "Send the request again, or a smaller image.",
        "The gateway did not respond to nginx, which is in front of it, in the time that nginx waits.",
    ),
)
"""Problems that only nginx, in front of the gateway, responds with; they are in nginx/nginx.conf.template."""

ACCESS_PROBLEMS = (
    PROBLEMS[errors.KeyMissingError],
    PROBLEMS[errors.KeyUnknownError],
    PROBLEMS[errors.KeysUnavailableError],
    PROBLEMS[errors.RateLimitedError],
    PROBLEMS[errors.LimitsUnavailableError],
)
"""Problems of requests without a valid API key, beyond the rate limit, or that cannot be checked or counted."""


def all_problems() -> dict[Problem, Mapping[str, Schema]]:
    """Return all problems that have a type, with the members that each adds."""
    mapped = {problem: MEMBERS.get(error, {}) for error, problem in PROBLEMS.items()}
    others = (*HTTP_PROBLEMS.values(), INTERNAL, *NGINX_PROBLEMS)
    return mapped | {problem: {} for problem in others if problem not in mapped}


FIELD: Schema = {
    "type": "string",
    "description": "What the problem is about, if it is one part of the request: a JSON pointer such as "
    "`/instances/2/url` (RFC 6901), the name of a form part, query parameter or header.",
    "examples": ["/instances/2/url"],
}
"""The member that any problem may have: which part of the request to change."""
FIELD_PROBLEMS = frozenset(
    PROBLEMS[error]
    for error in (
        errors.BadRequestError,
        errors.BodyTooLargeError,
        errors.ImageTooLargeError,
        errors.ImageFormatError,
        errors.ImageUnreadableError,
        errors.FetchError,
        errors.FetchRefusedError,
    )
)
"""The problems that often have it."""


def problem_schema() -> Schema:
    """Return the one schema of all problems: clients tell them apart by `type`, and some have members of their own."""
    own_members = {name: member for members in MEMBERS.values() for name, member in members.items()}
    required: dict[str, Schema] = {
        "type": {
            "type": "string",
            "format": "uri-reference",
            "description": "Identifies the kind of problem, and leads to a page about it; `about:blank` if only the "
            "status says what it is.",
        },
        "title": {"type": "string", "description": "Name of the kind of problem, the same in every occurrence."},
        "status": {"type": "integer", "description": "HTTP status code."},
        "detail": {"type": "string", "description": "What was received, what is accepted and what to do."},
        "request_id": {
            "type": "string",
            "description": "Identifies the request in the log; also in the header X-Request-ID.",
        },
    }
    return {
        "type": "object",
        "description": "Why a request failed (RFC 9457).",
        "properties": required | {"field": FIELD} | own_members,
        "required": [*required],
    }
