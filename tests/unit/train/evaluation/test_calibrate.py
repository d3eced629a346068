"""Calibration recovers a known temperature, and chooses the best thresholds."""

import math

import numpy as np
import pytest

from tests.support.calibration_splits import measure_calibration, train_on_splits
from train.evaluation.calibrate import (
    abstain_threshold,
    apply_temperature,
    best_threshold,
    calibrate,
    fit_temperature,
    min_answered,
)
from train.evaluation.curves import calibration_error, log_losses
from train.evaluation.evaluate import Evaluation
from vision.card import Task

IMAGES = 4000


def calibrated(task: Task) -> Evaluation:
    """Predictions that are correct as often as their probabilities say."""
    rng = np.random.default_rng(5)
    scores = rng.normal(0, 2, (IMAGES, 5))
    if task == "multilabel":
        chances = 1 / (1 + np.exp(-scores))
        return Evaluation(chances.astype(np.float32), rng.random(chances.shape) < chances, np.full(5, 0.5, np.float32))
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    labels = [rng.choice(5, p=row) for row in chances]
    return Evaluation(chances.astype(np.float32), np.eye(5, dtype=bool)[labels])


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize("distortion", [0.5, 1.0, 3.0])
def test_fitting_recovers_the_temperature_of_distorted_probabilities(task: Task, distortion: float):
    evaluation = calibrated(task)
    distorted = apply_temperature(evaluation.probabilities, 1 / distortion, task)

    fit = fit_temperature(distorted, evaluation.targets, task)

    assert fit.temperature == pytest.approx(distortion, rel=0.06)
    restored = Evaluation(
        apply_temperature(distorted, fit.temperature, task), evaluation.targets, evaluation.thresholds
    )
    assert calibration_error(restored.reliability) < 0.03
    assert fit.images == IMAGES


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_a_fit_states_what_it_achieves_for_images_that_it_has_not_seen(task: Task):
    evaluation = calibrated(task)
    distorted = apply_temperature(evaluation.probabilities, 0.5, task)

    fit = fit_temperature(distorted, evaluation.targets, task)

    unseen = apply_temperature(distorted, 2, task)
    expected = log_losses(unseen, evaluation.targets, multilabel=task == "multilabel").mean()
    assert fit.log_loss_before > fit.log_loss_after == pytest.approx(expected, rel=0.01)
    assert fit.calibration_error_before > 0.05
    assert fit.calibration_error_after < 0.03


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_a_temperature_that_cross_validation_does_not_confirm_is_not_applied(task: Task):
    # One image of ten is classified wrongly with certainty: to the other nine, a fold without it promises certainty.
    targets = np.eye(2, dtype=bool)[np.zeros(10, int)]
    probabilities = np.where(targets, 0.9, 0.1).astype(np.float32)
    probabilities[0] = [1e-6, 1 - 1e-6]

    fit = fit_temperature(probabilities, targets, task)

    assert fit.temperature == 1
    assert fit.log_loss_after == fit.log_loss_before
    assert fit.calibration_error_after == fit.calibration_error_before


@pytest.mark.parametrize(("learning_rate", "dropout"), [(0.1, 0.3), (1.0, 0.0)], ids=["as usual", "overtrained"])
def test_calibrating_small_classifiers_does_no_harm(learning_rate: float, dropout: float):
    rng = np.random.default_rng(1)
    classes = np.arange(640) % 4
    features = rng.normal(size=(640, 64)) + 0.42 * rng.normal(size=(4, 64))[classes]

    splits = train_on_splits(features.astype(np.float32), classes, 30, learning_rate, dropout)
    effect = measure_calibration(splits)

    assert effect.worse <= 15
    assert effect.log_loss < 0
    assert effect.calibration_error <= 0


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_temperature_is_reversible_and_changes_no_ranking(task: Task):
    probabilities = calibrated(task).probabilities

    sharpened = apply_temperature(probabilities, 0.5, task)

    assert not np.allclose(sharpened, probabilities)
    np.testing.assert_array_equal(sharpened.argmax(axis=1), probabilities.argmax(axis=1))
    np.testing.assert_allclose(apply_temperature(sharpened, 2, task), probabilities, atol=1e-4)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_a_few_correct_images_do_not_make_a_network_certain(task: Task):
    targets = np.eye(4, dtype=bool)[np.arange(8) % 4]
    probabilities = np.where(targets, 0.97, 0.01).astype(np.float32)

    scaled = apply_temperature(probabilities, fit_temperature(probabilities, targets, task).temperature, task)

    assert 0.97 <= scaled[targets].min() < 0.985


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_probabilities_of_0_and_1_stay_finite(task: Task):
    targets = np.eye(2, dtype=bool)[[0, 1, 0, 1]]
    extreme = np.array([[1, 0], [0, 1], [1, 0], [1, 0]], np.float32)

    scaled = apply_temperature(extreme, fit_temperature(extreme, targets, task).temperature, task)

    assert np.isfinite(scaled).all()


