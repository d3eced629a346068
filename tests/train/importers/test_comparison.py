"""An import is compared with what the framework of the model itself returned."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from typer.testing import CliRunner

from train.cli.main import app
from train.importers.comparison import ComparisonError, compare_framework, compare_record
from train.importers.foreign import ForeignClassifier, classify, from_keras
from train.importers.torch_networks import network_from_torch
from train.weights.checkpoints import read_checkpoint
from vision.card import Card

RECORDED = Path(__file__).parents[1] / "recorded"
LABELS = [*"abcdefg"]
CARD: dict[str, Any] = {"name": "letters", "labels": LABELS, "input": {"height": 45, "width": 64, "dtype": "float32"}}
NPY = b"\x93NUMPY\x01\x00\x46\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }".ljust(79) + b"\n\0\0\0\0"
"""What numpy.save writes, instead of numpy.savez."""


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    """What PyTorch returned with the committed checkpoint: inputs of `record_torch.py` and scores."""
    inputs = np.random.default_rng(0).normal(size=(2, 3, 45, 64)).astype(np.float32)
    return {"inputs": inputs, "outputs": np.load(RECORDED / "torch_answers.npz")["torchvision_resnet18"]}


@pytest.fixture(scope="module")
def classifier() -> ForeignClassifier:
    card = Card.from_json(json.dumps(CARD))
    model = network_from_torch(read_checkpoint(RECORDED / "torchvision_resnet18.pth"))
    return classify(from_keras(model, card), card)


def write(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "record.npz", **arrays)
    return folder / "record.npz"


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_scores_of_pytorch_agree_with_the_import(
    classifier: ForeignClassifier, recorded: dict[str, np.ndarray], tmp_path: Path
):
    comparison = compare_record(classifier, write(tmp_path, **recorded, framework="PyTorch 2.13"))

    assert comparison.largest_difference < 1e-6
    assert comparison.outputs == "scores, of which softmax"
    assert comparison.provenance().keys() == {"framework", "images", "largest_difference"}
    assert comparison.provenance()["framework"] == "PyTorch 2.13"


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_recorded_probabilities_and_layouts_are_recognised(
    classifier: ForeignClassifier, recorded: dict[str, np.ndarray], tmp_path: Path, layout: str
):
    inputs = recorded["inputs"] if layout == "NCHW" else recorded["inputs"].transpose(0, 2, 3, 1)

    comparison = compare_record(classifier, write(tmp_path, inputs=inputs, outputs=softmax(recorded["outputs"])))

    assert comparison.outputs == "probabilities"
    assert comparison.largest_difference < 1e-6


def test_a_softmax_too_many_is_found(classifier: ForeignClassifier, recorded: dict[str, np.ndarray], tmp_path: Path):
    flattened = softmax(softmax(recorded["outputs"]))

    with pytest.raises(ComparisonError, match=r"by up to 0\.\d+ of a probability; at most 0\.0001 is accepted"):
        compare_record(classifier, write(tmp_path, inputs=recorded["inputs"], outputs=flattened))


def test_a_model_is_compared_with_the_one_of_its_file():
    card = Card.from_json(json.dumps(CARD))
    network, original = (
        keras.Sequential(
            [
                keras.Input((45, 64, 3)),
                layers.GlobalAveragePooling2D(),
                layers.Dense(7, "softmax", kernel_initializer=kind),
            ]
        )
        for kind in ("zeros", keras.initializers.RandomNormal(seed=0))
    )

    changed = classify(from_keras(network, card, "Keras", original), card)

    with pytest.raises(ComparisonError, match="differs from Keras by up to"):
        compare_framework(changed, np.full((1, 45, 64, 3), 200, np.uint8))


def test_recorded_images_check_the_normalisation_too(classifier: ForeignClassifier, tmp_path: Path):
    images = np.random.default_rng(0).integers(0, 256, (2, 45, 64, 3), np.uint8)
    right = classifier.model.run(images.astype(np.float32))
    wrong = classifier.model.run(images[..., ::-1].astype(np.float32))

    assert compare_record(classifier, write(tmp_path, images=images, outputs=right)).largest_difference < 1e-5
    with pytest.raises(ComparisonError, match=r"Compare input\.color, mean and std"):
        compare_record(classifier, write(tmp_path, images=images, outputs=wrong))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"outputs": np.ones((1, 7))}, "expected the arrays outputs and images or inputs, received outputs"),
        ({"images": np.ones((1, 45, 64, 3)), "outputs": np.ones((1, 7))}, "expected images of uint8, received float64"),
        ({"images": np.ones((1, 4, 4, 3), np.uint8), "outputs": np.ones((1, 7))}, r"expected images of \[45, 64, 3\]"),
        (
            {"images": np.ones((2, 45, 64, 3), np.uint8), "outputs": np.ones((1, 7))},
            r"expected images for each of 1 outputs, received \[2, 45, 64, 3\]",
        ),
        ({"images": np.ones((0, 45, 64, 3), np.uint8), "outputs": np.ones((0, 7))}, r"received float64 \[0, 7\]"),
        ({"images": np.ones((1, 45, 64, 3), np.uint8), "outputs": np.full((1, 7), np.nan)}, "all finite"),
        ({"images": np.ones((1, 45, 64, 3), np.uint8), "outputs": np.array(["rose"])}, "all finite, received <U4"),
        (
            {"inputs": np.ones((1, 3, 32, 32), np.float32), "outputs": np.ones((1, 7))},
            r"expected inputs of \[45, 64, 3\] an image, received \[3, 32, 32\]",
        ),
        ({"inputs": np.ones((1, 10), np.float32), "outputs": np.ones((1, 7))}, r"an image, received \[10\]"),
        ({"inputs": np.ones((1, 3, 45, 64), np.float32), "outputs": np.ones((1, 9))}, "for 7 labels, received 9 an im"),
    ],
)
def test_a_record_of_another_model_is_refused(
    classifier: ForeignClassifier, tmp_path: Path, arrays: dict[str, np.ndarray], message: str
):
    with pytest.raises(ComparisonError, match=message):
        compare_record(classifier, write(tmp_path, **arrays))


@pytest.mark.parametrize("content", [b"no zip archive", b"", NPY])
def test_a_file_that_is_not_a_record_is_refused(classifier: ForeignClassifier, tmp_path: Path, content: bytes):
    (tmp_path / "record.npz").write_bytes(content)

    with pytest.raises(ComparisonError, match=r"expected a file that numpy\.savez wrote"):
        compare_record(classifier, tmp_path / "record.npz")


@pytest.mark.parametrize(
    ("changes", "added"),
    [
        ({}, "softmax"),
        ({"output": {"activation": "softmax"}}, "softmax"),
        ({"task": "multilabel"}, "sigmoid"),
        ({"task": "multilabel", "output": {"activation": "sigmoid"}}, "sigmoid"),
    ],
)
def test_a_checkpoint_is_imported_with_the_probabilities_of_pytorch(
    recorded: dict[str, np.ndarray], tmp_path: Path, changes: dict[str, Any], added: str
):
    (tmp_path / "card.json").write_text(json.dumps(CARD | changes))
    record = write(tmp_path, **recorded, framework="PyTorch 2.13")
    options = ["--card", tmp_path / "card.json", "--pictures", "examples", "--models", tmp_path, "--tflite", "none"]
    file = RECORDED / "torchvision_resnet18.pth"

    result = CliRunner().invoke(app, [*map(str, ["import-torch", file, *options, "--recorded", record])])

    assert result.exit_code == 0, result.exception
    assert f"{added} was added" in " ".join(result.output.split())
    assert "Compared with PyTorch 2.13, which returned scores" in " ".join(result.output.split())
    card = json.loads((tmp_path / "letters/1/assets.extra/card.json").read_text())
    assert card["provenance"]["compared_with"]["largest_difference"] < 1e-6
    assert card["provenance"]["licence"] == "not stated"


def test_a_record_that_disagrees_stops_the_import(recorded: dict[str, np.ndarray], tmp_path: Path):
    (tmp_path / "card.json").write_text(json.dumps(CARD))
    record = write(tmp_path, inputs=recorded["inputs"], outputs=recorded["outputs"][::-1])
    options = ["--card", tmp_path / "card.json", "--pictures", "examples", "--models", tmp_path, "--recorded", record]
    file = RECORDED / "torchvision_resnet18.pth"

    result = CliRunner().invoke(app, [*map(str, ["import-torch", file, *options])])

    assert isinstance(result.exception, ComparisonError)
    assert not (tmp_path / "letters").exists()
