"""A digit classifier behind an API gateway: `image_base64` or `image_url`, with the other one empty."""

import base64
import json
import os
import subprocess
import sys

import cv2
import numpy as np
import requests

from tests.support.stack import ROOT


def classify(stack, document):
    """Send a JSON document, and return the number of the class."""
    response = requests.post(f"{stack.url}/api/v1/models/digits/predict", json=document, timeout=20)
    assert response.status_code == 200, response.text
    return response.json()["class_id"]


def bitmap(png):
    """Convert a PNG to BMP, the format of the older system's examples."""
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(".bmp", image)[1].tobytes()


def test_base64_with_an_empty_url_is_classified(stack, golden):
    for png, label, _ in golden:
        document = {"image_base64": base64.b64encode(bitmap(png)).decode(), "image_url": ""}
        assert classify(stack, document) == int(label)


def test_a_url_with_empty_base64_is_classified(stack, golden, image_host):
    folder, host = image_host
    for number, (png, label, _) in enumerate(golden):
        (folder / f"digit-{number}.bmp").write_bytes(bitmap(png))
        document = {"image_base64": "", "image_url": f"http://{host}/digit-{number}.bmp"}
        assert classify(stack, document) == int(label)


def test_a_request_without_an_image_is_refused_with_a_reason(stack):
    document = {"image_base64": "", "image_url": ""}
    response = requests.post(f"{stack.url}/api/v1/models/digits/predict", json=document, timeout=20)

    assert response.status_code == 400
    assert "no image" in response.json()["detail"]


FUNCTION = """
import json, sys
from gateway.function import apigw_interface
for line in sys.stdin:
    print(json.dumps(apigw_interface(json.loads(line), None)), flush=True)
"""


def test_the_function_answers_api_gateway_events(stack, golden):
    """The event has the platform's form: its body is text, and its path is that of the API gateway."""
    bodies = [{"image_base64": base64.b64encode(bitmap(png)).decode(), "image_url": ""} for png, _, _ in golden]
    bodies += [{"image_base64": "", "image_url": ""}]
    context = {"serviceName": "testsvc", "path": "/ai", "httpMethod": "POST", "stage": "prod"}
    frame = {"requestContext": context, "headers": {"Accept": "application/json"}, "path": "/ai", "httpMethod": "POST"}
    events = [{**frame, "body": json.dumps(body)} for body in bodies]
    events += [bodies[0]]
    completed = subprocess.run(
        [sys.executable, "-c", FUNCTION],
        cwd=ROOT,
        env={**os.environ, "GATEWAY_TFS_TARGET": f"127.0.0.1:{stack.ports.grpc}", "GATEWAY_MODELS": "digits"},
        input="".join(json.dumps(event) + "\n" for event in events),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    *digits, without_image, not_from_gateway = map(json.loads, completed.stdout.splitlines())

    assert digits == [{"result": int(label)} for _, label, _ in golden]
    assert "no image" in without_image["errMsg"]
    assert not_from_gateway == {"errMsg": "request not from api gw"}
