"""The client of Triton classifies through nginx, gunicorn, gRPC and the model server."""

import base64
import json
from collections.abc import Iterator

import numpy as np
import pytest

from tests.support.scores import SCORE_TOLERANCE
from tests.support.stack import RunningStack
from tools.committed_models import golden_images, newest_version
from vision.card import Card
from vision.preprocess import load

MODEL, OUTPUT = "imagenet", "probabilities"
GOLDEN = golden_images(MODEL)
triton = pytest.importorskip("tritonclient.http", reason="it has no wheels for this version of Python")
utils = pytest.importorskip("tritonclient.utils")


@pytest.fixture(scope="module")
def client(stack: RunningStack) -> Iterator[object]:
    with triton.InferenceServerClient(stack.url.removeprefix("http://")) as client:
        yield client


@pytest.fixture(scope="module")
def photo() -> tuple[bytes, str, list[float]]:
    """A photo, its class and its probabilities in int8."""
    entry = json.loads((GOLDEN / "golden.json").read_text(encoding="utf-8"))["images"][0]
    return (GOLDEN / entry["file"]).read_bytes(), entry["class"], entry["tflite_probabilities"]


def files(*contents: bytes, binary: bool = True):
    tensor = triton.InferInput("image", [len(contents)], "BYTES")
    elements = contents if binary else [base64.b64encode(content) for content in contents]
    tensor.set_data_from_numpy(np.array(elements, object), binary_data=binary)
    return tensor


def pixels(content: bytes, *, binary: bool):
    """Prepare an image as the metadata of the model and its card say."""
    card = Card.from_json((newest_version(MODEL) / "assets.extra" / "card.json").read_bytes())
    batch = load(content, card.input, max_pixels=10**8)[np.newaxis]
    tensor = triton.InferInput("image", [*batch.shape], "UINT8")
    tensor.set_data_from_numpy(batch, binary_data=binary)
    return tensor


def test_tritons_client_sees_the_state_of_the_server_and_of_its_models(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert not client.is_model_ready("nothing")
    assert client.get_server_metadata()["name"] == "image-gateway"
    metadata = client.get_model_metadata(MODEL)
    assert metadata["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 224, 224, 3]}]
    assert metadata["outputs"] == [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, 1000]}]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("is_file", [True, False])
def test_tritons_client_classifies_a_photo(
    client, photo: tuple[bytes, str, list[float]], *, is_file: bool, binary: bool
):
    content, _, probabilities = photo
    tensor = files(content, binary=binary) if is_file else pixels(content, binary=binary)

    for outputs in (None, [triton.InferRequestedOutput(OUTPUT, binary_data=binary)]):
        result = client.infer(MODEL, [tensor], outputs=outputs, request_id="mine")

        assert result.get_response()["id"] == "mine"
        assert result.as_numpy(OUTPUT)[0].tolist() == pytest.approx(probabilities, abs=SCORE_TOLERANCE)


def test_tritons_client_gets_labels(client, photo: tuple[bytes, str, list[float]]):
    content, label, probabilities = photo
    output = triton.InferRequestedOutput(OUTPUT, class_count=2)

    rows = client.infer(MODEL, [files(content, content)], outputs=[output]).as_numpy(OUTPUT)

    assert rows.shape == (2, 2)
    score, index, name = rows[0][0].decode().split(":", 2)
    assert (int(index), name) == (int(np.argmax(probabilities)), label)
    assert float(score) == pytest.approx(max(probabilities), abs=SCORE_TOLERANCE)


def test_tritons_client_shows_the_reason_of_an_error(client):
    wrong = triton.InferInput("image", [1, 2], "UINT8")
    wrong.set_data_from_numpy(np.zeros((1, 2), np.uint8))
    too_large = files(bytes(11 * 1024 * 1024))
    reasons = {"takes uint8[N, 224, 224, 3]": wrong, "at most 10 MB is accepted": too_large}  # the latter by nginx

    for reason, tensor in reasons.items():
        with pytest.raises(utils.InferenceServerException) as caught:
            client.infer(MODEL, [tensor])

        assert reason in caught.value.message()
