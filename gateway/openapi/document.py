"""Build the OpenAPI document: every route of the application, with its requests and responses."""

import re
from collections.abc import Iterable, Iterator, Mapping

from werkzeug.routing import Rule

from gateway import __version__
from gateway.access.authentication import OPEN_ENDPOINTS
from gateway.http import sagemaker
from gateway.http.headers import API_KEY
from gateway.http.problems import PROBLEMS
from gateway.openapi.examples import Example, components, is_shown, load, references, request_name
from gateway.openapi.operations import JOB_ERRORS, OPERATIONS, TAGS, Operation
from gateway.openapi.problems import PROBLEM, problem_schema
from gateway.openapi.requests import headers, parameters, request_body, request_schemas
from gateway.openapi.responses import headers as response_headers
from gateway.openapi.responses import problem_responses, problem_statuses, responses
from gateway.openapi.schemas import Schema, component_schemas
from gateway.prediction.schemas import Description
from gateway.settings import Settings

OPENAPI_VERSION = "3.1.1"
UNDESCRIBED = frozenset(
    {"pages", "playground", "open_inference", "open_inference_status", "tensorflow_serving", "health.prometheus"}
)
"""Blueprints and endpoints that are not part of this API: pages for people and what they alone need, protocols that
others have described, and metrics, which nginx does not serve."""
IMPLIED_METHODS = frozenset({"HEAD", "OPTIONS"})
PLACEHOLDER = re.compile(r"\{(\w+)\}")
RULE_PLACEHOLDER = re.compile(r"<(?:[^<>:]+:)?(\w+)>")
KEY_SCHEMES: dict[str, Schema] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key in the header `Authorization`."},
    "key": {"type": "apiKey", "in": "header", "name": API_KEY, "description": "The same key in a separate header."},
}
LICENCE = {"name": "Apache License 2.0", "identifier": "Apache-2.0"}
DESCRIPTION = """\
Classifies images. Errors are problem documents (RFC 9457); a program can tell them apart by their `type`.
Every route that accepts `GET` also accepts `HEAD`, and all routes accept `OPTIONS`.
"""


def build(rules: Iterable[Rule], settings: Settings) -> Description:
    """Build the document.

    Args:
        rules: The routes of the application; those of `UNDESCRIBED` and SageMaker's are left out.
        settings: For limits and defaults.

    Raises:
        ValueError: A route is not in `OPERATIONS`.
    """
    endpoints = dict(_routes(rules))
    unknown = endpoints.keys() - OPERATIONS.keys()
    if unknown:
        raise ValueError(f"gateway.openapi.operations lacks {', '.join(sorted(unknown))}")
    served = {route: operation for route, operation in OPERATIONS.items() if route in endpoints}
    statuses = {
        status
        for route, operation in served.items()
        for status in problem_statuses(operation, is_open=endpoints[route] in OPEN_ENDPOINTS)
    }
    raised = {error for operation in served.values() for error in operation.errors}
    omitted = [PROBLEMS[error] for error in JOB_ERRORS if error not in raised]
    examples = [example for example in load() if example.endpoint in endpoints.values()]
    return {
        "openapi": OPENAPI_VERSION,
        "info": {"title": "Image Gateway", "version": __version__, "description": DESCRIPTION, "license": LICENCE},
        "servers": [{"url": settings.root_path or "/"}],
        "security": _security(settings),
        "tags": _tags(served.values()),
        "paths": _paths(served, endpoints, examples, settings),
        "components": {
            "schemas": {
                **component_schemas(
                    dict.fromkeys(operation.response for operation in served.values() if operation.response)
                ),
                **request_schemas(settings),
                PROBLEM: problem_schema(),
            },
            "responses": problem_responses(statuses, examples, omitted=omitted),
            "parameters": parameters(settings),
            "headers": response_headers(),
            "examples": components(examples),
            "securitySchemes": KEY_SCHEMES,
        },
    }


def _routes(rules: Iterable[Rule]) -> Iterator[tuple[str, str]]:
    """Yield method and path of every route that is described, with its endpoint."""
    for rule in rules:
        is_described = UNDESCRIBED.isdisjoint({rule.endpoint, rule.endpoint.partition(".")[0]})
        if is_described and rule.rule not in sagemaker.PATHS:
            path = RULE_PLACEHOLDER.sub(r"{\1}", rule.rule)
            for method in (rule.methods or set()) - IMPLIED_METHODS:
                yield f"{method} {path}", rule.endpoint


def _tags(operations: Iterable[Operation]) -> list[Schema]:
    used = {operation.tag for operation in operations}
    return [{"name": name, "description": description} for name, description in TAGS.items() if name in used]


def _security(settings: Settings) -> list[Schema]:
    """Return the ways to send a key; to send none is one of them if keys are not required."""
    keys: list[Schema] = [{name: []} for name in KEY_SCHEMES]
    return keys if settings.requires_keys else [{}, *keys]


def _paths(
    served: Mapping[str, Operation], endpoints: Mapping[str, str], examples: list[Example], settings: Settings
) -> dict[str, Schema]:
    paths: dict[str, Schema] = {}
    for route, operation in served.items():
        method, path = route.split()
        own_examples = [example for example in examples if example.endpoint == endpoints[route]]
        document = _operation(operation, PLACEHOLDER.findall(path), own_examples, settings)
        is_open = endpoints[route] in OPEN_ENDPOINTS
        if is_open:
            document["security"] = []
        document["responses"] = responses(operation, own_examples, is_open=is_open)
        paths.setdefault(path, {})[method.lower()] = document
    return paths


def _operation(operation: Operation, placeholders: list[str], examples: list[Example], settings: Settings) -> Schema:
    """Return an operation without its responses."""
    names = [*placeholders, *operation.parameters, *headers(settings)]
    document: Schema = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in names],
    }
    if operation.body is not None:
        request_names = [request_name(example) for example in examples if is_shown(example)]
        document["requestBody"] = request_body(operation.body, settings, references(request_names))
    return document
