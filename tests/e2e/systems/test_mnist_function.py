"""A digit reader behind an API gateway: `image_base64` or `image_url`, the other of the two empty."""

import base64

import cv2
import numpy as np
import requests


def digit(stack, document):
    response = requests.post(f"{stack.url}/api/v1/models/digits/predict", json=document, timeout=20)
    assert response.status_code == 200, response.text
    return response.json()["class_id"]


def bitmap(png):
    """The format that its examples were in."""
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(".bmp", image)[1].tobytes()


def test_base64_with_an_empty_url(stack, golden):
    for png, label, _ in golden:
        document = {"image_base64": base64.b64encode(bitmap(png)).decode(), "image_url": ""}
        assert digit(stack, document) == int(label)


def test_a_url_with_empty_base64(stack, golden, picture_host):
    folder, host = picture_host
    for number, (png, label, _) in enumerate(golden):
        (folder / f"digit-{number}.bmp").write_bytes(bitmap(png))
        document = {"image_base64": "", "image_url": f"http://{host}/digit-{number}.bmp"}
        assert digit(stack, document) == int(label)


def test_neither_of_the_two_is_refused_with_a_reason(stack):
    document = {"image_base64": "", "image_url": ""}
    response = requests.post(f"{stack.url}/api/v1/models/digits/predict", json=document, timeout=20)
    assert response.status_code == 400
    assert "no image" in response.json()["detail"]
