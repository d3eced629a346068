import ast
import base64
import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import ValidationError
from openapi_spec_validator import validate
from werkzeug.test import TestResponse

import gateway
from gateway import errors
from gateway.http import problems, request_parser
from gateway.http.headers import IDEMPOTENCY_KEY, REQUEST_ID, REQUEST_TIMEOUT
from gateway.jobs.options import OPTION_NAMES as JOB_OPTION_NAMES
from gateway.jobs.sqlite_store import SqliteStore
from gateway.jobs.submissions import URLS_FIELD
from gateway.jobs.views import RESULT_PARAMETERS
from gateway.openapi.document import UNDESCRIBED, build
from gateway.openapi.examples import Example, is_shown, load
from gateway.openapi.operations import OPERATIONS
from gateway.openapi.problems import MEMBERS, NGINX_PROBLEMS, all_problems
from gateway.openapi.requests import options
from gateway.settings import Settings
from tests.support.fake_model_server import FakeModelServer, FakeVersion, classifier, constant, explainable
from tests.support.jobs import SECRET, make_limits
from tests.support.openapi import ResponseValidator
from tools import document as documents
from vision.card import Card

URL = "/api/v1/openapi.json"
PREDICT = "/api/v1/predict"
SOURCES = sorted(Path(gateway.__file__).parent.rglob("*.py"))


