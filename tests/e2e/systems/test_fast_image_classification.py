"""A multi-label model behind FastAPI: a multipart field `file`, a score for each class, and an interactive page."""

import json
import subprocess

import cv2
import numpy as np
import pytest
import requests

pytestmark = pytest.mark.timeout(600)  # the first test exports the models with TensorFlow and starts the stack


def write_image(path, red, green, blue):
    cv2.imwrite(str(path), np.full((40, 60, 3), (blue, green, red), np.uint8))
    return path


def classify(stack, path):
    command = ["curl", "-sS", "-X", "POST", f"{stack.url}/api/v1/models/lights/predict"]
    command += ["-H", "accept: application/json", "-H", "Content-Type: multipart/form-data"]
    command += ["-F", f"file=@{path};type=image/jpeg"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=30).stdout)


def test_a_file_gets_a_score_for_each_class(multilabel_stack, tmp_path):
    response = classify(multilabel_stack, write_image(tmp_path / "sunset.jpg", 240, 150, 10))
    scores = {item["class"]: item["score"] for item in response["predictions"]}

    assert scores == pytest.approx({"red": 240 / 255, "green": 150 / 255, "blue": 10 / 255}, abs=0.02)


def test_the_classes_above_the_threshold_are_listed(multilabel_stack, tmp_path):
    response = classify(multilabel_stack, write_image(tmp_path / "sunset.jpg", 240, 150, 10))

    assert [item["class"] for item in response["classes"]] == ["red", "green"]
    assert classify(multilabel_stack, write_image(tmp_path / "night.jpg", 5, 5, 5))["classes"] == []


def test_the_interactive_page_is_served(multilabel_stack):
    page = requests.get(f"{multilabel_stack.url}/docs", timeout=20)

    assert page.status_code == 200
    assert "text/html" in page.headers["Content-Type"]