def test_a_class_gets_the_threshold_of_highest_f1():
    scores = np.array([0.1, 0.2, 0.3, 0.6, 0.9], np.float32)
    targets = np.array([False, False, True, True, True])

    assert best_threshold(scores, targets) == pytest.approx(0.25)


def test_of_equally_good_thresholds_the_one_nearest_to_a_half_is_chosen():
    # F1 is 2/3 from 0.9 on (one of two positives) and from 0.2 on (two of four predictions are correct).
    scores = np.array([0.9, 0.7, 0.6, 0.2], np.float32)

    assert best_threshold(scores, np.array([True, False, False, True])) == pytest.approx(0.8)


def test_the_threshold_of_a_class_that_never_occurs_is_a_half():
    assert best_threshold(np.array([0.1, 0.9], np.float32), np.array([False, False])) == 0.5


def two_classes(confidences: list[float], correct: list[bool]) -> Evaluation:
    """Predictions of class 0 with these confidences."""
    probabilities = np.array([[value, 1 - value] for value in confidences], np.float32)
    return Evaluation(probabilities, np.array([[yes, not yes] for yes in correct]))


def test_the_abstention_threshold_keeps_as_many_predictions_as_possible():
    evaluation = two_classes([0.95, 0.9, 0.8, 0.7, 0.6], [True, True, False, True, False])

    assert abstain_threshold(evaluation, 1.0) == pytest.approx(0.85)
    assert abstain_threshold(evaluation, 0.75) == pytest.approx(0.65)  # although from 0.8 on fewer are correct
    assert abstain_threshold(evaluation, 0.6) == 0


def test_there_is_no_abstention_threshold_if_none_reaches_the_accuracy():
    assert abstain_threshold(two_classes([0.9, 0.8], [False, True]), 0.9) is None


def test_the_abstention_threshold_applies_to_calibrated_probabilities():
    evaluation = calibrated("multiclass")
    distorted = Evaluation(apply_temperature(evaluation.probabilities, 0.5, "multiclass"), evaluation.targets)

    calibration = calibrate(distorted, "multiclass", 0.9)

    probabilities = apply_temperature(distorted.probabilities, calibration.temperature, "multiclass")
    restored = Evaluation(probabilities, evaluation.targets)
    assert calibration.thresholds is None
    assert calibration.abstain_below == abstain_threshold(restored, 0.9)
    covered = restored.probabilities.max(axis=1) >= calibration.abstain_below
    assert restored.correct[covered].mean() >= 0.9
    assert restored.correct.mean() < 0.9


@pytest.mark.parametrize(("images", "accuracy", "expected"), [(99, 0.99, False), (100, 0.99, True), (20, 0.95, True)])
def test_a_threshold_to_abstain_needs_enough_images_to_support_its_accuracy(
    images: int, accuracy: float, *, expected: bool
):
    all_correct = two_classes([0.9] * images, [True] * images)

    calibration = calibrate(all_correct, "multiclass", accuracy)

    assert (calibration.abstain_below is not None) == expected


def test_no_number_of_images_proves_that_all_answers_are_correct():
    assert min_answered(1) == math.inf


def test_every_class_of_a_multilabel_model_gets_a_threshold():
    calibration = calibrate(calibrated("multilabel"), "multilabel", 0.9)

    assert calibration.abstain_below is None
    assert len(calibration.thresholds) == 5
    assert all(0.2 < threshold < 0.6 for threshold in calibration.thresholds)