@pytest.fixture
def app(make_app: Callable[..., Flask], tmp_path: Path) -> Flask:
    """Return an application with all that can be switched on."""
    return make_app(jobs="sqlite", jobs_dir=tmp_path / "jobs")


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    return client.get(URL).get_json()


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return method, path and description of every operation."""
    result = [
        (method, path, operation) for path, item in document["paths"].items() for method, operation in item.items()
    ]
    assert len(result) >= len(OPERATIONS)
    return result


def schema(document: dict[str, Any], name: str) -> dict[str, Any]:
    return document["components"]["schemas"][name]


# The document as a whole


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]):
    assert document["openapi"].startswith("3.1.")
    validate(document)


def test_every_component_is_referenced(document: dict[str, Any]):
    text = json.dumps(document)
    references = {
        f'"#/components/{section}/{name}"'
        for section, components in document["components"].items()
        if section != "securitySchemes"  # named without a reference
        for name in components
    }

    assert references
    assert {reference for reference in references if reference not in text} == set()


def test_every_operation_has_a_unique_id_and_a_description(document: dict[str, Any]):
    described = [operation for _, _, operation in operations(document)]

    assert described
    assert len({operation["operationId"] for operation in described}) == len(described)
    assert all(operation["summary"] and operation["description"].endswith(".") for operation in described)


def test_every_member_of_a_response_is_described(document: dict[str, Any]):
    # Described by RFC 9457 and OpenAPI.
    common = {"type", "title", "status", "openapi", "info", "servers", "security", "tags", "paths", "components"}
    members = [
        (name, member, value)
        for name, described in document["components"]["schemas"].items()
        for member, value in described.get("properties", {}).items()
        if member not in common
    ]

    assert members
    assert [(name, member) for name, member, value in members if not value.get("description")] == []


# Routes and parameters are exactly those of the code


def test_exactly_the_routes_of_the_application_are_described(app: Flask, document: dict[str, Any]):
    rules = [
        rule
        for rule in app.url_map.iter_rules()
        if UNDESCRIBED.isdisjoint({rule.endpoint, rule.endpoint.partition(".")[0]})
    ]
    served = {
        (method.lower(), re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in rules
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    assert {(method, path) for method, path, _ in operations(document)} == served
    assert list(OPERATIONS) == [f"{method.upper()} {path}" for method, path, _ in operations(document)]


def test_a_route_without_an_operation_is_refused(app: Flask):
    app.add_url_rule("/api/v1/forgotten", "api.forgotten", lambda: "", methods=["PUT"])
    with pytest.raises(ValueError, match="lacks PUT /api/v1/forgotten"):
        build(app.url_map.iter_rules(), Settings())


def test_every_tag_is_declared_and_used(document: dict[str, Any]):
    declared = [tag["name"] for tag in document["tags"]]
    assert declared == list(dict.fromkeys(tag for _, _, operation in operations(document) for tag in operation["tags"]))
    assert all(tag["description"].endswith(".") for tag in document["tags"])


def test_without_jobs_nothing_of_them_is_listed(make_app: Callable[..., Flask]):
    document = make_app(jobs="off").test_client().get(URL).get_json()

    assert "Jobs" not in {tag["name"] for tag in document["tags"]}
    assert not [path for path in document["paths"] if "jobs" in path]
    assert re.findall(r"`/problems/[a-z-]*(?:job|archive|idempotency)[a-z-]*`", json.dumps(document)) == []


def test_no_description_speaks_of_none(document: dict[str, Any]):
    assert re.findall(r"[^.]*\b(?<!-)None\b[^.]*", json.dumps(document)) == []


def test_every_summary_is_its_own(document: dict[str, Any]):
    summaries = [operation["summary"] for _, _, operation in operations(document)]
    assert len(set(summaries)) == len(summaries)


def test_every_body_has_one_form(document: dict[str, Any]):
    """Many generators of clients offer only the first form of a body, or send the others wrongly."""
    forms = {
        path: list(operation["requestBody"]["content"])
        for _, path, operation in operations(document)
        if "requestBody" in operation
    }
    assert len(forms) == 10
    for path, names in forms.items():
        assert names == ["application/json" if path.endswith("/json") else "multipart/form-data"], path


def test_the_types_of_a_union_are_told_apart_by_their_kind(document: dict[str, Any]):
    """Jackson, for one, does not check which members are required."""
    unions = {name: each["oneOf"] for name, each in document["components"]["schemas"].items() if "oneOf" in each}
    assert set(unions) == {"Explanation", "PredictionOrBatch", "PredictionOrProblem"}
    for name, choices in unions.items():
        types = [schema(document, choice["$ref"].rpartition("/")[2]) for choice in choices]
        assert all("kind" in each["required"] for each in types), name
        kinds = [kind for each in types for kind in each["properties"]["kind"]["enum"]]
        assert len(kinds) == len(set(kinds)) == len(types), name
    assert json.dumps(document).count('"oneOf"') == len(unions)
    assert '"anyOf"' not in json.dumps(document)


def test_enumerations_have_one_type_and_nothing_has_a_default(document: dict[str, Any]):
    """A generator left routes out because of an enumeration of two types; clients send defaults, also empty ones."""
    schemas = [*document["components"]["schemas"].values()]
    members = [member for each in schemas for member in each.get("properties", {}).values()]
    parameters = [parameter["schema"] for parameter in document["components"]["parameters"].values()]

    for each in (*schemas, *members, *parameters):
        assert "default" not in each
        assert "enum" not in each or len({type(value) for value in each["enum"]}) == 1, each


def test_path_parameters_are_the_placeholders_of_the_path(document: dict[str, Any]):
    for _, path, operation in operations(document):
        names = [item["$ref"].rpartition("/")[2] for item in operation["parameters"]]
        described = [document["components"]["parameters"][name] for name in names]
        assert [item["name"] for item in described if item["in"] == "path"] == re.findall(r"\{(\w+)\}", path)
        assert all(item["required"] for item in described if item["in"] == "path")


def headers_read() -> Iterator[str]:
    """List the request headers that the gateway's code reads, as they are written there."""
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            match node:
                case ast.Subscript(ast.Attribute(request, "headers"), key) | ast.Call(
                    ast.Attribute(ast.Attribute(request, "headers"), "get"), [key, *_]
                ) if ast.unparse(request) in {"request", "http_request", "unwrap(request)"}:
                    yield ast.unparse(key)


