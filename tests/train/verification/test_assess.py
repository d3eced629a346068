"""A trained network is calibrated in its own weights and measured on every set; its card tells the figures."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.support.assessments import of_one_class, of_several_classes
from train.config.training_config import load_config
from train.data.examples import Splits, to_inputs
from train.data.load import load_splits
from train.evaluation.assessment import Assessment, summary
from train.evaluation.calibrate import at_temperature
from train.evaluation.cards import make_card
from train.training.loop import predictor
from train.training.run import CONFIG_FILE, load_run
from train.verification.assess import assess, set_temperature
from vision.card import Card


@pytest.fixture(scope="module")
def splits(run: Path) -> Splits:
    loaded = load_splits(load_config(run / CONFIG_FILE), lambda *_: None)
    return Splits(loaded.train, loaded.validation, loaded.test, {"bars": loaded.test[1::2]})


@pytest.fixture(scope="module")
def assessed(run: Path, splits: Splits) -> tuple[Assessment, keras.Model]:
    config, model = load_run(run)
    return assess(config, model, splits), model


def test_the_temperature_is_in_the_weights(run: Path, splits: Splits):
    config, model = load_run(run)
    images = to_inputs(splits.test, config.input, len(config.labels)).images
    before = predictor(model)(images)
    set_temperature(model, 0.5)
    np.testing.assert_allclose(predictor(model)(images), at_temperature(before, 0.5, "multiclass"), atol=1e-5)


def test_every_set_is_measured_by_the_calibrated_network(
    run: Path, splits: Splits, assessed: tuple[Assessment, keras.Model]
):
    assessment, model = assessed
    images = to_inputs(splits.test, assessment.config.input, 2).images
    assert list(assessment.sets) == ["test", "bars"]
    np.testing.assert_allclose(assessment.test.probabilities, predictor(model)(images), atol=1e-6)
    np.testing.assert_array_equal(assessment.sets["bars"].labels, [1] * 10)
    untouched = load_run(run)[1]
    np.testing.assert_allclose(assessment.uncalibrated.probabilities, predictor(untouched)(images), atol=1e-4)


def test_a_card_tells_headlines_of_every_set():
    assessment = of_one_class()
    card = make_card(assessment, parameters=123)
    metrics: Any = card.metrics
    assert metrics["accuracy"] == 0.8
    assert (metrics["temperature"], metrics["abstain_below"]) == (1.5, 0.8)
    assert metrics["answered"] == pytest.approx(summary(assessment)["answered"], abs=1e-6)
    assert list(metrics["recall"]) == list(assessment.config.labels)
    assert metrics["jpeg"] == {"accuracy": 1.0, "images": 2, "calibration_error": 0.0}
    assert card.task == "multiclass"
    assert card.provenance["parameters"] == 123
    assert Card.from_json(card.to_json()) == card


def test_a_card_of_several_classes_carries_their_thresholds():
    assessment = of_several_classes()
    card = make_card(assessment, parameters=1)
    assert (card.task, card.threshold) == ("multilabel", assessment.calibration.thresholds)
    assert card.metrics["micro_f1"] == pytest.approx(summary(assessment)["micro_f1"], abs=1e-6)
    assert Card.from_json(card.to_json()) == card
