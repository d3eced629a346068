"""Versions and labels in the path, options and explanations, with models that have all of these."""

import base64

import cv2
import numpy as np
import pytest
import requests

pytestmark = pytest.mark.timeout(600)  # the first test may write models, with TensorFlow, and start a stack


def paint(red, green, blue, height=30, width=40):
    """Return an image of one colour as a PNG."""
    return cv2.imencode(".png", np.full((height, width, 3), (blue, green, red), np.uint8))[1].tobytes()


RED = paint(200, 20, 10)


def post(stack, path, data=RED, **arguments):
    """Send one image, and return the status and the document of the response."""
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
def test_the_path_selects_the_version(colour_stack, path, version):
    status, response = post(colour_stack, path)

    assert status == 200, response
    assert response["class"] == "red"
    assert response["model"] == {"name": "colours", "version": version}


@pytest.mark.parametrize("path", ["versions/7", "versions/99999999999999999999", "labels/beta", "labels/x%20y"])
def test_the_problem_of_an_unknown_version_lists_versions_and_labels(colour_stack, path):
    status, problem = post(colour_stack, f"models/colours/{path}/predict")

    assert (status, problem["type"]) == (404, "/problems/version-not-found")
    assert problem["versions"] == [2, 1]
    assert sorted(problem["labels"]) == ["canary", "stable"]


def test_the_list_of_models_shows_which_ones_can_explain(colour_stack):
    models = requests.get(f"{colour_stack.url}/api/v1/models", timeout=10).json()["models"]

    assert {model["name"]: model["explainable"] for model in models} == {"colours": True, "lights": False}


def test_the_details_of_a_model_list_its_versions_and_labels(colour_stack):
    model = requests.get(f"{colour_stack.url}/api/v1/models/colours", timeout=10).json()

    assert model["versions"] == [
        {"version": 2, "state": "AVAILABLE", "labels": ["canary"]},
        {"version": 1, "state": "AVAILABLE", "labels": ["stable"]},
    ]
    assert (model["version"], model["default"], model["card"]["labels"]) == (2, True, ["red", "green", "blue"])


# Options


def test_a_threshold_leaves_out_less_likely_classes(colour_stack):
    _, response = post(colour_stack, "predict", params={"threshold": "0.5"})
    _, strict = post(colour_stack, "predict", params={"threshold": "0.95"})

    assert [item["class"] for item in response["predictions"]] == ["red"]
    assert (strict["predictions"], strict["class"]) == ([], "red")


def test_the_problem_of_a_misspelt_option_suggests_the_right_one(colour_stack):
    status, problem = post(colour_stack, "predict", params={"topk": "1"})

    assert (status, problem["type"]) == (400, "/problems/bad-request")
    assert "Did you mean 'top_k'?" in problem["detail"]


# Explanations


def half_red():
    """Return an image that is red on the left and black on the right, as a PNG."""
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[:, :40, 2] = 255
    return cv2.imencode(".png", pixels)[1].tobytes()


def test_an_explanation_is_an_overlay_on_the_image(colour_stack):
    explanation = post(colour_stack, "predict", half_red(), params={"explain": "true"})[1]["explanation"]

    assert (explanation["class"], explanation["class_id"]) == ("red", 0)
    prefix, _, text = explanation["heatmap"].partition(",")
    assert prefix == "data:image/png;base64"
    overlay = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert overlay.shape == (192, 256, 3)
    assert overlay[:, 160:].max() == 0  # no heat on the black half
    assert overlay[96, 40, 1] > 100  # the colour of heat adds green to red


def test_a_raw_explanation_is_an_array_of_numbers(colour_stack):
    explanation = post(colour_stack, "predict", half_red(), params={"explain": "raw"})[1]["explanation"]

    heatmap = np.array(explanation["heatmap"])
    assert heatmap.shape == (explanation["height"], explanation["width"]) == (8, 8)
    np.testing.assert_allclose(heatmap, np.tile([1, 1, 1, 1, 0, 0, 0, 0], (8, 1)))


def test_every_image_of_a_batch_is_explained(colour_stack):
    files = [("image", RED), ("image", b"no image"), ("image", paint(0, 0, 255))]
    url = f"{colour_stack.url}/api/v1/predict"

    first, second, third = requests.post(url, files=files, data={"explain": "raw"}, timeout=30).json()["results"]

    assert (first["explanation"]["class"], third["explanation"]["class"]) == ("red", "blue")
    assert second["status"] == 415


def test_a_model_without_explanations_is_a_problem(colour_stack):
    status, problem = post(colour_stack, "models/lights/predict", params={"explain": "true"})

    assert (status, problem["type"]) == (422, "/problems/model-not-explainable")


def test_the_committed_model_explains_its_digits(stack, drawn_seven):
    url = f"{stack.url}/api/v1/models/digits/predict"

    response = requests.post(url, files={"image": drawn_seven}, data={"explain": "raw"}, timeout=30).json()

    heatmap = np.array(response["explanation"]["heatmap"])
    assert response["explanation"]["class"] == response["class"] == "7"
    assert 0 <= heatmap.min() < heatmap.max() <= 1
