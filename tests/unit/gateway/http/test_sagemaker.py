from collections.abc import Callable

import pytest
from flask import Flask

from gateway.http.sagemaker import PATHS
from image_gateway_client.keys import hash_key, make_key
from tests.support.fake_model_server import FakeModelServer

PNG = {"content_type": "image/png"}


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(sagemaker=True)


def test_invocations_answers_like_predict(app: Flask, png: bytes):
    client = app.test_client()
    headers = {"X-Request-ID": "same"}

    alias, original = (
        client.post(path, data=png, headers=headers, **PNG) for path in ("/invocations", "/api/v1/predict")
    )

    assert alias.get_json() == original.get_json()
    assert alias.get_json()["class"] == "dog"


def test_the_media_type_of_sagemakers_examples_is_an_image(app: Flask, png: bytes):
    for path in ("/invocations", "/api/v1/predict"):
        response = app.test_client().post(path, data=png, content_type="application/x-image")

        assert response.get_json()["class"] == "dog", path


def test_invocations_refuses_like_predict(app: Flask):
    response = app.test_client().post("/invocations", data=b"not an image", **PNG)
    assert (response.status_code, response.get_json(force=True)["type"]) == (415, "/problems/unsupported-image-format")
    assert app.test_client().get("/invocations").status_code == 405


def test_ping_answers_like_readyz(app: Flask, server: FakeModelServer):
    assert app.test_client().get("/ping").status_code == 200
    server.away = True
    assert app.test_client().get("/ping").status_code == 503


def test_invocations_requires_a_key_and_ping_does_not(make_app: Callable[..., Flask], png: bytes):
    client = make_app(sagemaker=True, api_keys=(hash_key("camera", make_key("camera")),)).test_client()
    assert client.post("/invocations", data=png, **PNG).status_code == 401
    assert client.get("/ping").status_code == 200


def test_the_paths_are_aliases_of_existing_routes(app: Flask):
    assert {rule.endpoint for rule in app.url_map.iter_rules() if rule.rule in PATHS} == {
        "health.readyz",
        "api.predict",
    }


def test_the_openapi_document_does_not_describe_them(app: Flask):
    assert not PATHS & app.test_client().get("/api/v1/openapi.json").get_json()["paths"].keys()


def test_the_paths_do_not_exist_by_default(make_app: Callable[..., Flask]):
    client = make_app().test_client()
    assert [client.get("/ping").status_code, client.post("/invocations").status_code] == [404, 404]
