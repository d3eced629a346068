"""The routes of other protocols have the keys, limits and reports of every route."""

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from structlog.testing import capture_logs
from werkzeug.test import TestResponse

from image_gateway_client.keys import hash_key, make_key
from tests.support.fake_model_server import FakeModelServer

ROOT = Path(__file__).parents[4]
INFER, PREDICT = "/v2/models/pets/infer", "/v1/models/pets:predict"


@pytest.fixture
def bodies(png: bytes) -> dict[str, str]:
    """Return a body with two images, by path."""
    data = [base64.b64encode(png).decode()] * 2
    tensor = {"name": "image", "shape": [2], "datatype": "BYTES", "data": data}
    instances = [{"b64": text} for text in data]
    return {INFER: json.dumps({"inputs": [tensor]}), PREDICT: json.dumps({"instances": instances})}


def send(client: FlaskClient, bodies: dict[str, str], path: str, **headers: str) -> TestResponse:
    return client.post(path, data=bodies[path], headers=headers)


def test_both_protocols_can_be_turned_off(make_app: Callable[..., Flask], bodies: dict[str, str]):
    client = make_app(compatible_apis=False).test_client()

    for path in ("/v2", "/v2/health/ready", "/v1/models/pets"):
        assert client.get(path).status_code == 404
    for path in bodies:
        response = send(client, bodies, path)
        assert response.status_code == 404
        assert response.get_json(force=True)["type"] == "/problems/not-found"


def test_what_is_turned_off_is_not_imported():
    script = (
        "import sys; from gateway.settings import Settings; from gateway import app;"
        "from tests.support.fake_model_server import FakeModelServer;"
        "from gateway.fetching.fetcher import DisabledFetcher;"
        "from gateway.models.configured import ConfiguredModels;"
        "make = lambda on: app.create_app(Settings(compatible_apis=on), server=FakeModelServer(),"
        " fetcher=DisabledFetcher(), configured_models=ConfiguredModels.from_names(['pets']));"
        "make(False); off = 'gateway.protocols' in sys.modules;"
        "make(True); print(off, 'gateway.protocols' in sys.modules)"
    )

    output = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)

    assert output.stdout.split() == ["False", "True"]


@pytest.mark.parametrize("path", [INFER, PREDICT])
def test_a_prediction_needs_a_key_where_keys_are_required(
    make_app: Callable[..., Flask], bodies: dict[str, str], path: str
):
    key = make_key("camera")
    client = make_app(api_keys=(hash_key("camera", key),)).test_client()

    refused, accepted = send(client, bodies, path), send(client, bodies, path, Authorization=f"Bearer {key}")

    assert (refused.status_code, list(refused.get_json())) == (401, ["error"])
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")
    assert accepted.status_code == 200
    assert client.get("/v2/models/pets").status_code == 401
    assert client.get("/v1/models/pets").status_code == 401
    assert {client.get(path).status_code for path in ("/v2", "/v2/health/live", "/v2/health/ready")} == {200}


@pytest.mark.parametrize("path", [INFER, PREDICT])
def test_each_image_counts_towards_the_rate_limit(make_app: Callable[..., Flask], bodies: dict[str, str], path: str):
    client = make_app(rate_limit="3/minute").test_client()

    first, second = send(client, bodies, path), send(client, bodies, path)

    assert first.headers["RateLimit"].startswith('"3 per 1 minute";r=1;')
    assert (second.status_code, list(second.get_json())) == (429, ["error"])
    assert "Retry-After" in second.headers
    assert client.get("/v2/health/ready").status_code == 200


@pytest.mark.parametrize("path", [INFER, PREDICT])
def test_a_prediction_is_logged_and_counted_by_its_route(app: Flask, bodies: dict[str, str], path: str):
    with capture_logs() as lines:
        response = send(app.test_client(), bodies, path, **{"X-Request-ID": "mine"})

    line = next(line for line in lines if line["event"] == "request")
    assert (line["model"], line["version"], line["images"], line["status"]) == ("pets", 2, 2, 200)
    assert response.headers["X-Request-ID"] == "mine"
    assert "predict;dur=" in response.headers["Server-Timing"]
    page = app.test_client().get("/metrics").text
    route = {INFER: "/v2/models/<model>/infer", PREDICT: "/v1/models/<name:model>:predict"}[path]
    assert f'route="{route}"' in page


