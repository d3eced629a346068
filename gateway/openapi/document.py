"""The OpenAPI document: every route that the application has, with what it takes and answers."""

import re
from collections.abc import Iterable
from http import HTTPStatus

from werkzeug.routing import Rule

from gateway import __version__
from gateway.access.authentication import OPEN_ENDPOINTS
from gateway.errors import BodyTooLargeError
from gateway.http import sagemaker
from gateway.http.headers import (
    API_KEY,
    RATE_LIMIT,
    RATE_LIMIT_POLICY,
    REQUEST_ID,
    SERVER_TIMING,
)
from gateway.http.problems import CONTENT_TYPE, HTTP_PROBLEMS, INTERNAL, PROBLEMS, Problem
from gateway.http.views import API_BLUEPRINT
from gateway.openapi.examples import Example, components, load, references, request_name
from gateway.openapi.operations import OPERATIONS, Operation
from gateway.openapi.problems import KEY_PROBLEMS, NGINX_PROBLEMS, RATE_PROBLEMS, one_of, problem_schemas
from gateway.openapi.requests import body, headers, options, parameters, request_schemas
from gateway.openapi.schemas import Schema, component_schemas, reference
from gateway.prediction.schemas import Description
from gateway.settings import Settings

OPENAPI_VERSION = "3.1.1"
PAGES = "pages"
"""The blueprint whose routes are for people's eyes, and in no document."""
IMPLIED_METHODS = frozenset({"HEAD", "OPTIONS"})
PLACEHOLDER = re.compile(r"<(?:[^<>:]+:)?(\w+)>")
RETRY_AFTER = "Retry-After"
CHALLENGE = "WWW-Authenticate"
KEY_SCHEMES: dict[str, Schema] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key in the header `Authorization`."},
    "key": {"type": "apiKey", "in": "header", "name": API_KEY, "description": "The same in a header of its own."},
}

DESCRIPTION = """\
Classifies images. Errors are problem documents (RFC 9457), whose `type` tells a program what went wrong.
Every route takes `HEAD` where it takes `GET`, and `OPTIONS`.
"""

ANYWHERE = (*HTTP_PROBLEMS.values(), INTERNAL, PROBLEMS[BodyTooLargeError], *NGINX_PROBLEMS)
"""What any request may be answered, before it comes to its operation."""
SENT_WITH: dict[HTTPStatus, tuple[str, ...]] = {
    HTTPStatus.UNAUTHORIZED: (CHALLENGE,),
    HTTPStatus.TOO_MANY_REQUESTS: (RETRY_AFTER,),
    HTTPStatus.SERVICE_UNAVAILABLE: (RETRY_AFTER,),
}
"""Headers of a problem, by its status."""
ALWAYS_LISTED = frozenset(
    {HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)


def build(rules: Iterable[Rule], settings: Settings) -> Description:
    """Write the document.

    Args:
        rules: The routes of the application; those of `PAGES` and SageMaker's are left out.
        settings: Tell the limits and defaults.

    Raises:
        ValueError: a route's endpoint is not among `OPERATIONS`.
    """
    shown = load()
    paths: dict[str, Schema] = {}
    for rule in sorted(filter(_is_described, rules), key=_place):
        path = paths.setdefault(PLACEHOLDER.sub(r"{\1}", rule.rule), {})
        for method in sorted((rule.methods or set()) - IMPLIED_METHODS):
            path[method.lower()] = _operation(
                rule, settings, [item for item in shown if item.endpoint == rule.endpoint]
            )
    document: Description = {
        "openapi": OPENAPI_VERSION,
        "info": {"title": "Image Gateway", "version": __version__, "description": DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": {
                **component_schemas(kind for operation in OPERATIONS.values() for kind in operation.answers),
                **request_schemas(settings),
                **problem_schemas(),
            },
            "parameters": parameters(settings),
            "headers": _headers(),
            "examples": components(shown),
        },
    }
    if settings.requires_keys:
        document["components"]["securitySchemes"] = KEY_SCHEMES
    return document


def _is_described(rule: Rule) -> bool:
    return rule.endpoint.partition(".")[0] != PAGES and rule.rule not in sagemaker.PATHS


def _place(rule: Rule) -> tuple[int, int]:
    """Order routes as their operations are, the shortest first."""
    return list(OPERATIONS).index(rule.endpoint), len(rule.arguments)


