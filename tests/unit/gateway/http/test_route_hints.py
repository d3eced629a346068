"""A request without a route is told the nearest one."""

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from gateway.http.route_hints import MAX_COMPARED_LENGTH, RouteHints

NEAREST = {
    ("POST", "/api/v1/predct"): "POST /api/v1/predict",
    ("POST", "/predict"): "POST /api/v1/predict",
    ("GET", "/predict"): "POST /api/v1/predict",
    ("POST", "/api/predict"): "POST /api/v1/predict",
    ("POST", "/v1/predict"): "POST /api/v1/predict",
    ("POST", "/API/V1/Predict"): "POST /api/v1/predict",
    ("POST", "//api/v1/predict"): "POST /api/v1/predict",
    ("POST", "/api//v1//predict"): "POST /api/v1/predict",
    ("POST", "/classify"): "POST /api/v1/predict",
    ("POST", "/api/v1"): "POST /api/v1/predict",
    ("POST", "/api/v1/models/cats/version/1/predict"): "POST /api/v1/models/cats/versions/1/predict",
    ("POST", "/api/v1/models/cats/versions/1"): "POST /api/v1/models/cats/versions/1/predict",
    ("POST", "/predictions/cats"): "POST /api/v1/models/cats/predict",
    ("GET", "/model"): "GET /api/v1/models",
    ("GET", "/health"): "GET /livez",
    ("GET", "/ready"): "GET /readyz",
    ("GET", "/docs/"): "GET /docs",
    ("GET", "/swagger"): "GET /docs",
    ("GET", "/openapi.json"): "GET /api/v1/openapi.json",
    ("GET", "/problem"): "GET /problems",
    ("POST", "/api/v1/predict/api/v1/predict"): "POST /api/v1/predict",
}
NEAREST_WITHOUT_OTHER_PROTOCOLS = {
    ("POST", "/v1/models/Cats:predict"): "POST /api/v1/models/Cats/predict",
    ("POST", "/v2/models/cats/infer"): "POST /api/v1/models/cats/predict",
    ("POST", "/v1/models/cats/versions/3:predict"): "POST /api/v1/models/cats/versions/3/predict",
    ("POST", "/v1/models/cats/labels/stable:predict"): "POST /api/v1/models/cats/labels/stable/predict",
    ("GET", "/v1/models/cats"): "GET /api/v1/models/cats",
    ("GET", "/v1/models/cats/metadata"): "GET /api/v1/models/cats",
}
NEAREST_WITH_OTHER_PROTOCOLS = {
    ("GET", "/v2/models"): "GET /api/v1/models",
    ("GET", "/v2/health"): "GET /v2/health/live",
    ("POST", "/v2/models/cats/predict"): "POST /v2/models/cats/infer",
    ("POST", "/v2/model/cats/infer"): "POST /v2/models/cats/infer",
    ("POST", "/v2/models/cats/version/1/infer"): "POST /v2/models/cats/versions/1/infer",
    ("POST", "/v1/models/cats/predict"): "POST /v1/models/cats:predict",
    ("POST", "/v1/models/cats:predct"): "POST /v1/models/cats:predict",
    ("POST", "/v1/models/cats:classify"): "POST /v1/models/cats:predict",
    ("POST", "/v1/models/cats/version/1:predict"): "POST /v1/models/cats/versions/1:predict",
    ("GET", "/v1/models/cats/metadata"): "GET /v1/models/cats",
}
ELSEWHERE = [
    "/favicon.ico",
    "/robots.txt",
    "/index.html",
    "/nothing/here",
    "/v1/chat/completions",
    "/wp-login.php",
    "/" + "a/" * (MAX_COMPARED_LENGTH // 2),
    "/" + "a" * 8000,
]


@pytest.fixture
def hints(app: Flask) -> RouteHints:
    return RouteHints(app.url_map)


@pytest.mark.parametrize(
    ("compatible_apis", "of_protocols"),
    [(True, NEAREST_WITH_OTHER_PROTOCOLS), (False, NEAREST_WITHOUT_OTHER_PROTOCOLS)],
)
def test_the_nearest_route_is_named(
    make_app: Callable[..., Flask], tmp_path: Path, of_protocols: dict[tuple[str, str], str], *, compatible_apis: bool
):
    app = make_app(compatible_apis=compatible_apis, jobs="sqlite", jobs_dir=tmp_path)
    hints = RouteHints(app.url_map)

    for (method, path), nearest in (NEAREST | of_protocols).items():
        assert hints.no_route(method, path) == f"There is no route {method} {path}. Did you mean {nearest}?"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/cats/labels/a:b:predict",
        "/v1/models/a:b:predict",
        "/v1/models/a:b/versions/1:predict",
        "/v1/models/a:b",
        f"/v1/models/cats/versions/{'9' * 30}x:predict",
    ],
)
def test_what_has_no_route_is_not_suggested(make_app: Callable[..., Flask], path: str):
    client = make_app(compatible_apis=True).test_client()

    for method in ("GET", "POST"):
        response = client.open(path, method=method)
        suggestion = response.get_json()["error"].partition("Did you mean ")[2].rstrip("?")
        assert response.status_code in {404, 405}
        assert not suggestion.endswith(path)
        if suggestion:
            suggested_method, _, suggested_path = suggestion.partition(" ")
            assert client.application.url_map.bind("").test(suggested_path, suggested_method), suggestion


