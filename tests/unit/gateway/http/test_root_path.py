"""An application that is published below the path /gw/api."""

from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient


@pytest.fixture
def client(make_app: Callable[..., Flask]) -> FlaskClient:
    return make_app(root_path="/gw/api").test_client()


@pytest.mark.parametrize("root", ["", "/gw/api"], ids=["removed by the proxy", "kept by the proxy"])
def test_a_request_is_answered_with_and_without_the_path(client: FlaskClient, png: bytes, root: str):
    response = client.post(f"{root}/api/v1/predict", data=png, content_type="image/png")

    assert response.status_code == 200
    assert client.get(f"{root}/livez").status_code == 200
    assert client.get(f"{root}/nothing").status_code == 404


@pytest.mark.parametrize("path", ["/gw", "/gw/apis", "/gw/apilivez", "/gw/api/gw/api/livez", "/other/gw/api/livez"])
def test_another_path_is_not_found(client: FlaskClient, path: str):
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(("query", "location"), [("", "api/"), ("?lang=en", "api/?lang=en")])
def test_the_path_without_a_slash_is_redirected_for_the_links_of_the_page(
    client: FlaskClient, query: str, location: str
):
    response = client.get(f"/gw/api{query}")

    assert (response.status_code, response.headers["Location"]) == (308, location)


def test_metrics_stay_where_nginx_hides_them(client: FlaskClient):
    assert client.get("/metrics").status_code == 200
    assert client.get("/gw/api/metrics").status_code == 404


def test_the_document_of_the_api_names_the_path(client: FlaskClient, make_app: Callable[..., Flask]):
    assert client.get("/api/v1/openapi.json").get_json()["servers"] == [{"url": "/gw/api"}]
    assert make_app().test_client().get("/api/v1/openapi.json").get_json()["servers"] == [{"url": "/"}]
