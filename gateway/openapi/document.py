"""Build the OpenAPI document: every route of the application, with its requests and responses."""

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
    CACHE_CONTROL,
    ETAG,
    RATE_LIMIT,
    RATE_LIMIT_POLICY,
    REQUEST_ID,
    SERVER_TIMING,
)
from gateway.http.problems import CONTENT_TYPE, HTTP_PROBLEMS, INTERNAL, PROBLEMS, Problem
from gateway.openapi.examples import Example, components, load, references, request_name
from gateway.openapi.operations import OPERATIONS, Operation
from gateway.openapi.problems import ACCESS_PROBLEMS, NGINX_PROBLEMS, one_of, problem_schemas
from gateway.openapi.requests import headers, options, parameters, request_body, request_schemas
from gateway.openapi.schemas import Schema, component_schemas, reference
from gateway.prediction.schemas import Description
from gateway.settings import Settings

OPENAPI_VERSION = "3.1.1"
PAGES = "pages"
"""The blueprint of the pages for people, which are not part of the API."""
OTHER_PROTOCOLS = ("open_inference", "open_inference_status", "tensorflow_serving")
"""Blueprints of `gateway.protocols`, which have descriptions of their own."""
IMPLIED_METHODS = frozenset({"HEAD", "OPTIONS"})
PLACEHOLDER = re.compile(r"<(?:[^<>:]+:)?(\w+)>")
RETRY_AFTER = "Retry-After"
CHALLENGE = "WWW-Authenticate"
KEY_SCHEMES: dict[str, Schema] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key in the header `Authorization`."},
    "key": {"type": "apiKey", "in": "header", "name": API_KEY, "description": "The same key in a separate header."},
}

DESCRIPTION = """\
Classifies images. Errors are problem documents (RFC 9457); a program can tell them apart by their `type`.
Every route that accepts `GET` also accepts `HEAD`, and all routes accept `OPTIONS`.
"""

COMMON_PROBLEMS = (*HTTP_PROBLEMS.values(), INTERNAL, PROBLEMS[BodyTooLargeError], *NGINX_PROBLEMS)
"""Problems with which any request may be refused before it reaches its operation."""
HEADERS_BY_STATUS: dict[HTTPStatus, tuple[str, ...]] = {
    HTTPStatus.UNAUTHORIZED: (CHALLENGE,),
    HTTPStatus.TOO_MANY_REQUESTS: (RETRY_AFTER,),
    HTTPStatus.SERVICE_UNAVAILABLE: (RETRY_AFTER,),
}
"""Additional headers of problems, by status."""
ALWAYS_LISTED = frozenset(
    {HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)


def build(rules: Iterable[Rule], settings: Settings) -> Description:
    """Build the document.

    Args:
        rules: The routes of the application; those of `PAGES`, other protocols and SageMaker are left out.
        settings: For limits and defaults.

    Raises:
        ValueError: The endpoint of a route is not in `OPERATIONS`.
    """
    examples = load()
    paths: dict[str, Schema] = {}
    for rule in sorted(filter(_is_described, rules), key=_sort_key):
        path = paths.setdefault(PLACEHOLDER.sub(r"{\1}", rule.rule), {})
        for method in sorted((rule.methods or set()) - IMPLIED_METHODS):
            path[method.lower()] = _operation(
                rule, settings, [example for example in examples if example.endpoint == rule.endpoint]
            )
    document: Description = {
        "openapi": OPENAPI_VERSION,
        "info": {"title": "Image Gateway", "version": __version__, "description": DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": {
                **component_schemas(
                    response_type for operation in OPERATIONS.values() for response_type in operation.response_types
                ),
                **request_schemas(settings),
                **problem_schemas(),
            },
            "parameters": parameters(settings),
            "headers": _headers(),
            "examples": components(examples),
        },
    }
    if settings.root_path:
        document["servers"] = [{"url": settings.root_path}]
    if settings.requires_keys:
        document["components"]["securitySchemes"] = KEY_SCHEMES
    return document


def _is_described(rule: Rule) -> bool:
    return rule.endpoint.partition(".")[0] not in {PAGES, *OTHER_PROTOCOLS} and rule.rule not in sagemaker.PATHS


def _sort_key(rule: Rule) -> tuple[int, int]:
    """Order routes like their operations, and those of one operation by the length of their path."""
    return list(OPERATIONS).index(rule.endpoint), len(rule.arguments)


