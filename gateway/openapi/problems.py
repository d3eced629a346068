"""The problems in the OpenAPI document: one schema for each type, from the table that answers them."""

from collections.abc import Iterable, Mapping

from gateway import errors
from gateway.health.readiness import REQUIREMENTS
from gateway.http.problems import HTTP_PROBLEMS, INTERNAL, PROBLEMS, Problem
from gateway.openapi.schemas import COMPONENT, Schema
from vision.decode import ImageFormat

MEMBERS: Mapping[type[errors.GatewayError], Mapping[str, Schema]] = {
    errors.BodyTooLargeError: {
        "max_bytes": {"type": "integer", "description": "The limit, in bytes."},
    },
    errors.TooManyImagesError: {
        "max_images": {"type": "integer", "description": "The limit."},
    },
    errors.NotReadyError: {
        "missing": {
            "type": "array",
            "items": {"enum": [*REQUIREMENTS]},
            "description": "What is missing; empty while the gateway is about to stop.",
        },
    },
    errors.VersionNotFoundError: {
        "versions": {
            "type": "array",
            "items": {"type": "integer"},
            "description": "The versions that are served, newest first.",
        },
        "labels": {
            "type": "array",
            "items": {"type": "string"},
            "description": "The labels that versions can be asked by.",
        },
    },
    errors.RateLimitedError: {
        "retry_after_s": {"type": "integer", "description": "The seconds of Retry-After."},
    },
    errors.ImageTooLargeError: {
        "max_pixels": {"type": "integer", "description": "The limit, width times height."},
    },
    errors.ImageFormatError: {
        "accepted": {
            "type": "array",
            "items": {"enum": [image_format.value for image_format in ImageFormat]},
            "description": "The formats accepted.",
        },
    },
}
"""What a problem tells beyond the members that all have."""

NGINX_PROBLEMS = (
    Problem(414, "uri-too-long", "The URL is too long", "Send images in the body, not in the URL."),
    Problem(431, "headers-too-large", "The headers are too long", "Send fewer and shorter ones."),
    Problem(
        503,
        "gateway-unavailable",
        "The gateway is not available",
        "Send the request again after the seconds in Retry-After.",
    ),
    Problem(504, "gateway-timeout", "The gateway took too long", "Send the request again, or a smaller picture."),
)
"""What nginx, in front of the gateway, answers by itself; nginx/nginx.conf.template says so too."""

KEY_PROBLEMS = (PROBLEMS[errors.KeyMissingError], PROBLEMS[errors.KeyUnknownError])
"""What is answered in place of an operation to those who may not ask for it."""

RATE_PROBLEMS = (PROBLEMS[errors.RateLimitedError], PROBLEMS[errors.LimitsUnavailableError])
"""What is answered in its place to those who ask too often."""

UNTYPED = "Problem"
"""Name of the schema of problems whose status says it all."""


def every_problem() -> dict[Problem, Mapping[str, Schema]]:
    """List all problems that have a type of their own, with the members that each adds."""
    ours = {problem: MEMBERS.get(error, {}) for error, problem in PROBLEMS.items()}
    others = (*HTTP_PROBLEMS.values(), INTERNAL, *NGINX_PROBLEMS)
    return ours | {problem: {} for problem in others if problem not in ours}


def schema_name(problem: Problem) -> str:
    """Name the schema of a problem."""
    return "".join(word.capitalize() for word in problem.slug.split("-")) + "Problem"


def one_of(problems: Iterable[Problem], *, others: bool = False) -> Schema:
    """Point to the schemas of some problems, and where `others` to that of problems without a type of their own."""
    names = [*map(schema_name, problems), *([UNTYPED] if others else [])]
    references = [{"$ref": COMPONENT.format(model=name)} for name in names]
    return references[0] if len(references) == 1 else {"oneOf": references}


def problem_schemas() -> dict[str, Schema]:
    """Write the schema of every problem, by name."""
    untyped = _schema({"const": "about:blank"}, {"type": "integer"}, {"type": "string"}, {})
    untyped["description"] = "A problem that its status tells all about."
    return {UNTYPED: untyped} | {
        schema_name(problem): _schema(
            {"const": problem.type_uri}, {"const": problem.status}, {"const": problem.title}, members
        )
        | {"description": f"{problem.title}. {problem.advice}"}
        for problem, members in every_problem().items()
    }


def _schema(type_uri: Schema, status: Schema, title: Schema, members: Mapping[str, Schema]) -> Schema:
    properties = {
        "type": type_uri,
        "title": title,
        "status": status,
        "detail": {"type": "string", "description": "What went wrong this time, what was expected and what to do."},
        **members,
        "request_id": {"type": "string", "description": "Found again in the log, and in the header X-Request-ID."},
    }
    return {"type": "object", "properties": properties, "required": list(properties)}
