from collections.abc import Callable

import pytest
from flask import Flask

from gateway.http.sagemaker import PATHS
from image_gateway_client.keys import hashed, make_key
from tests.support.fake_model_server import FakeModelServer

PNG = {"content_type": "image/png"}


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(sagemaker=True)


def test_invocations_answers_as_predict_does(app: Flask, png: bytes):
    client = app.test_client()
    headers = {"X-Request-ID": "same"}
    answers = [client.post(path, data=png, headers=headers, **PNG) for path in ("/invocations", "/api/v1/predict")]
    assert answers[0].get_json() == answers[1].get_json()
    assert answers[0].get_json()["class"] == "dog"


def test_invocations_is_refused_as_predict_is(app: Flask):
    response = app.test_client().post("/invocations", data=b"no picture", **PNG)
    assert (response.status_code, response.get_json(force=True)["type"]) == (415, "/problems/unsupported-image-format")
    assert app.test_client().get("/invocations").status_code == 405


def test_ping_says_whether_the_model_can_be_used(app: Flask, server: FakeModelServer):
    assert app.test_client().get("/ping").status_code == 200
    server.away = True
    assert app.test_client().get("/ping").status_code == 503


def test_where_keys_are_set_invocations_wants_one_and_ping_does_not(make_app: Callable[..., Flask], png: bytes):
    client = make_app(sagemaker=True, api_keys=(hashed("camera", make_key("camera")),)).test_client()
    assert client.post("/invocations", data=png, **PNG).status_code == 401
    assert client.get("/ping").status_code == 200


def test_what_holds_for_the_routes_holds_for_their_further_paths(app: Flask):
    assert {rule.endpoint for rule in app.url_map.iter_rules() if rule.rule in PATHS} == {
        "health.readyz",
        "api.predict",
    }


def test_they_are_not_described_as_part_of_the_api(app: Flask):
    assert not PATHS & app.test_client().get("/api/v1/openapi.json").get_json()["paths"].keys()


def test_without_the_setting_there_are_no_such_paths(make_app: Callable[..., Flask]):
    client = make_app().test_client()
    assert [client.get("/ping").status_code, client.post("/invocations").status_code] == [404, 404]