def test_every_header_that_the_code_reads_is_a_parameter(document: dict[str, Any]):
    # Set by the browser; refused; described by the security schemes; of another protocol.
    elsewhere = {"'Origin'", "'Content-Encoding'", "'Authorization'", "API_KEY", "INFERENCE_JSON_BYTES"}
    assert set(headers_read()) == {"REQUEST_ID", "REQUEST_TIMEOUT", "IDEMPOTENCY_KEY"} | elsewhere
    parameters = document["components"]["parameters"].values()

    assert {item["name"] for item in parameters if item["in"] == "header"} == {
        *(REQUEST_ID, REQUEST_TIMEOUT, IDEMPOTENCY_KEY)
    }


def test_request_fields_are_those_that_the_parser_reads(document: dict[str, Any]):
    option_names = set(options(Settings()))
    query = {item["name"] for item in document["components"]["parameters"].values() if item["in"] == "query"}
    assert query == {*option_names, *RESULT_PARAMETERS}
    fields = {request_parser.URL_FIELDS[0], request_parser.BASE64_FIELDS[0]}

    assert set(schema(document, "ImageFields")["properties"]) == fields
    assert set(schema(document, "PredictFields")["properties"]) == fields | {request_parser.BATCH_FIELD} | option_names
    assert set(schema(document, "ImageParts")["properties"]) == {request_parser.FILE_FIELDS[0]}
    lists = {URLS_FIELD, request_parser.BATCH_FIELD}
    assert set(schema(document, "JobFields")["properties"]) == {*lists, *JOB_OPTION_NAMES}
    assert set(schema(document, "JobParts")["properties"]) == {"image", "archive", *JOB_OPTION_NAMES}


def test_limits_and_defaults_come_from_the_settings(make_app: Callable[..., Flask]):
    app = make_app(default_top_k=3, max_body_bytes=54_321, max_pixels=987_654)
    document = app.test_client().get(URL).get_json()
    assert "3 by default" in schema(document, "PredictFields")["properties"]["top_k"]["description"]
    assert "3 by default" in document["components"]["parameters"]["top_k"]["description"]
    body = document["paths"][PREDICT]["post"]["requestBody"]["description"]

    assert "54321 bytes" in body
    assert "987654 pixels" in body


# Problems


def test_every_problem_is_described_as_it_is_sent(document: dict[str, Any]):
    text = "\n".join(response["description"] for response in document["components"]["responses"].values())
    all_problems = (*problems.PROBLEMS.values(), *problems.HTTP_PROBLEMS.values(), problems.INTERNAL, *NGINX_PROBLEMS)

    assert set(re.findall(r"^- `(.+?)`", text, re.MULTILINE)) == {problem.type_uri for problem in all_problems}
    for problem in all_problems:
        assert f"- `{problem.type_uri}`: {problem.title}. {problem.advice}" in text


def test_every_response_lists_each_of_its_problems_once_and_under_its_status(document: dict[str, Any]):
    statuses = {problem.type_uri: problem.status for problem in all_problems()}
    for name, response in document["components"]["responses"].items():
        listed = re.findall(r"^- `(.+?)`", response["description"], re.MULTILINE)
        assert len(listed) == len(set(listed)) > 0, name
        if name != "ProblemOther":
            assert {f"Problem{statuses[type_uri]}" for type_uri in listed} == {name}


def test_every_problem_of_nginx_is_described_as_in_its_configuration():
    by_uri = {problem.type_uri: problem for problem in all_problems()}
    rows = documents.nginx_rows(documents.NGINX_TEMPLATE.read_text(encoding="utf-8"))

    assert rows
    for row in rows:
        problem = by_uri.pop(row.type_uri)
        assert (problem.status, problem.title) == (row.status, row.title)
    assert not set(by_uri) & {problem.type_uri for problem in NGINX_PROBLEMS}


def members_raised() -> set[tuple[str, str]]:
    """List the members that the gateway's code passes to its errors, by class and name."""
    calls = (
        node
        for source in SOURCES
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and re.fullmatch(r"(errors\.)?\w+Error", ast.unparse(node.func))
    )
    return {
        (ast.unparse(call.func).removeprefix("errors."), keyword.arg or "**")
        for call in calls
        for keyword in call.keywords
        if hasattr(errors, ast.unparse(call.func).removeprefix("errors."))
    }