def _operation(rule: Rule, settings: Settings, examples: list[Example]) -> Schema:
    operation = OPERATIONS[rule.endpoint]
    placeholders = PLACEHOLDER.findall(rule.rule)
    names = [*placeholders, *(options(settings) if operation.takes_images else ()), *headers(settings)]
    document: Schema = {
        "operationId": _operation_id(rule, placeholders),
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in names],
    }
    if settings.requires_keys:
        document["security"] = [] if rule.endpoint in OPEN_ENDPOINTS else [{name: []} for name in KEY_SCHEMES]
    if operation.takes_images:
        request_names = [request_name(example) for example in examples if example.request is not None]
        document["requestBody"] = request_body(settings, references(request_names))
    return document | {"responses": _responses(rule.endpoint, examples)}


def _operation_id(rule: Rule, placeholders: list[str]) -> str:
    """Name an operation after its view, and after the last placeholder of its path if it has several paths."""
    name = rule.endpoint.partition(".")[2]
    return f"{name}_by_{placeholders[-1]}" if OPERATIONS[rule.endpoint].takes_images and placeholders else name


def _responses(endpoint: str, examples: list[Example]) -> Schema:
    operation = OPERATIONS[endpoint]
    own_problems = [PROBLEMS[error] for error in operation.errors]
    is_open = endpoint in OPEN_ENDPOINTS
    own_problems += () if is_open else ACCESS_PROBLEMS
    statuses = {problem.status for problem in own_problems} | ALWAYS_LISTED
    problems = dict.fromkeys([*own_problems, *(problem for problem in COMMON_PROBLEMS if problem.status in statuses)])
    responses = {"200": _success(operation, [example for example in examples if example.status == HTTPStatus.OK])}
    if operation.revalidates:
        responses["200"]["headers"] |= _header_references(ETAG, CACHE_CONTROL)
        responses["304"] = {
            "description": "The body that the client has, by `If-None-Match`, is the current one.",
            "headers": _header_references(REQUEST_ID, ETAG, CACHE_CONTROL),
        }
    for status in sorted(statuses):
        names = [example.name for example in examples if example.status == status]
        responses[str(status)] = _failure([problem for problem in problems if problem.status == status], names)
    unlisted = [problem for problem in COMMON_PROBLEMS if problem.status not in statuses]
    responses["default"] = _failure(unlisted, [], others=True)
    for response in responses.values():
        if operation.takes_images:
            response["headers"] |= _header_references(SERVER_TIMING)
        if not is_open:
            response["headers"] |= _header_references(RATE_LIMIT, RATE_LIMIT_POLICY)
    return responses


def _success(operation: Operation, examples: list[Example]) -> Schema:
    schemas = [reference(response_type) for response_type in operation.response_types]
    if not schemas:
        content: Schema = {"text/plain": {"schema": {"type": "string"}}}
    else:
        content = {"application/json": {"schema": schemas[0] if len(schemas) == 1 else {"oneOf": schemas}}}
        if examples:
            content["application/json"]["examples"] = references(example.name for example in examples)
    return {"description": "Success.", "headers": _header_references(REQUEST_ID), "content": content}


def _failure(problems: list[Problem], example_names: list[str], *, others: bool = False) -> Schema:
    content: Schema = {"schema": one_of(problems, others=others)}
    if example_names:
        content["examples"] = references(example_names)
    lines = [f"- `{problem.type_uri}`: {problem.title}. {problem.advice}" for problem in problems]
    names = {name for problem in problems for name in HEADERS_BY_STATUS.get(HTTPStatus(problem.status), ())}
    return {
        "description": "\n".join([*lines, *(["- Any other problem."] if others else [])]),
        "headers": _header_references(REQUEST_ID, *sorted(names)),
        "content": {CONTENT_TYPE: content},
    }


def _header_references(*names: str) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _headers() -> dict[str, Schema]:
    return {
        REQUEST_ID: {
            "required": True,
            "schema": {"type": "string"},
            "description": "Identifies the request in the log.",
        },
        ETAG: {
            "required": True,
            "schema": {"type": "string"},
            "description": "Identifies the body; send it in `If-None-Match` to receive 304 while it is the same.",
        },
        CACHE_CONTROL: {
            "required": True,
            "schema": {"type": "string"},
            "description": "`no-cache`: keep the response, and ask each time whether it is current.",
        },
        SERVER_TIMING: {
            "schema": {"type": "string"},
            "description": "How long each stage took, in milliseconds (W3C Server Timing); absent if none was started.",
        },
        CHALLENGE: {
            "required": True,
            "schema": {"type": "string"},
            "description": "Asks for a key, and says what was wrong with the one received (RFC 6750).",
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
