"""Events of each platform, recorded in `events/`: one image, `top_k=2` and a request id."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from gateway.runtime.lambda_events import NOT_FROM_GATEWAY, Handler, make_digit_handler, make_handler
from tests.support.documents import blocks
from tests.support.fake_model_server import FakeModelServer

EVENTS = sorted((Path(__file__).parent / "events").glob("*.json"))


def recorded(path: Path, image: bytes) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8").replace("IMAGE", base64.b64encode(image).decode()))


@pytest.fixture
def handler(app: Flask) -> Handler:
    return make_handler(app)


@pytest.fixture
def digit_handler(app: Flask) -> Handler:
    return make_digit_handler(app)


def gateway_event(body: object, /, **members: object) -> dict[str, Any]:
    return {"requestContext": {"serviceId": "s"}, "path": "/ai", "headers": {}, "body": json.dumps(body)} | members


def encoded(image: bytes) -> str:
    return base64.b64encode(image).decode()


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.stem)
def test_an_event_is_answered_like_its_request(handler: Handler, path: Path, png: bytes):
    reply = handler(recorded(path, png), None)
    answer = json.loads(reply["body"])
    assert (reply["statusCode"], answer["class"], len(answer["predictions"])) == (200, "dog", 2)
    assert answer["request_id"] == "recorded"
    assert not reply["isBase64Encoded"]
    headers = {name.lower(): value for name, value in (reply.get("headers") or {}).items()}
    headers |= {name.lower(): value[-1] for name, value in reply.get("multiValueHeaders", {}).items()}
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize("form", [str, lambda text: text.encode()], ids=["text", "bytes"])
def test_an_event_can_be_json(handler: Handler, png: bytes, form: Callable[[str], str | bytes]):
    event = form(json.dumps(recorded(EVENTS[0], png)))
    assert handler(event, None)["statusCode"] == 200


def test_a_refused_event_gets_the_problem(handler: Handler):
    reply = handler(recorded(EVENTS[0], b"no picture"), None)
    assert reply["statusCode"] == 415
    assert json.loads(reply["body"])["type"] == "/problems/unsupported-image-format"


def test_other_routes_are_reached_too(handler: Handler):
    event = {"path": "/api/v1/models", "httpMethod": "GET", "headers": None, "body": None, "queryParameters": None}
    assert json.loads(handler(event, None)["body"])["models"][0]["name"] == "pets"


def test_binary_answers_are_returned_in_base64(handler: Handler):
    reply = handler({"path": "/static/icon.svg", "httpMethod": "GET", "headers": {}}, None)
    assert reply["isBase64Encoded"]
    assert b"<svg" in base64.b64decode(reply["body"])


@pytest.mark.parametrize("event", ["no JSON", b"\xff", {}, {"Records": []}])
def test_an_unknown_event_is_an_error_of_the_function(handler: Handler, event: Any):
    with pytest.raises((ValueError, KeyError)):
        handler(event, None)


# The function that returns only a number


def test_only_the_digit_is_returned(digit_handler: Handler, png: bytes):
    assert digit_handler(gateway_event({"image_base64": encoded(png), "image_url": ""}), None) == {"result": 1}


def test_only_the_digit_is_returned_for_a_url(digit_handler: Handler, png: bytes, images_by_url: dict[str, bytes]):
    images_by_url["https://host.example/7.bmp"] = png
    body = {"image_base64": "", "image_url": "https://host.example/7.bmp"}
    assert digit_handler(gateway_event(body), None) == {"result": 1}


def test_the_content_type_of_the_event_is_ignored(digit_handler: Handler, png: bytes):
    headers = {"content-type": "text/plain", "Content-Type": "text/plain"}
    event = gateway_event({"image_base64": encoded(png)}, headers=headers, httpMethod="PUT", queryString={"foo": "bar"})
    assert digit_handler(event, None) == {"result": 1}


def test_headers_of_the_caller_are_used(digit_handler: Handler, png: bytes):
    event = gateway_event({"image_base64": encoded(png)}, headers={"X-Request-Timeout": "soon"})
    assert "X-Request-Timeout must be" in digit_handler(event, None)["errMsg"]


def test_a_body_in_base64_is_decoded(digit_handler: Handler, png: bytes):
    body = json.dumps({"image_base64": encoded(png)}).encode()
    event = gateway_event({}, body=encoded(body), isBase64Encoded=True, headers=None)
    assert digit_handler(event, None) == {"result": 1}


def test_a_call_that_is_not_from_the_gateway_is_refused(digit_handler: Handler, png: bytes):
    assert digit_handler({"image_base64": encoded(png)}, None) == {"errMsg": NOT_FROM_GATEWAY}
    assert NOT_FROM_GATEWAY == "request not from api gw"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"image_base64": "", "image_url": ""}, "The request carries no image: "),
        ({"image_base64": "!", "image_url": ""}, "not valid base64"),
        ({"image_base64": encoded(b"text"), "image_url": ""}, "Accepted formats: "),
        ({"image_base64": "", "image_url": "https://host.example/none"}, "404"),
        ([], "must be an object"),
    ],
)
def test_a_failure_returns_its_reason(digit_handler: Handler, body: object, reason: str):
    reply = digit_handler(gateway_event(body), None)
    assert reply.keys() == {"errMsg"}
    assert reason in reply["errMsg"]


def test_a_missing_body_is_refused(digit_handler: Handler):
    assert "no image" in digit_handler(gateway_event({}, body=None), None)["errMsg"]


def test_several_images_are_refused(digit_handler: Handler, png: bytes):
    event = gateway_event({"instances": [{"image": encoded(png)}, {"image": encoded(png)}]})
    assert digit_handler(event, None)["errMsg"].startswith("Several images")


def test_an_unreachable_model_server_is_reported(digit_handler: Handler, server: FakeModelServer, png: bytes):
    server.away = True
    assert digit_handler(gateway_event({"image_base64": encoded(png)}), None) == {"errMsg": "away"}


def test_the_event_in_the_docs_is_answered(digit_handler: Handler, png: bytes):
    (example,) = (block for block in blocks() if block.page == "docs/guides/serverless.md" and block.kind == "json")
    assert digit_handler(example.text.replace("…", encoded(png)), None) == {"result": 1}
