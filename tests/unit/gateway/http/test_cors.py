from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

PREDICT = "/api/v1/predict"
ORIGIN = "https://app.example"


@pytest.fixture
def client(make_app: Callable[..., Flask]) -> FlaskClient:
    """Return a client of an application that allows pages of `ORIGIN`."""
    return make_app(cors_origins=(ORIGIN, "http://localhost:3000")).test_client()


def preflight(client: FlaskClient, path: str = PREDICT, origin: str = ORIGIN) -> TestResponse:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    return client.options(path, headers=headers | {"Access-Control-Request-Headers": "content-type,x-request-timeout"})


def cors_headers(response: TestResponse) -> set[str]:
    return {name for name, _ in response.headers if name.startswith("Access-Control-")}


def test_no_origin_is_allowed_by_default(make_app: Callable[..., Flask], png: bytes):
    client = make_app().test_client()
    posted = client.post(PREDICT, data=png, content_type="image/png", headers={"Origin": ORIGIN})
    assert posted.status_code == 200
    assert not cors_headers(posted)
    assert not cors_headers(preflight(client))
    assert "Origin" not in posted.vary


def test_a_page_of_an_allowed_origin_may_read_the_response(client: FlaskClient, png: bytes):
    response = client.post(PREDICT, data=png, content_type="image/png", headers={"Origin": ORIGIN})
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert response.headers["Access-Control-Expose-Headers"] == (
        "X-Request-ID, Retry-After, Server-Timing, WWW-Authenticate, RateLimit, RateLimit-Policy, Location, Link, "
        "Preference-Applied, Inference-Header-Content-Length"
    )
    assert "Origin" in response.vary


def test_a_page_of_an_allowed_origin_may_read_problems(client: FlaskClient):
    for body, status in (
        ({"data": b"hello", "content_type": "image/png"}, 415),
        ({"json": {"image": "", "url": ""}}, 400),
        ({}, 400),
    ):
        response = client.post(PREDICT, headers={"Origin": ORIGIN}, **body)
        assert response.status_code == status, body
        assert response.headers["Access-Control-Allow-Origin"] == ORIGIN, body


def test_a_preflight_allows_methods_and_headers(client: FlaskClient):
    response = preflight(client)
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert set(response.headers["Access-Control-Allow-Methods"].split(", ")) == {"POST", "OPTIONS"}
    allowed = {name.lower() for name in response.headers["Access-Control-Allow-Headers"].split(", ")}
    own = {"x-api-key", "x-request-id", "x-request-timeout", "inference-header-content-length"}
    assert allowed == {"content-type", "authorization", "idempotency-key", "prefer"} | own
    assert response.headers["Access-Control-Max-Age"] == "600"
    assert "GET" in preflight(client, "/api/v1/models").headers["Access-Control-Allow-Methods"]


def test_a_page_of_another_origin_may_not_read_the_response(client: FlaskClient, png: bytes):
    for origin in ("https://other.example", "https://app.example.evil.example", "null", "http://app.example"):
        response = client.post(PREDICT, data=png, content_type="image/png", headers={"Origin": origin})
        assert not cors_headers(response), origin
        assert "Origin" in response.vary, origin  # otherwise caches would mix up responses for different origins
        assert not cors_headers(preflight(client, origin=origin)), origin


def test_a_request_without_an_origin_gets_no_cors_headers(client: FlaskClient, png: bytes):
    assert not cors_headers(client.post(PREDICT, data=png, content_type="image/png"))


def test_every_origin_can_be_allowed(make_app: Callable[..., Flask], png: bytes):
    client = make_app(cors_origins=("*",)).test_client()
    response = client.post(PREDICT, data=png, content_type="image/png", headers={"Origin": "https://any.example"})
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "Origin" not in response.vary
    assert preflight(client, origin="null").headers["Access-Control-Allow-Origin"] == "*"


def test_only_the_api_is_open_to_other_origins(client: FlaskClient):
    for path in ("/nowhere", "/livez", "/metrics"):
        assert not cors_headers(client.get(path, headers={"Origin": ORIGIN})), path