def test_the_members_of_a_problem_are_those_that_the_code_passes():
    own_members = {(error, name) for error, name in members_raised() if name != "field"}  # every problem may have that
    assert own_members == {(error.__name__, name) for error, members in MEMBERS.items() for name in members}


# Responses


def read_failed_job(client: FlaskClient, folder: Path) -> TestResponse:
    """Create a job with all options, let it fail after its first result, and return the response to its caller."""
    webhook = {"webhook_url": "https://example.com", "webhook_secret": SECRET}
    response = client.post("/api/v1/jobs", json={"urls": ["https://a.com"], "model": "pets", "version": 1, **webhook})
    store = SqliteStore(folder, make_limits())
    store.claim(response.get_json()["id"], 0)
    store.finish(response.get_json()["id"], "failed", problems.make_item_problem(errors.ModelUnavailableError("no")))
    return client.get(response.headers["Location"])


def test_every_described_member_occurs_in_some_response(  # noqa: PLR0917  # fixtures
    make_app: Callable[..., Flask],
    server: FakeModelServer,
    card: Card,
    document: dict[str, Any],
    png: bytes,
    tmp_path: Path,
):
    """Check one direction; the test client checks the other: no response has a member that is not described."""
    several = dataclasses.replace(card, task="multilabel")
    warm = np.ones((1, 2, 2), np.float32)
    server.swap("weather", 1, explainable(several, constant(0.9, 0.1, 0.2), lambda *_: warm))
    server.labels["pets"] = {"stable": 1}
    server.swap("careful", 1, classifier(dataclasses.replace(card, abstain_below=0.5), constant(0.9, 0.1, 0.0)))
    server.swap("broken", 1, FakeVersion({}, {}))
    server.states["broken", 2] = ("END", "The file is damaged.")
    folder = tmp_path / "jobs"
    app = make_app(models=("pets", "weather", "careful", "broken"), jobs="sqlite", jobs_dir=folder)
    client = app.test_client()
    responses_by_schema = {
        "PredictionOrBatch": [
            client.post(f"/api/v1/models/weather/predict?explain={explain}", data=png, content_type="image/png")
            for explain in ("true", "raw")
        ]
        + [client.post("/api/v1/models/careful/predict", data=png, content_type="image/png")]
        + [
            client.post(
                "/api/v1/models/weather/predict",
                json={
                    "instances": [{"image": "AAAA"}, {"image": base64.b64encode(png).decode()}],
                    "explain": True,
                },
            ),
            client.post(
                "/api/v1/models/careful/predict", json={"instances": [{"image": base64.b64encode(png).decode()}]}
            ),
        ],
        "Job": [read_failed_job(client, folder)],
        "ModelList": [client.get("/api/v1/models")],
        "ModelDetails": [client.get("/api/v1/models/pets"), client.get("/api/v1/models/broken")],
        "Ready": [client.get("/readyz")],
        "Version": [client.get("/version")],
        "Live": [client.get("/livez")],
        "Description": [make_app(root_path="/gw").test_client().get(URL)],
    }
    assert set(responses_by_schema) == {
        operation.response.__name__ for operation in OPERATIONS.values() if operation.response
    }
    seen: set[tuple[str, str]] = set()
    for name, responses in responses_by_schema.items():
        for response in responses:
            record_members(document, {"$ref": f"#/components/schemas/{name}"}, response.get_json(), seen)
    names = {name for name, _ in seen}

    assert {(name, member) for name in names for member in schema(document, name)["properties"]} == seen
    assert {
        "PredictionResponse",
        "BatchPredictionResponse",
        "Prediction",
        "ItemProblem",
        "ModelVersion",
        "VersionState",
        "Card",
        "InputSpec",
        "OutputSpec",
    } <= names


