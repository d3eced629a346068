import base64
import re
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.fake_model_server import FakeModelServer

PREDICT = "/api/v1/predict"
URL = "https://photos.example/a.png"
STAGE = re.compile(r"([a-z]+);dur=([0-9]+\.[0-9]{3})")


def stages(header: str) -> list[str]:
    found = [STAGE.fullmatch(entry) for entry in header.split(", ")]
    assert all(found), header
    return [match[1] for match in found if match]


# Server-Timing


def test_the_stages_of_a_prediction_are_told(client: FlaskClient, pictures: dict[str, bytes], png: bytes):
    pictures[URL] = png
    whole = ["decode", "preprocess", "predict", "total"]
    uploaded = client.post(PREDICT, data=png, content_type="image/png")
    assert stages(uploaded.headers["Server-Timing"]) == ["receive", *whole]
    assert stages(client.post(PREDICT, json={"url": URL}).headers["Server-Timing"]) == ["receive", "fetch", *whole]
    batch = {"instances": [{"image": base64.b64encode(png).decode()}, {"url": URL}, {"image": "AAAA"}]}
    assert stages(client.post(PREDICT, json=batch).headers["Server-Timing"]) == ["receive", "fetch", *whole]


def test_no_stage_of_a_single_image_takes_longer_than_the_whole(client: FlaskClient, png: bytes):
    header = client.post(PREDICT, data=png, content_type="image/png").headers["Server-Timing"]
    times = [float(STAGE.fullmatch(entry)[2]) for entry in header.split(", ")]
    assert sum(times[:-1]) <= times[-1] + 0.005  # each is rounded


def test_a_problem_tells_the_stages_up_to_it(client: FlaskClient, server: FakeModelServer, png: bytes):
    refused = client.post(PREDICT, data=b"hello", content_type="image/png")
    assert (refused.status_code, stages(refused.headers["Server-Timing"])) == (415, ["receive", "decode", "total"])
    misread = client.post(PREDICT, json={"top_k": 0, "url": URL})
    assert (misread.status_code, stages(misread.headers["Server-Timing"])) == (400, ["receive", "total"])
    server.away = True
    away = client.post(PREDICT, data=png, content_type="image/png")
    assert (away.status_code, stages(away.headers["Server-Timing"])[-2:]) == (503, ["predict", "total"])


def test_other_answers_have_no_stages(client: FlaskClient):
    assert "Server-Timing" not in client.get("/livez").headers
    assert "Server-Timing" not in client.get(PREDICT).headers


# X-Request-Timeout


def ask(client: FlaskClient, timeout: str, png: bytes) -> tuple[int, dict[str, object]]:
    response = client.post(PREDICT, data=png, content_type="image/png", headers={"X-Request-Timeout": timeout})
    return response.status_code, response.get_json(force=True)


@pytest.mark.parametrize("timeout", ["9", "9.5", "9.999999999", "1000", "009"])
def test_a_caller_may_say_how_long_it_waits(client: FlaskClient, png: bytes, timeout: str):
    assert ask(client, timeout, png)[0] == 200


def test_no_answer_is_given_after_the_time_that_the_caller_waits(
    client: FlaskClient, server: FakeModelServer, png: bytes
):
    assert ask(client, "5", png)[0] == 200
    status, document = ask(client, "0.000000001", png)
    assert (status, document["type"]) == (504, "/problems/deadline-exceeded")
    assert document["detail"] == "The request was not answered within 1e-09 s."
    assert server.calls["predict"] == 2  # for the card, and for the request that had time


def test_no_caller_gets_more_time_than_is_set(make_app: Callable[..., Flask], png: bytes):
    status, document = ask(make_app(request_deadline_s=1e-9).test_client(), "1000", png)
    assert (status, document["detail"]) == (504, "The request was not answered within 1e-09 s.")


@pytest.mark.parametrize(
    "timeout", ["", "0", "0.0", "-1", "+1", "1s", "soon", "nan", "inf", "1e3", ".5", "5.", "1,5", "9" * 50]
)
def test_a_time_that_is_none_is_refused(client: FlaskClient, png: bytes, timeout: str):
    status, document = ask(client, timeout, png)
    assert (status, document["type"]) == (400, "/problems/bad-request")
    assert "X-Request-Timeout must be a number of seconds above 0" in str(document["detail"])
    assert document["request_id"]


# HEAD and OPTIONS


READ = ["/livez", "/readyz", "/metrics", "/", "/api/v1/models", "/api/v1/models/pets", "/api/v1/openapi.json"]
ASKED = [
    "/api/v1/predict",
    "/api/v1/models/pets/predict",
    "/api/v1/models/pets/versions/1/predict",
    "/api/v1/models/pets/labels/stable/predict",
]


@pytest.mark.parametrize("path", READ)
def test_head_is_get_without_the_body(client: FlaskClient, path: str):
    with client.get(path) as got, client.head(path) as headed:
        assert headed.status_code == got.status_code == 200
        assert headed.data == b""
        assert headed.content_type == got.content_type


@pytest.mark.parametrize("path", ASKED)
def test_what_is_asked_by_post_has_no_head(client: FlaskClient, path: str):
    for response in (client.head(path), client.get(path), client.put(path), client.delete(path)):
        assert response.status_code == 405
        assert set(response.allow) == {"POST", "OPTIONS"}


@pytest.mark.parametrize(
    ("path", "allowed"),
    [*((path, {"GET", "HEAD", "OPTIONS"}) for path in READ), *((path, {"POST", "OPTIONS"}) for path in ASKED)],
)
def test_options_tells_the_methods(client: FlaskClient, path: str, allowed: set[str]):
    response = client.options(path)
    assert (response.status_code, set(response.allow), response.data) == (200, allowed, b"")
