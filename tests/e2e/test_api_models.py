"""Versions and labels in the path, options and explanations, on models that have all of these."""

import base64

import cv2
import numpy as np
import pytest
import requests

pytestmark = pytest.mark.timeout(600)  # the first test may write models, with TensorFlow, and start a stack


def paint(red, green, blue, height=30, width=40):
    return cv2.imencode(".png", np.full((height, width, 3), (blue, green, red), np.uint8))[1].tobytes()


RED = paint(200, 20, 10)


def ask(stack, path, data=RED, **arguments):
    response = requests.post(
        f"{stack.url}/api/v1/{path}", data=data, headers={"Content-Type": "image/png"}, timeout=30, **arguments
    )
    return response.status_code, response.json()


# Versions and labels


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("predict", 2),
        ("models/colours/predict", 2),
        ("models/colours/versions/1/predict", 1),
        ("models/colours/versions/2/predict", 2),
        ("models/colours/labels/stable/predict", 1),
        ("models/colours/labels/canary/predict", 2),
    ],
)
def test_the_version_that_is_asked_for_answers(colour_stack, path, version):
    status, answer = ask(colour_stack, path)
    assert status == 200, answer
    assert answer["class"] == "red"
    assert answer["model"] == {"name": "colours", "version": version}


@pytest.mark.parametrize("path", ["versions/7", "versions/99999999999999999999", "labels/beta", "labels/x%20y"])
def test_a_version_that_is_not_there_is_told_with_those_that_are(colour_stack, path):
    status, problem = ask(colour_stack, f"models/colours/{path}/predict")
    assert (status, problem["type"]) == (404, "/problems/version-not-found")
    assert problem["versions"] == [2, 1]
    assert sorted(problem["labels"]) == ["canary", "stable"]


def test_the_list_tells_which_models_can_explain(colour_stack):
    models = requests.get(f"{colour_stack.url}/api/v1/models", timeout=10).json()["models"]
    assert {model["name"]: model["explainable"] for model in models} == {"colours": True, "lights": False}


def test_the_versions_and_labels_are_listed(colour_stack):
    model = requests.get(f"{colour_stack.url}/api/v1/models/colours", timeout=10).json()
    assert model["versions"] == [
        {"version": 2, "state": "AVAILABLE", "labels": ["canary"]},
        {"version": 1, "state": "AVAILABLE", "labels": ["stable"]},
    ]
    assert (model["version"], model["default"], model["card"]["labels"]) == (2, True, ["red", "green", "blue"])


# Options


def test_a_threshold_leaves_out_what_is_unlikely(colour_stack):
    answer = ask(colour_stack, "predict", params={"threshold": "0.5"})[1]
    assert [item["class"] for item in answer["predictions"]] == ["red"]
    answer = ask(colour_stack, "predict", params={"threshold": "0.95"})[1]
    assert (answer["predictions"], answer["class"]) == ([], "red")


def test_a_misspelt_option_is_refused(colour_stack):
    status, problem = ask(colour_stack, "predict", params={"topk": "1"})
    assert (status, problem["type"]) == (400, "/problems/bad-request")
    assert "Did you mean 'top_k'?" in problem["detail"]


# Explanations


def half_red():
    """Make a picture that is red on the left and black on the right."""
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[:, :40, 2] = 255
    return cv2.imencode(".png", pixels)[1].tobytes()


def test_an_explanation_is_a_picture_of_where_the_model_looked(colour_stack):
    explanation = ask(colour_stack, "predict", half_red(), params={"explain": "true"})[1]["explanation"]
    assert (explanation["class"], explanation["class_id"]) == ("red", 0)
    prefix, _, text = explanation["heatmap"].partition(",")
    assert prefix == "data:image/png;base64"
    drawn = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert drawn.shape == (192, 256, 3)
    assert drawn[:, 160:].max() == 0  # it did not look there
    assert drawn[96, 40, 1] > 100  # red gets green in it where it is hot


def test_an_explanation_in_numbers(colour_stack):
    explanation = ask(colour_stack, "predict", half_red(), params={"explain": "raw"})[1]["explanation"]
    heat = np.array(explanation["heatmap"])
    assert heat.shape == (explanation["height"], explanation["width"]) == (8, 8)
    np.testing.assert_allclose(heat, np.tile([1, 1, 1, 1, 0, 0, 0, 0], (8, 1)))


def test_a_batch_is_explained(colour_stack):
    files = [("image", RED), ("image", b"no picture"), ("image", paint(0, 0, 255))]
    url = f"{colour_stack.url}/api/v1/predict"
    first, second, third = requests.post(url, files=files, data={"explain": "raw"}, timeout=30).json()["results"]
    assert (first["explanation"]["class"], third["explanation"]["class"]) == ("red", "blue")
    assert second["status"] == 415


def test_a_model_that_cannot_explain_says_so(colour_stack):
    status, problem = ask(colour_stack, "models/lights/predict", params={"explain": "true"})
    assert (status, problem["type"]) == (422, "/problems/model-not-explainable")


def test_the_committed_model_explains_its_digits(stack, drawn_seven):
    url = f"{stack.url}/api/v1/models/digits/predict"
    answer = requests.post(url, files={"image": drawn_seven}, data={"explain": "raw"}, timeout=30).json()
    heat = np.array(answer["explanation"]["heatmap"])
    assert answer["explanation"]["class"] == answer["class"] == "7"
    assert 0 <= heat.min() < heat.max() <= 1