def test_an_unknown_word_is_not_taken_for_the_name_of_a_model(hints: RouteHints):
    assert "/models/nothing" not in hints.no_route("GET", "/api/v1/nothing")


@pytest.mark.parametrize("path", ELSEWHERE)
def test_a_path_that_is_like_no_route_gets_the_list_of_routes(hints: RouteHints, path: str):
    text = hints.no_route("GET", path)

    assert "Did you mean" not in text
    assert text.endswith("GET /api/v1/openapi.json lists all routes, and /docs shows them.")
    assert len(text) < 300


def test_a_path_that_takes_another_method_says_what_it_takes(client: FlaskClient):
    details = {
        (method, path): client.open(path, method=method).get_json(force=True)["detail"]
        for method, path in [
            ("GET", "/api/v1/predict"),
            ("POST", "/api/v1/models/pets"),
            ("POST", "/api/v1/models"),
            ("DELETE", "/livez"),
        ]
    }

    assert details == {
        ("GET", "/api/v1/predict"): "/api/v1/predict takes POST; this was GET. Send an image, for example with "
        "`curl -F image=@photo.jpg URL`.",
        ("POST", "/api/v1/models/pets"): "/api/v1/models/pets takes GET; this was POST. Did you mean POST "
        "/api/v1/models/pets/predict?",
        ("POST", "/api/v1/models"): "/api/v1/models takes GET; this was POST. Images are classified by POST "
        "/api/v1/predict.",
        ("DELETE", "/livez"): "/livez takes GET; this was DELETE. Send GET.",
    }


def test_a_slash_at_the_end_of_a_path_of_the_api_changes_nothing(client: FlaskClient, png: bytes):
    response = client.post("/api/v1/predict/", data=png, content_type="image/png")

    assert (response.status_code, response.json["class"]) == (200, "dog")
    assert client.get("/api/v1/models/").status_code == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/version"])
def test_health_routes_are_only_at_their_own_paths(client: FlaskClient, path: str):
    """nginx limits and serves these paths separately."""
    assert client.get(path).status_code == 200

    response = client.get(f"{path}/")

    assert response.status_code == 404
    assert response.get_json(force=True)["detail"] == f"There is no route GET {path}/. Did you mean GET {path}?"


def test_metrics_are_not_suggested(hints: RouteHints):
    for path in ("/metric", "/metrics/", "/stats/metrics"):
        assert "/metrics?" not in hints.no_route("GET", path)


def test_hints_lead_below_the_path_of_the_gateway(make_app: Callable[..., Flask]):
    client = make_app(root_path="/gw").test_client()
    details = {
        (method, path): client.open(path, method=method).get_json(force=True)["detail"]
        for method, path in [
            ("POST", "/gw/predict"),
            ("GET", "/gw/nothing/here"),
            ("POST", "/gw/api/v1/models"),
            ("POST", "/gw/api/v1/models/pets"),
            ("GET", "/gw/problems/body-to-large"),
            ("GET", "/predict"),
        ]
    }

    assert details == {
        ("POST", "/gw/predict"): "There is no route POST /gw/predict. Did you mean POST /gw/api/v1/predict?",
        ("GET", "/gw/nothing/here"): "There is no route GET /gw/nothing/here. GET /gw/api/v1/openapi.json lists all "
        "routes, and /gw/docs shows them.",
        ("POST", "/gw/api/v1/models"): "/gw/api/v1/models takes GET; this was POST. Images are classified by POST "
        "/gw/api/v1/predict.",
        ("POST", "/gw/api/v1/models/pets"): "/gw/api/v1/models/pets takes GET; this was POST. Did you mean POST "
        "/gw/api/v1/models/pets/predict?",
        ("GET", "/gw/problems/body-to-large"): "There is no problem 'body-to-large'. Did you mean "
        "/gw/problems/body-too-large?",
        ("GET", "/predict"): "There is no route GET /predict. Did you mean POST /api/v1/predict?",
    }


def test_an_unknown_static_file_has_no_route(client: FlaskClient):
    detail = client.get("/static/nothing.css").get_json(force=True)["detail"]

    assert detail.startswith("There is no route GET /static/nothing.css.")
