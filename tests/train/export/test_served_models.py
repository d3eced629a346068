"""The committed models keep the promises of their cards: on golden images, the test set and drawings."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

from tools.committed_models import newest_version
from train.config.training_config import TrainingConfig, load_config
from train.data.examples import Example, to_inputs
from train.data.load import load_splits
from train.evaluation.evaluate import evaluate
from train.export.export import CARD_FILE
from train.export.golden import TFLITE_TOLERANCES, TOLERANCE, golden_evaluation, read_golden
from train.export.precision import Form
from train.export.savedmodel import Version, load_version
from train.export.tflite_model import TfliteModel, load_tflite
from vision.card import Card

ROOT = Path(__file__).parents[3]
MNIST = ROOT / "../shared/data/mnist"
FORMS: tuple[Form, Form] = ("saved_model", "tflite")
MAX_BYTES = 1_000_000
OTHER_PROCESSOR = 0.001
"""By how much the accuracy of int8 may differ where its kernels round differently."""
TYPEFACES = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_PLAIN,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
    cv2.FONT_HERSHEY_SCRIPT_COMPLEX,
)


@pytest.fixture(scope="module")
def digits() -> Version:
    return load_version(newest_version("digits"))


def load_tflite_form(version: Version) -> TfliteModel:
    model = load_tflite(version.path, version.card)
    assert model is not None, f"{version.path} has no TensorFlow Lite form"
    return model


def test_the_digits_model_is_smaller_than_a_megabyte(digits: Version):
    sizes = [path.stat().st_size for path in digits.path.rglob("*") if path.is_file()]

    assert 0 < sum(sizes) < MAX_BYTES


@pytest.mark.parametrize("model", ["cifar10", "digits"])
def test_golden_images_have_the_recorded_probabilities_in_every_form(model: str):
    version = load_version(newest_version(model))
    tflite = load_tflite_form(version)
    goldens = read_golden(version.path)
    images = to_inputs([golden.example for golden in goldens], version.card.input, len(version.card.labels)).images
    encoded = tf.constant([golden.example.data for golden in goldens])

    from_pixels = version.predict(images)
    from_bytes = version.loaded.signatures["classify_bytes"](image_bytes=encoded)["probabilities"]
    from_tflite = tflite.predict(images)

    expected, expected_of_tflite = (golden_evaluation(goldens, form=form).probabilities for form in FORMS)
    assert [golden.example.classes for golden in goldens] == [(class_id,) for class_id in range(10)]
    np.testing.assert_allclose(from_pixels, expected, atol=TOLERANCE)
    np.testing.assert_allclose(from_bytes, expected, atol=TOLERANCE)
    np.testing.assert_allclose(from_tflite, expected_of_tflite, atol=TFLITE_TOLERANCES[tflite.weights])


@pytest.mark.parametrize("model", ["cifar10", "digits"])
def test_both_forms_describe_themselves_by_the_same_card(model: str):
    version = load_version(newest_version(model))

    assert load_tflite_form(version).describe() == version.card.to_json().encode()
    assert Card.from_json((version.path / CARD_FILE).read_bytes()) == version.card


def test_the_card_matches_the_training_configuration(digits: Version):
    config = load_config(ROOT / "train/configs/digits.yaml")
    card = digits.card
    recorded = card.provenance["configuration"]

    assert (card.name, card.title, card.description) == (config.name, config.title, config.description)
    assert (card.labels, card.input) == (config.labels, config.input)
    assert TrainingConfig.model_validate({**config.model_dump(), **recorded}) == config


@pytest.mark.skipif(not MNIST.is_dir(), reason="MNIST is not in ../shared/data/mnist")
def test_the_accuracy_on_the_test_set_is_that_of_the_card(digits: Version):
    config = load_config(ROOT / "train/configs/digits.yaml")
    inputs = to_inputs(load_splits(config, lambda *_: None, MNIST).test, digits.card.input, len(digits.card.labels))
    metrics = digits.card.metrics

    accuracies = {
        form: evaluate(predict, inputs).accuracy
        for form, predict in zip(FORMS, (digits.predict, load_tflite_form(digits).predict), strict=True)
    }

    assert len(inputs.images) == metrics["images"] == 10_000
    assert metrics["accuracy"] == metrics["forms"][metrics["form"]]["accuracy"]
    assert accuracies["saved_model"] == pytest.approx(metrics["forms"]["saved_model"]["accuracy"])
    assert accuracies["tflite"] == pytest.approx(metrics["forms"]["tflite"]["accuracy"], abs=OTHER_PROCESSOR)
    assert min(accuracies.values()) >= 0.993


def draw(digit: int, font: int, size: float, shift: tuple[float, float]) -> Example:
    """A digit on a sheet of 300 x 400; its height is `size` of the sheet, and `shift` moves it off the centre."""
    paper = np.full((300, 400, 3), 250, np.uint8)
    thickness = round(40 * size)
    _, unit = cv2.getTextSize(str(digit), font, 1, 1)[0]
    scale = size * 300 / unit
    width, height = cv2.getTextSize(str(digit), font, scale, thickness)[0]
    corner = (round(200 + 400 * shift[0] - width / 2), round(150 + 300 * shift[1] + height / 2))
    cv2.putText(paper, str(digit), corner, font, scale, (40, 20, 20), thickness, cv2.LINE_AA)
    return Example(cv2.imencode(".jpg", paper)[1].tobytes(), (digit,))


@pytest.mark.parametrize(("size", "shift"), [(0.7, (0.0, 0.0)), (0.4, (0.15, 0.1)), (0.2, (-0.3, 0.25))])
def test_digits_of_any_size_and_position_are_recognised(digits: Version, size: float, shift: tuple[float, float]):
    examples = [draw(digit, font, size, shift) for digit in range(10) for font in TYPEFACES]

    evaluation = evaluate(digits.predict, to_inputs(examples, digits.card.input, len(digits.card.labels)))

    assert evaluation.accuracy >= 0.97


@pytest.mark.parametrize(("height", "width"), [(300, 400), (400, 300)])
def test_every_digit_drawn_dark_on_white_is_recognised(digits: Version, height: int, width: int):
    examples = []
    for digit in range(10):
        paper = np.full((height, width, 3), 250, np.uint8)
        cv2.putText(paper, str(digit), (width // 3, height * 3 // 4), cv2.FONT_HERSHEY_SIMPLEX, 7, (40, 20, 20), 20)
        examples.append(Example(cv2.imencode(".jpg", paper)[1].tobytes(), (digit,)))

    evaluation = evaluate(digits.predict, to_inputs(examples, digits.card.input, len(digits.card.labels)))

    assert evaluation.top_classes.tolist() == list(range(10))
