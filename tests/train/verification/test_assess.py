"""A run is calibrated in its weights and evaluated on every test set, and its card contains the metrics."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.support.assessments import multiclass_assessment, multilabel_assessment
from train.config.run_names import CONFIG_FILE
from train.config.training_config import load_config
from train.data.examples import Splits, to_inputs
from train.data.load import load_splits
from train.evaluation.assessment import Assessment, summarise
from train.evaluation.calibrate import apply_temperature
from train.evaluation.cards import make_card
from train.training.loop import predictor
from train.training.run import load_run
from train.verification.assess import assess, set_temperature
from vision.card import Card


@pytest.fixture(scope="module")
def splits(run: Path) -> Splits:
    loaded = load_splits(load_config(run / CONFIG_FILE), lambda *_: None)
    return Splits(loaded.train, loaded.validation, loaded.test, {"bars": loaded.test[1::2]})


@pytest.fixture(scope="module")
def assessment_and_model(run: Path, splits: Splits) -> tuple[Assessment, keras.Model]:
    config, model = load_run(run)
    return assess(config, model, splits), model


def test_the_temperature_is_applied_to_the_weights(run: Path, splits: Splits):
    config, model = load_run(run)
    images = to_inputs(splits.test, config.input, len(config.labels)).images
    expected = apply_temperature(predictor(model)(images), 0.5, "multiclass")

    set_temperature(model, 0.5)

    np.testing.assert_allclose(predictor(model)(images), expected, atol=1e-5)


def test_every_test_set_is_evaluated_with_the_calibrated_network(
    run: Path, splits: Splits, assessment_and_model: tuple[Assessment, keras.Model]
):
    assessment, model = assessment_and_model
    images = to_inputs(splits.test, assessment.config.input, 2).images
    uncalibrated = load_run(run)[1]

    assert list(assessment.sets) == ["test", "bars"]
    np.testing.assert_allclose(assessment.test.probabilities, predictor(model)(images), atol=1e-6)
    np.testing.assert_array_equal(assessment.sets["bars"].true_classes, [1] * 10)
    np.testing.assert_allclose(assessment.uncalibrated.probabilities, predictor(uncalibrated)(images), atol=1e-4)


def test_a_card_contains_the_metrics_of_every_test_set():
    assessment = multiclass_assessment()

    card = make_card(assessment, 123, {"form": "tflite", "forms": {"tflite": {"cpu_ms": 1 / 3}}})

    metrics: Any = card.metrics
    assert metrics["accuracy"] == 0.8
    assert metrics["temperature"] == 1.5
    assert metrics["answered"] == pytest.approx(summarise(assessment)["answered"], abs=1e-6)
    assert list(metrics["recall"]) == list(assessment.config.labels)
    assert metrics["jpeg"] == {
        "accuracy": 1.0,
        "images": 2,
        "balanced_accuracy": 1.0,
        "macro_f1": 1.0,
        "calibration_error": 0.0,
        "log_loss": 0.0,
    }
    assert metrics["validation"]["images"] == 300
    assert metrics["log_loss_before"] == pytest.approx(assessment.uncalibrated.log_loss, abs=1e-6)
    assert (metrics["form"], metrics["forms"]["tflite"]) == ("tflite", {"cpu_ms": 0.333333})
    assert card.task == "multiclass"
    assert card.provenance["parameters"] == 123
    assert Card.from_json(card.to_json()) == card


def test_the_card_of_a_multilabel_model_contains_its_thresholds():
    assessment = multilabel_assessment()

    card = make_card(assessment, 1, {})

    assert (card.task, card.threshold) == ("multilabel", assessment.calibration.thresholds)
    assert card.metrics["micro_f1"] == pytest.approx(summarise(assessment)["micro_f1"], abs=1e-6)
    assert Card.from_json(card.to_json()) == card
