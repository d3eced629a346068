"""Models as other programs export them, in the project's own model server: the right class, or why not."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from flask.testing import FlaskClient

from gateway.app import create_app
from gateway.fetching.fetcher import DisabledFetcher
from gateway.model_client.tfserving import TensorFlowServing
from gateway.models.configured import ConfiguredModels
from gateway.settings import Settings
from tests.support.waiting import until
from tools import ports

pytestmark = pytest.mark.timeout(600)  # the first test waits until TensorFlow has written the models
ROOT = Path(__file__).parents[4]
USABLE = (
    "without_channels",
    "flat",
    "half_precision",
    "double_precision",
    "integers",
    "long_integers",
    "files",
    "one_at_a_time",
    "sigmoid",
    "sigmoid_logit",
    "nested_scores",
    "several_outputs",
    "open_scores",
    "scores_of_any_rank",
    "one_row_of_scores",
    "tflite_floats",
    "tflite_floats_with_a_card",
    "tflite_bytes",
    "tflite_signed_bytes_with_a_card",
)
UNUSABLE = {
    "logit_of_zero_for_gray": '"activation": "sigmoid"} in logit_of_zero_for_gray/card.json',
    "logits": "expected probabilities from 0 to 1. If they are logits, write logits/card.json such as",
    "numbers": "whole numbers, such as class numbers, not scores. No card helps",
    "examples": "does not take an encoded image (PNG), but perhaps tf.Example messages. No card helps",
    "tflite_signed_bytes": "leaves open which numbers stand for black and white. Write tflite_signed_bytes/card.json",
    "tflite_whole_scores": "whole numbers, such as class numbers, not scores. No card helps",
    "no_batch": "has no batch dimension. No card helps",
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    """The API over a model server that serves the models of `tests.support.foreign_models`."""
    directory = tmp_path_factory.mktemp("foreign")
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, "-m", "tests.support.foreign_models", str(directory)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    (port,) = ports.find(1)
    config = directory / "models.config"
    server_command = (sys.executable, "-m", "model_server", "--prefer_tflite_model")
    command = [*server_command, f"--port={port}", f"--model_config_file={config}"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with contextlib.closing(TensorFlowServing(f"127.0.0.1:{port}", call_deadline_s=5, max_retried_rows=40)) as server:
        app = create_app(
            Settings(models_config=config, cards_dir=directory),
            server=server,
            fetcher=DisabledFetcher(),
            configured_models=ConfiguredModels.from_file(config),
        )
        client = app.test_client()
        try:
            until(lambda: available(client) == set(USABLE), within_s=60)
            yield client
        finally:
            process.kill()
            process.wait()


def available(client: FlaskClient) -> set[str]:
    return {item["name"] for item in client.get("/api/v1/models").get_json()["models"] if item["available"]}


def post(client: FlaskClient, model: str, *shades: int) -> tuple[int, dict[str, Any]]:
    images = [cv2.imencode(".png", np.full((5, 9), shade, np.uint8))[1].tobytes() for shade in shades]
    if len(images) == 1:
        response = client.post(f"/api/v1/models/{model}/predict", data=images[0], content_type="image/png")
    else:
        files = [(io.BytesIO(image), "a.png") for image in images]
        response = client.post(f"/api/v1/models/{model}/predict", data={"image": files})
    return response.status_code, response.get_json(force=True)


@pytest.mark.parametrize("model", USABLE)
def test_every_model_tells_dark_from_light(client: FlaskClient, model: str):
    labels = client.get(f"/api/v1/models/{model}").get_json()["labels"]

    for shade, class_id in ((20, 0), (235, 1)):
        status, document = post(client, model, shade)
        assert status == 200, document
        assert (document["class"], document["class_id"]) == (labels[class_id], class_id)
        assert 0.9 < document["score"] < 1

    _, batch = post(client, model, 235, 20, 235)
    assert [item["class_id"] for item in batch["results"]] == [1, 0, 1]


@pytest.mark.parametrize("model", UNUSABLE)
def test_an_unusable_model_is_listed_with_the_reason(client: FlaskClient, model: str):
    details = client.get(f"/api/v1/models/{model}").get_json()
    status, problem = post(client, model, 20)

    assert details["available"] is False
    assert UNUSABLE[model] in details["reason"]
    assert (status, problem["type"]) == (500, "/problems/model-unusable")
    assert problem["detail"] == details["reason"]
