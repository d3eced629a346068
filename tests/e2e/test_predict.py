"""Every form of a request for one image gets the same prediction, through nginx, gunicorn, gRPC and TensorFlow."""

import base64
import json
import subprocess

import cv2
import numpy as np
import pytest
import requests

from tests.support.scores import SCORE_TOLERANCE
from tests.support.stack import ROOT
from tests.support.waiting import until
from tools.committed_models import golden_images, newest_version

VERSION = int(newest_version("digits").name)


def post(stack, model_path="models/digits/predict", **arguments):
    return requests.post(f"{stack.url}/api/v1/{model_path}", timeout=15, **arguments)


def forms(data, image_host, name):
    """Return the arguments for `requests.post` by the name of each form of a request for one image."""
    folder, host = image_host
    (folder / name).write_bytes(data)
    url = f"http://{host}/{name}"
    text = base64.b64encode(data).decode()
    return {
        "part image": {"files": {"image": (name, data)}},
        "part file": {"files": {"file": (name, data)}},
        "url": {"json": {"url": url}},
        "image_url": {"json": {"image_url": url}},
        "older system": {"json": {"image_base64": "", "image_url": url}},
        "base64": {"json": {"image": text}},
        "image_base64": {"json": {"image_base64": text}},
        "data URI": {"json": {"image": f"data:image/png;base64,{text}"}},
        "form url": {"data": {"url": url}},
        "raw": {"data": data, "headers": {"Content-Type": "image/png"}},
        "octets": {"data": data, "headers": {"Content-Type": "application/octet-stream"}},
    }


def test_every_form_gets_the_same_prediction_for_every_digit(stack, golden, image_host):
    for number, (data, label, probabilities) in enumerate(golden):
        for form, arguments in forms(data, image_host, f"{number}.png").items():
            response = post(stack, params={"top_k": 10}, **arguments)
            assert response.status_code == 200, (form, response.text)
            prediction = response.json()
            assert prediction["class"] == label, form
            scores = {item["class_id"]: item["score"] for item in prediction["predictions"]}
            assert [scores[index] for index in range(10)] == pytest.approx(probabilities, abs=SCORE_TOLERANCE), form


def test_a_digit_drawn_dark_on_white_is_classified(stack, drawn_seven, image_host):
    for form, arguments in forms(drawn_seven, image_host, "seven.jpg").items():
        assert post(stack, **arguments).json()["class"] == "7", form


def test_a_bitmap_at_a_url_is_classified(stack, golden, image_host):
    folder, host = image_host
    image = cv2.imdecode(np.frombuffer(golden[3][0], np.uint8), cv2.IMREAD_COLOR)
    cv2.imwrite(str(folder / "three.bmp"), image)

    response = post(stack, json={"image_base64": "", "image_url": f"http://{host}/three.bmp"})

    assert response.json()["class"] == "3"


def test_a_response_has_its_members_in_order(stack, golden):
    data, label, _ = golden[5]

    response = post(stack, files={"image": data}, data={"top_k": "3"}, headers={"X-Request-ID": "my-id.1"})

    document = response.json()
    members = ["kind", "class", "label", "class_id", "score", "predictions", "confident", "model", "request_id"]
    assert list(document) == members
    assert document["class"] == label
    assert len(document["predictions"]) == 3
    assert document["predictions"][0] == {"class": label, "label": label, "class_id": 5, "score": document["score"]}
    scores = [item["score"] for item in document["predictions"]]
    assert scores == sorted(scores, reverse=True)
    assert document["model"] == {"name": "digits", "version": VERSION}
    assert document["request_id"] == response.headers["X-Request-ID"] == "my-id.1"


def test_the_default_model_is_the_first_configured_one(stack):
    first, *others = requests.get(f"{stack.url}/api/v1/models", timeout=5).json()["models"]
    assert first["default"]
    assert not any(model["default"] for model in others)
    (golden,) = sorted((ROOT / "serving_models" / first["name"]).glob("*/assets.extra/golden/00.*"))
    assert post(stack, "predict", files={"image": golden.read_bytes()}).json()["model"]["name"] == first["name"]


def test_the_models_are_listed(stack):
    models = requests.get(f"{stack.url}/api/v1/models", timeout=5).json()["models"]
    (model,) = (model for model in models if model["name"] == "digits")
    assert model["available"]
    assert model["version"] == VERSION
    assert model["labels"] == [str(digit) for digit in range(10)]


def test_the_details_of_a_model_have_metrics_and_provenance(stack):
    model = requests.get(f"{stack.url}/api/v1/models/digits", timeout=5).json()

    assert model["versions"] == [{"version": VERSION, "state": "AVAILABLE"}]
    assert model["card"]["metrics"]["accuracy"] >= 0.99
    assert "MNIST" in json.dumps(model["card"]["provenance"])


def test_the_request_id_reaches_every_log(stack, golden):
    post(stack, files={"image": golden[0][0]}, headers={"X-Request-ID": "trace-me"})

    # A server writes the line after it has responded.
    for name in ("gateway", "nginx"):
        until(lambda name=name: "trace-me" in stack.log(name), within_s=10, what=f"line in the log of {name}")
    lines = [json.loads(line) for line in stack.log("gateway").splitlines() if "trace-me" in line]
    assert [(line["event"], line["status"], line["class"]) for line in lines] == [("request", 200, "0")]


def test_the_log_is_one_stream_of_json(stack):
    lines = stack.log("gateway").splitlines()

    assert lines
    for line in lines:
        assert {"event", "level", "timestamp", "logger"} <= json.loads(line).keys(), line


def test_curl_can_send_an_image(stack):
    curl = f"curl -sS -F image=@{golden_images('digits') / '07.png'}"
    curl += f" {stack.url}/api/v1/models/digits/predict"

    process = subprocess.run(curl.split(), capture_output=True, text=True, check=True, timeout=20, cwd=ROOT)

    assert json.loads(process.stdout)["class"] == "7"


def test_the_rest_port_of_the_model_server_accepts_pixels(stack, golden):
    pixels = cv2.imdecode(np.frombuffer(golden[4][0], np.uint8), cv2.IMREAD_GRAYSCALE)
    response = requests.post(
        f"http://127.0.0.1:{stack.ports.rest}/v1/models/digits:predict",
        json={"instances": [pixels[..., None].tolist()]},
        timeout=15,
    )

    assert int(np.argmax(response.json()["predictions"][0])) == 4
