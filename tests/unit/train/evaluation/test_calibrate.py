"""Temperatures that were put in are found again, and thresholds are the best there are."""

import numpy as np
import pytest

from train.evaluation.calibrate import abstain_threshold, at_temperature, best_threshold, calibrate, fit_temperature
from train.evaluation.curves import calibration_error
from train.evaluation.evaluate import Evaluation
from vision.card import Task

IMAGES = 4000


def honest(task: Task) -> Evaluation:
    """Answers that are right as often as they say."""
    rng = np.random.default_rng(5)
    scores = rng.normal(0, 2, (IMAGES, 5))
    if task == "multilabel":
        chances = 1 / (1 + np.exp(-scores))
        return Evaluation(chances.astype(np.float32), rng.random(chances.shape) < chances, np.full(5, 0.5, np.float32))
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    labels = [rng.choice(5, p=row) for row in chances]
    return Evaluation(chances.astype(np.float32), np.eye(5, dtype=bool)[labels])


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize("sureness", [0.5, 1.0, 3.0])
def test_the_temperature_that_makes_answers_honest_is_found(task: Task, sureness: float):
    answers = honest(task)
    distorted = at_temperature(answers.probabilities, 1 / sureness, task)
    temperature = fit_temperature(distorted, answers.targets, task)
    assert temperature == pytest.approx(sureness, rel=0.06)
    mended = Evaluation(at_temperature(distorted, temperature, task), answers.targets, answers.thresholds)
    assert calibration_error(mended.reliability) < 0.03


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_temperature_changes_no_ranking_and_can_be_taken_back(task: Task):
    chances = honest(task).probabilities
    cooled = at_temperature(chances, 0.5, task)
    assert not np.allclose(cooled, chances)
    np.testing.assert_array_equal(cooled.argmax(axis=1), chances.argmax(axis=1))
    np.testing.assert_allclose(at_temperature(cooled, 2, task), chances, atol=1e-4)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_a_few_images_all_right_make_no_network_certain(task: Task):
    targets = np.eye(4, dtype=bool)[np.arange(8) % 4]
    chances = np.where(targets, 0.97, 0.01).astype(np.float32)
    mended = at_temperature(chances, fit_temperature(chances, targets, task), task)
    assert 0.6 < mended[targets].min() < 0.95


def test_numbers_at_the_end_of_float32_are_no_obstacle():
    targets = np.eye(2, dtype=bool)[[0, 1, 0, 1]]
    sure = np.array([[1, 0], [0, 1], [1, 0], [1, 0]], np.float32)
    for task in ("multiclass", "multilabel"):
        assert np.isfinite(at_temperature(sure, fit_temperature(sure, targets, task), task)).all()


def test_a_class_gets_the_threshold_of_highest_f1():
    scores = np.array([0.1, 0.2, 0.3, 0.6, 0.9], np.float32)
    right = np.array([False, False, True, True, True])
    assert best_threshold(scores, right) == pytest.approx(0.25)


def test_of_equally_good_thresholds_the_one_nearest_to_a_half_is_taken():
    # F1 is 2/3 from 0.9 on (one of two found) and from 0.2 on (two of four are right).
    scores = np.array([0.9, 0.7, 0.6, 0.2], np.float32)
    assert best_threshold(scores, np.array([True, False, False, True])) == pytest.approx(0.8)


def test_a_class_that_never_occurs_keeps_a_half():
    assert best_threshold(np.array([0.1, 0.9], np.float32), np.array([False, False])) == 0.5


def sure(confidences: list[float], right: list[bool]) -> Evaluation:
    chances = np.array([[value, 1 - value] for value in confidences], np.float32)
    return Evaluation(chances, np.array([[yes, not yes] for yes in right]))


def test_as_many_answers_as_possible_are_given():
    answers = sure([0.95, 0.9, 0.8, 0.7, 0.6], [True, True, False, True, False])
    assert abstain_threshold(answers, 1.0) == pytest.approx(0.85)
    assert abstain_threshold(answers, 0.75) == pytest.approx(0.65)  # although at 0.8 fewer are right
    assert abstain_threshold(answers, 0.6) == 0
    assert abstain_threshold(sure([0.9, 0.8], [False, True]), 0.9) is None


def test_thresholds_are_chosen_after_the_temperature_is_set():
    answers = honest("multiclass")
    distorted = Evaluation(at_temperature(answers.probabilities, 0.5, "multiclass"), answers.targets)
    found = calibrate(distorted, "multiclass", 0.9)
    mended = Evaluation(at_temperature(distorted.probabilities, found.temperature, "multiclass"), answers.targets)
    assert found.thresholds is None
    assert found.abstain_below == abstain_threshold(mended, 0.9)
    given = mended.probabilities.max(axis=1) >= found.abstain_below
    assert mended.right[given].mean() >= 0.9
    assert mended.right.mean() < 0.9


def test_each_class_of_several_gets_a_threshold():
    found = calibrate(honest("multilabel"), "multilabel", 0.9)
    assert found.abstain_below is None
    assert len(found.thresholds) == 5
    assert all(0.2 < threshold < 0.6 for threshold in found.thresholds)