def record_members(document: dict[str, Any], described: dict[str, Any], value: Any, seen: set[tuple[str, str]]) -> None:
    """Add the members that a value has to `seen`, each with the name of its schema."""
    if isinstance(value, list):
        for item in value:
            record_members(document, described.get("items", {}), item, seen)
    elif isinstance(value, dict):
        name = described.get("$ref", "").rpartition("/")[2]
        union = schema(document, name) if name else described
        for choice in union.get("oneOf", [described]):
            name = choice.get("$ref", "").rpartition("/")[2]
            if name and set(schema(document, name).get("required", [])) <= set(value):
                for member in set(value) & set(schema(document, name)["properties"]):
                    seen.add((name, member))
                    record_members(document, schema(document, name)["properties"][member], value[member], seen)


# Examples


@pytest.mark.parametrize("example", load(), ids=lambda example: example.name)
def test_an_example_fits_the_document(validator: ResponseValidator, document: dict[str, Any], example: Example):
    components = document["components"]["examples"]
    assert components[example.name]["value"] == example.response
    described = [operation["responses"].get(str(example.status), {}) for _, _, operation in operations(document)]
    responses = [*described, document["components"]["responses"].get(f"Problem{example.status}", {})]
    schemas = [
        content["schema"]
        for response in responses
        for content in response.get("content", {}).values()
        if example.name in content.get("examples", {})
    ]
    assert schemas
    for described_schema in schemas:
        validator.check_schema(described_schema, example.response)
    if is_shown(example):
        assert components[f"{example.name}-request"]["value"] == example.request


def test_the_requests_of_successful_examples_fit_the_document(validator: ResponseValidator):
    requests = [example.request for example in load() if example.request is not None and example.status == 200]
    assert requests
    for request in requests:
        validator.check_schema({"$ref": "#/components/schemas/PredictFields"}, request)


def test_every_operation_with_a_json_response_has_an_example(document: dict[str, Any]):
    for _, path, operation in operations(document):
        if operation["tags"] == ["Jobs"]:
            continue  # its examples are in docs/guides/jobs.md
        content = operation["responses"]["200"]["content"].get("application/json")
        assert content is None or content.get("examples") or path == URL, path


# The validator of every response in these tests


RESPONSE = {
    "kind": "prediction",
    "class": "cat",
    "label": "cat",
    "class_id": 0,
    "score": 0.5,
    "predictions": [{"class": "cat", "label": "cat", "class_id": 0, "score": 0.5}],
    "model": {"name": "pets", "version": 1},
    "request_id": "id",
}
HEADERS = {"X-Request-ID": "id", "Content-Type": "application/json"}


def test_the_validator_accepts_described_responses(validator: ResponseValidator):
    validator.check("POST", PREDICT, 200, HEADERS, RESPONSE)
    validator.check("POST", "/api/v1/models/pets/predict", 200, HEADERS, RESPONSE)
    validator.check("GET", "/nowhere", 200, {}, {"whatever": 1})


@pytest.mark.parametrize(
    "changes",
    [{"extra": 1}, {"score": 1.5}, {"predictions": None}, {"model": {"name": "pets"}}, {"request_id": None}],
    ids=lambda changes: next(iter(changes)),
)
def test_the_validator_rejects_other_members_and_types(validator: ResponseValidator, changes: dict[str, Any]):
    with pytest.raises(ValidationError):
        validator.check("POST", PREDICT, 200, HEADERS, RESPONSE | changes)


def test_the_validator_rejects_a_problem_that_the_operation_does_not_have(validator: ResponseValidator):
    problem = {"type": "/problems/bad-request", "title": "The request cannot be understood", "status": 400}
    problem |= {"detail": "It is.", "request_id": "id"}
    headers = HEADERS | {"Content-Type": "application/problem+json"}

    validator.check("POST", PREDICT, 400, headers, problem)
    with pytest.raises(ValidationError):
        validator.check("POST", PREDICT, 422, headers, problem)


def test_the_validator_rejects_missing_headers_and_other_media_types(validator: ResponseValidator):
    with pytest.raises(AssertionError, match="200 without X-Request-ID"):
        validator.check("POST", PREDICT, 200, {"Content-Type": "application/json"}, RESPONSE)
    with pytest.raises(AssertionError, match="200 is not described as text/html"):
        validator.check("POST", PREDICT, 200, HEADERS | {"Content-Type": "text/html"}, None)
