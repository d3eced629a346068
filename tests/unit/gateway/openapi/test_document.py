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

import gateway
from gateway import errors
from gateway.http import problems, request_parser
from gateway.http.headers import REQUEST_ID, REQUEST_TIMEOUT
from gateway.openapi.document import PAGES
from gateway.openapi.examples import Example, load
from gateway.openapi.operations import OPERATIONS
from gateway.openapi.problems import MEMBERS, NGINX_PROBLEMS, every_problem
from gateway.openapi.requests import options
from gateway.settings import Settings
from tests.support.fake_model_server import FakeModelServer, FakeVersion, constant, explainable
from tests.support.openapi import ResponseValidator
from tools import document as documents
from vision.card import Card

URL = "/api/v1/openapi.json"
PREDICT = "/api/v1/predict"
SOURCES = sorted(Path(gateway.__file__).parent.rglob("*.py"))


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    return client.get(URL).get_json()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def schema(document: dict[str, Any], name: str) -> dict[str, Any]:
    return document["components"]["schemas"][name]


# The document as such


def test_it_is_valid_openapi_3_1(document: dict[str, Any]):
    assert document["openapi"].startswith("3.1.")
    validate(document)


def test_whatever_is_defined_is_referred_to(document: dict[str, Any]):
    text = json.dumps(document)
    for kind, named in document["components"].items():
        for name in named:
            assert f'"#/components/{kind}/{name}"' in text, (kind, name)


def test_every_operation_has_an_id_of_its_own_and_says_what_it_does(document: dict[str, Any]):
    told = [operation for _, _, operation in operations(document)]
    assert len({operation["operationId"] for operation in told}) == len(told)
    assert all(operation["summary"] and operation["description"].endswith(".") for operation in told)


def test_every_member_of_an_answer_is_explained(document: dict[str, Any]):
    common = {"type", "title", "status", "openapi", "info", "paths", "components"}  # RFC 9457 and OpenAPI explain these
    for name, described in document["components"]["schemas"].items():
        for member, value in described.get("properties", {}).items():
            assert member in common or value.get("description"), (name, member)


# Routes and parameters: the code's, no more and no less