def _operation(rule: Rule, settings: Settings, shown: list[Example]) -> Schema:
    operation = OPERATIONS[rule.endpoint]
    placeholders = PLACEHOLDER.findall(rule.rule)
    names = [*placeholders, *(options(settings) if operation.question else ()), *headers(settings)]
    document: Schema = {
        "operationId": _operation_id(rule, placeholders),
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in names],
    }
    if settings.requires_keys:
        document["security"] = [] if rule.endpoint in OPEN_ENDPOINTS else [{name: []} for name in KEY_SCHEMES]
    if operation.question:
        asked = [request_name(example) for example in shown if example.request is not None]
        document["requestBody"] = body(settings, references(asked))
    return document | {"responses": _responses(rule.endpoint, shown)}


def _operation_id(rule: Rule, placeholders: list[str]) -> str:
    """Name an operation after its view, and after what its path ends with where several paths lead there."""
    name = rule.endpoint.partition(".")[2]
    return f"{name}_by_{placeholders[-1]}" if OPERATIONS[rule.endpoint].question and placeholders else name


def _responses(endpoint: str, shown: list[Example]) -> Schema:
    operation = OPERATIONS[endpoint]
    raised = [PROBLEMS[error] for error in operation.fails_of]
    limited = endpoint.partition(".")[0] == API_BLUEPRINT
    raised += [] if endpoint in OPEN_ENDPOINTS else KEY_PROBLEMS
    raised += RATE_PROBLEMS if limited else []
    listed = {problem.status for problem in raised} | ALWAYS_LISTED
    problems = dict.fromkeys([*raised, *(problem for problem in ANYWHERE if problem.status in listed)])
    responses = {"200": _answer(operation, [example for example in shown if example.status == HTTPStatus.OK])}
    for status in sorted(listed):
        names = [example.name for example in shown if example.status == status]
        responses[str(status)] = _refusal([problem for problem in problems if problem.status == status], names)
    rest = [problem for problem in ANYWHERE if problem.status not in listed]
    responses["default"] = _refusal(rest, [], others=True)
    for response in responses.values():
        if operation.question:
            response["headers"] |= _sent(SERVER_TIMING)
        if limited:
            response["headers"] |= _sent(RATE_LIMIT, RATE_LIMIT_POLICY)
    return responses


def _answer(operation: Operation, shown: list[Example]) -> Schema:
    schemas = [reference(kind) for kind in operation.answers]
    if not schemas:
        content: Schema = {"text/plain": {"schema": {"type": "string"}}}
    else:
        content = {"application/json": {"schema": schemas[0] if len(schemas) == 1 else {"oneOf": schemas}}}
        if shown:
            content["application/json"]["examples"] = references(example.name for example in shown)
    return {"description": "The answer.", "headers": _sent(REQUEST_ID), "content": content}


def _refusal(problems: list[Problem], names: list[str], *, others: bool = False) -> Schema:
    content: Schema = {"schema": one_of(problems, others=others)}
    if names:
        content["examples"] = references(names)
    told = [f"- `{problem.type_uri}`: {problem.title}. {problem.advice}" for problem in problems]
    sent = {name for problem in problems for name in SENT_WITH.get(HTTPStatus(problem.status), ())}
    return {
        "description": "\n".join([*told, *(["- Any other problem."] if others else [])]),
        "headers": _sent(REQUEST_ID, *sorted(sent)),
        "content": {CONTENT_TYPE: content},
    }


def _sent(*names: str) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _headers() -> dict[str, Schema]:
    return {
        REQUEST_ID: {
            "required": True,
            "schema": {"type": "string"},
            "description": "The request's name in the log.",
        },
        SERVER_TIMING: {
            "schema": {"type": "string"},
            "description": "How long each stage took, in ms (W3C Server Timing); absent where none was begun.",
        },
        CHALLENGE: {
            "required": True,
            "schema": {"type": "string"},
            "description": "That a key is wanted, and what was wrong with the one that came (RFC 6750).",
        },
        RATE_LIMIT: {
            "schema": {"type": "string"},
            "description": "Where requests are limited: `r` of them are left, and all again after `t` seconds "
            "(draft-ietf-httpapi-ratelimit-headers-09).",
        },
        RATE_LIMIT_POLICY: {
            "schema": {"type": "string"},
            "description": "The limits themselves: `q` requests in `w` seconds.",
        },
        RETRY_AFTER: {
            "required": True,
            "schema": {"type": "integer", "minimum": 0},
            "description": "Seconds to wait before sending the request again.",
        },
    }
