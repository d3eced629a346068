"""A multi-label model behind FastAPI: a part `file`; a score for each class. And its page to try requests on."""

import json
import subprocess

import cv2
import numpy as np
import pytest
import requests

pytestmark = pytest.mark.timeout(600)  # the first test writes the models, with TensorFlow, and starts the stack


def picture(path, red, green, blue):
    cv2.imwrite(str(path), np.full((40, 60, 3), (blue, green, red), np.uint8))
    return path


def ask(stack, path):
    command = ["curl", "-sS", "-X", "POST", f"{stack.url}/api/v1/models/lights/predict"]
    command += ["-H", "accept: application/json", "-H", "Content-Type: multipart/form-data"]
    command += ["-F", f"file=@{path};type=image/jpeg"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=30).stdout)


def test_a_file_gives_a_score_for_each_class(multilabel_stack, tmp_path):
    answer = ask(multilabel_stack, picture(tmp_path / "sunset.jpg", 240, 150, 10))
    scores = {item["class"]: item["score"] for item in answer["predictions"]}
    assert scores == pytest.approx({"red": 240 / 255, "green": 150 / 255, "blue": 10 / 255}, abs=0.02)


def test_the_classes_that_apply_are_told_too(multilabel_stack, tmp_path):
    answer = ask(multilabel_stack, picture(tmp_path / "sunset.jpg", 240, 150, 10))
    assert [item["class"] for item in answer["classes"]] == ["red", "green"]
    assert ask(multilabel_stack, picture(tmp_path / "night.jpg", 5, 5, 5))["classes"] == []


def test_there_is_a_page_to_try_requests_on(multilabel_stack):
    page = requests.get(f"{multilabel_stack.url}/docs", timeout=20)
    assert page.status_code == 200
    assert "text/html" in page.headers["Content-Type"]
