"""What clients send to TensorFlow Serving's REST is answered alike by the gateway, and image files as well."""

import base64

import numpy as np
import pytest
import requests

from tests.support.scores import SCORE_TOLERANCE
from tests.support.stack import RunningStack


def test_a_client_of_tensorflow_serving_classifies_digits(stack: RunningStack, golden):
    contents = [content for content, _, _ in golden]
    instances = [{"b64": base64.b64encode(content).decode()} for content in contents]

    response = requests.post(f"{stack.url}/v1/models/digits:predict", json={"instances": instances}, timeout=15)

    expected = [pytest.approx(probabilities, abs=SCORE_TOLERANCE) for _, _, probabilities in golden]
    assert response.json() == {"predictions": expected}


def test_the_status_of_a_model_is_that_of_the_model_server(stack: RunningStack):
    ours, theirs = (
        requests.get(f"http://127.0.0.1:{port}/v1/models/digits", timeout=15).json()
        for port in (stack.ports.front, stack.ports.rest)
    )

    assert ours == theirs


def test_pixels_get_the_scores_that_the_model_server_gives_itself(stack: RunningStack):
    instances = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1)).tolist()

    ours, theirs = (
        requests.post(f"http://127.0.0.1:{port}/v1/models/digits:predict", json={"instances": instances}, timeout=15)
        for port in (stack.ports.front, stack.ports.rest)
    )

    assert ours.json() == {"predictions": [pytest.approx(row, abs=1e-6) for row in theirs.json()["predictions"]]}