def test_health_checks_are_not_logged_among_the_requests(client: FlaskClient):
    with capture_logs() as lines:
        client.get("/v2/health/live")

    assert [line["log_level"] for line in lines if line["event"] == "request"] == ["debug"]


@pytest.mark.parametrize("path", [INFER, PREDICT])
def test_a_deadline_ends_a_prediction(client: FlaskClient, bodies: dict[str, str], path: str):
    client.get("/v2/health/ready")

    response = send(client, bodies, path, **{"X-Request-Timeout": "0.000001"})

    assert (response.status_code, list(response.get_json())) == (504, ["error"])


@pytest.mark.parametrize("path", [INFER, PREDICT])
def test_a_model_server_that_is_away_is_reported(
    client: FlaskClient, server: FakeModelServer, bodies: dict[str, str], path: str
):
    server.away = True

    response = send(client, bodies, path)

    assert (response.status_code, list(response.get_json())) == (503, ["error"])
    assert "Retry-After" in response.headers


def test_a_bug_is_reported_without_its_text(client: FlaskClient, server: FakeModelServer, bodies: dict[str, str]):
    def fail() -> None:
        raise ZeroDivisionError("secret")

    client.get("/v2/health/ready")
    server.before["predict"] = fail

    response = send(client, bodies, INFER)

    assert (response.status_code, list(response.get_json())) == (500, ["error"])
    assert "secret" not in response.text


@pytest.mark.parametrize("path", ["/v2/models", "/v2/nothing", "/v1/models", "/v1/models/pets/nothing"])
def test_a_path_without_a_route_is_answered_in_the_words_of_the_protocol(client: FlaskClient, path: str):
    response = client.get(path)

    assert response.status_code == 404
    assert response.get_json()["error"].startswith(f"There is no route GET {path}.")


@pytest.mark.parametrize("path", ["/v1", "/v2x", "/v1/modelsx", "/api/v1/nothing"])
def test_other_paths_without_a_route_are_problems(client: FlaskClient, path: str):
    response = client.get(path)

    assert (response.status_code, response.mimetype) == (404, "application/problem+json")


@pytest.mark.parametrize("path", [INFER, PREDICT])
def test_pages_of_allowed_origins_may_predict(make_app: Callable[..., Flask], bodies: dict[str, str], path: str):
    client = make_app(cors_origins=("https://a.example",)).test_client()
    origin = {"Origin": "https://a.example"}

    preflight = client.options(path, headers=origin | {"Access-Control-Request-Method": "POST"})
    response = send(client, bodies, path, **origin)

    assert set(preflight.headers["Access-Control-Allow-Methods"].split(", ")) == {"POST", "OPTIONS"}
    assert response.headers["Access-Control-Allow-Origin"] == "https://a.example"


def test_the_routes_are_below_the_path_of_the_gateway(make_app: Callable[..., Flask], bodies: dict[str, str]):
    client = make_app(root_path="/gw").test_client()

    for path, body in bodies.items():
        assert client.post(f"/gw{path}", data=body).status_code == 200
    assert client.get("/gw/v2/models/pets/infr").get_json()["error"].endswith("Did you mean GET /gw/v2/models/pets?")


def test_the_openapi_document_does_not_describe_them(client: FlaskClient):
    paths = client.get("/api/v1/openapi.json").get_json()["paths"]

    assert "/api/v1/predict" in paths
    assert [path for path in paths if path.startswith(("/v1", "/v2"))] == []


@pytest.mark.parametrize("path", [INFER, PREDICT])
def test_predictions_are_cached(make_app: Callable[..., Flask], bodies: dict[str, str], path: str):
    client = make_app(cache="memory").test_client()

    first, second = send(client, bodies, path), send(client, bodies, path)

    assert first.headers["Cache-Status"] == "image-gateway; fwd=miss; stored"
    assert second.headers["Cache-Status"] == "image-gateway; hit"
    assert first.get_json() == second.get_json()
