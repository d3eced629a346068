"""Curves worked out by hand."""

import numpy as np
import pytest

from train.evaluation.curves import average_precision, calibration_error, interval, rank, reliability


def test_answers_of_about_the_same_probability_share_a_bin():
    confidences = np.array([0.05, 0.15, 0.17, 1.0], np.float32)
    bins = reliability(confidences, np.array([False, True, False, True]), bins=10)
    assert [each.count for each in bins] == [1, 2, 1]
    assert [each.accuracy for each in bins] == [0, 0.5, 1]
    assert [each.confidence for each in bins] == pytest.approx([0.05, 0.16, 1.0])


def test_calibration_error_weighs_bins_by_their_images():
    confidences = np.array([0.75, 0.75, 0.75, 0.25], np.float32)
    bins = reliability(confidences, np.array([True, True, True, False]), bins=2)
    assert calibration_error(bins) == pytest.approx(0.75 * 0.25 + 0.25 * 0.25)


def test_of_equal_scores_all_pass_or_none():
    ranking = rank(np.array([0.5, 0.9, 0.5, 0.1]), np.array([True, True, False, False]))
    assert ranking.thresholds.tolist() == [0.9, 0.5, 0.1]
    assert ranking.passed.tolist() == [1, 3, 4]
    assert ranking.right.tolist() == [1, 2, 2]
    assert ranking.precision == pytest.approx([1, 2 / 3, 0.5])


def test_a_threshold_is_midway_to_the_next_score():
    ranking = rank(np.array([0.9, 0.5]), np.array([True, True]))
    assert ranking.between(0) == pytest.approx(0.7)
    assert ranking.between(1) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("scores", "right", "expected"),
    [
        ([0.9, 0.8, 0.1], [True, True, False], 1.0),
        ([0.9, 0.8, 0.1], [False, False, True], 1 / 3),
        ([0.9, 0.8, 0.7], [True, False, True], (1 + 2 / 3) / 2),
        ([0.5, 0.5, 0.5], [True, False, False], 1 / 3),  # whichever comes first, none is told from the others
        ([0.5, 0.4], [False, False], None),
    ],
)
def test_average_precision(scores: list[float], right: list[bool], expected: float | None):
    assert average_precision(np.array(scores), np.array(right)) == pytest.approx(expected)


def test_few_images_leave_much_open():
    low, high = interval(1.0, 10)
    assert (low, high) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert interval(0.0, 10) == (0.0, pytest.approx(1 - low))
    assert interval(0.5, 10_000) == pytest.approx((0.4902, 0.5098), abs=1e-4)