def test_every_route_is_described_and_no_other(app: Flask, document: dict[str, Any]):
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint.partition(".")[0] != PAGES]
    served = {
        (method.lower(), re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in rules
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {(method, path) for method, path, _ in operations(document)} == served
    assert {rule.endpoint for rule in rules} == set(OPERATIONS)


def test_the_parameters_of_a_path_are_those_in_it(document: dict[str, Any]):
    for _, path, operation in operations(document):
        names = [item["$ref"].rpartition("/")[2] for item in operation["parameters"]]
        described = [document["components"]["parameters"][name] for name in names]
        assert [item["name"] for item in described if item["in"] == "path"] == re.findall(r"\{(\w+)\}", path)
        assert all(item["required"] for item in described if item["in"] == "path")


def headers_read() -> Iterator[str]:
    """Find the names of request headers in the gateway's code."""
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            match node:
                case ast.Subscript(ast.Attribute(ast.Name("request" | "http_request"), "headers"), key) | ast.Call(
                    ast.Attribute(ast.Attribute(ast.Name("request" | "http_request"), "headers"), "get"), [key, *_]
                ):
                    yield ast.unparse(key)


def test_every_header_that_is_read_is_a_parameter(document: dict[str, Any]):
    elsewhere = {"'Origin'", "'Authorization'", "API_KEY"}  # the browser's to set; told by the security schemes
    assert set(headers_read()) == {"REQUEST_ID", "REQUEST_TIMEOUT"} | elsewhere
    parameters = document["components"]["parameters"].values()
    assert {item["name"] for item in parameters if item["in"] == "header"} == {REQUEST_ID, REQUEST_TIMEOUT}


def test_the_fields_of_a_request_are_those_that_are_read(document: dict[str, Any]):
    chosen = set(options(Settings()))
    query = {item["name"] for item in document["components"]["parameters"].values() if item["in"] == "query"}
    assert query == chosen
    texts = {*request_parser.URL_FIELDS, *request_parser.BASE64_FIELDS}
    assert set(schema(document, "ImageFields")["properties"]) == texts | {request_parser.BATCH_FIELD} | chosen
    assert set(schema(document, "ImageForm")["properties"]) == {*texts, *request_parser.FORM_BASE64_FIELDS} | chosen
    assert (
        set(schema(document, "ImageParts")["properties"])
        == {*request_parser.FILE_FIELDS, *request_parser.URL_FIELDS} | chosen
    )


def test_limits_and_defaults_are_those_that_are_set(make_app: Callable[..., Flask]):
    app = make_app(default_top_k=3, max_body_bytes=54_321, max_pixels=987_654)
    document = app.test_client().get(URL).get_json()
    assert schema(document, "ImageFields")["properties"]["top_k"]["default"] == 3
    body = document["paths"][PREDICT]["post"]["requestBody"]["description"]
    assert "54321 bytes" in body
    assert "987654 pixels" in body


# Problems


def test_every_problem_is_described_as_it_is_answered(document: dict[str, Any]):
    described = {
        item["properties"]["type"]["const"]: item["properties"]
        for item in document["components"]["schemas"].values()
        if "const" in item["properties"].get("type", {})
    }
    known = (*problems.PROBLEMS.values(), *problems.HTTP_PROBLEMS.values(), problems.INTERNAL, *NGINX_PROBLEMS)
    assert set(described) == {problem.type_uri for problem in known} | {"about:blank"}
    for problem in known:
        properties = described[problem.type_uri]
        assert (properties["status"]["const"], properties["title"]["const"]) == (problem.status, problem.title)


def test_every_problem_of_nginx_is_described_as_its_configuration_has_it():
    known = {problem.type_uri: problem for problem in every_problem()}
    for row in documents.nginx_rows(documents.NGINX_TEMPLATE.read_text(encoding="utf-8")):
        problem = known.pop(row.type_uri)
        assert (problem.status, problem.title) == (row.status, row.title)
    assert not set(known) & {problem.type_uri for problem in NGINX_PROBLEMS}


def members_raised() -> set[tuple[str, str]]:
    """Find the members that the gateway's code gives to its errors: class and name."""
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


def test_the_members_of_a_problem_are_those_that_the_code_gives_it():
    assert members_raised() == {(error.__name__, name) for error, members in MEMBERS.items() for name in members}


# Answers


def test_every_member_of_an_answer_is_given_by_some_answer(
    make_app: Callable[..., Flask], server: FakeModelServer, card: Card, document: dict[str, Any], png: bytes
):
    """What the client of these tests holds every answer to is the other direction: no member is given undescribed."""
    several = dataclasses.replace(card, task="multilabel")
    warm = np.ones((1, 2, 2), np.float32)
    server.swap("weather", 1, explainable(several, constant(0.9, 0.1, 0.2), lambda *_: warm))
    server.labels["pets"] = {"stable": 1}
    server.swap("broken", 1, FakeVersion({}, {}))
    server.states["broken", 2] = ("END", "The file is damaged.")
    client = make_app(models=("pets", "weather", "broken")).test_client()
    given = {
        "PredictionResponse": [
            client.post(f"/api/v1/models/weather/predict?explain={explain}", data=png, content_type="image/png")
            for explain in ("true", "raw")
        ],
        "BatchPredictionResponse": [
            client.post(
                "/api/v1/models/weather/predict",
                json={
                    "instances": [{"image": "AAAA"}, {"image": base64.b64encode(png).decode()}],
                    "explain": True,
                },
            )
        ],
        "ModelList": [client.get("/api/v1/models")],
        "ModelDetails": [client.get("/api/v1/models/pets"), client.get("/api/v1/models/broken")],
        "Ready": [client.get("/readyz")],
        "Version": [client.get("/version")],
        "Live": [client.get("/livez")],
        "Description": [client.get(URL)],
    }
    assert set(given) == {kind.__name__ for operation in OPERATIONS.values() for kind in operation.answers}
    seen: set[tuple[str, str]] = set()
    for name, responses in given.items():
        for response in responses:
            note(document, {"$ref": f"#/components/schemas/{name}"}, response.get_json(), seen)
    answers = {name for name, _ in seen}
    assert {(name, member) for name in answers for member in schema(document, name)["properties"]} == seen
    assert {"Prediction", "ModelVersion", "VersionState", "Card", "InputSpec", "OutputSpec"} <= answers


def note(document: dict[str, Any], described: dict[str, Any], value: Any, seen: set[tuple[str, str]]) -> None:
    """Note which members of which schemas a value has."""
    if isinstance(value, list):
        for item in value:
            note(document, described.get("items", {}), item, seen)
    elif isinstance(value, dict):
        for choice in described.get("anyOf", [described]):
            name = choice.get("$ref", "").rpartition("/")[2]
            if name and set(schema(document, name)["required"]) <= set(value):
                for member in set(value) & set(schema(document, name)["properties"]):
                    seen.add((name, member))
                    note(document, schema(document, name)["properties"][member], value[member], seen)


# Examples


@pytest.mark.parametrize("example", load(), ids=lambda example: example.name)
def test_an_example_is_as_the_document_says(validator: ResponseValidator, document: dict[str, Any], example: Example):
    shown = document["components"]["examples"]
    assert shown[example.name]["value"] == example.answer
    showing = [
        content["schema"]
        for _, _, operation in operations(document)
        for content in operation["responses"].get(str(example.status), {"content": {}})["content"].values()
        if example.name in content.get("examples", {})
    ]
    assert showing
    for described in showing:
        validator.check_schema(described, example.answer)
    if example.request is not None:
        assert shown[f"{example.name}-request"]["value"] == example.request


def test_what_an_example_asks_is_as_the_document_says(validator: ResponseValidator):
    good = [example.request for example in load() if example.request is not None and example.status == 200]
    assert good
    for request in good:
        validator.check_schema({"$ref": "#/components/schemas/ImageFields"}, request)


def test_every_operation_that_answers_json_shows_an_answer(document: dict[str, Any]):
    for _, path, operation in operations(document):
        content = operation["responses"]["200"]["content"].get("application/json")
        assert content is None or content.get("examples") or path == URL, path


# The validator of every answer in these tests


ANSWER = {
    "class": "cat",
    "class_id": 0,
    "score": 0.5,
    "predictions": [{"class": "cat", "class_id": 0, "score": 0.5}],
    "model": {"name": "pets", "version": 1},
    "request_id": "id",
}
HEADERS = {"X-Request-ID": "id", "Content-Type": "application/json"}


def test_the_validator_accepts_what_is_described(validator: ResponseValidator):
    validator.check("POST", PREDICT, 200, HEADERS, ANSWER)
    validator.check("POST", "/api/v1/models/pets/predict", 200, HEADERS, ANSWER)
    validator.check("GET", "/nowhere", 200, {}, {"whatever": 1})


@pytest.mark.parametrize(
    "changed",
    [{"extra": 1}, {"score": 1.5}, {"predictions": None}, {"model": {"name": "pets"}}, {"request_id": None}],
    ids=lambda changed: next(iter(changed)),
)
def test_the_validator_refuses_another_answer(validator: ResponseValidator, changed: dict[str, Any]):
    with pytest.raises(ValidationError):
        validator.check("POST", PREDICT, 200, HEADERS, ANSWER | changed)


def test_the_validator_refuses_a_problem_that_the_operation_does_not_have(validator: ResponseValidator):
    problem = {"type": "/problems/bad-request", "title": "The request cannot be understood", "status": 400}
    problem |= {"detail": "It is.", "request_id": "id"}
    headers = HEADERS | {"Content-Type": "application/problem+json"}
    validator.check("POST", PREDICT, 400, headers, problem)
    with pytest.raises(ValidationError):
        validator.check("POST", PREDICT, 422, headers, problem)


def test_the_validator_misses_headers_and_media_types(validator: ResponseValidator):
    with pytest.raises(AssertionError, match="200 without X-Request-ID"):
        validator.check("POST", PREDICT, 200, {"Content-Type": "application/json"}, ANSWER)
    with pytest.raises(AssertionError, match="200 is not described as text/html"):
        validator.check("POST", PREDICT, 200, HEADERS | {"Content-Type": "text/html"}, None)
