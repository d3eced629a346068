"""Metrics over all thresholds, compared with values calculated by hand."""

import numpy as np
import pytest

from train.evaluation.curves import average_precision, calibration_error, rank, reliability_bins, wilson_interval


def test_predictions_of_similar_probability_share_a_bin():
    confidences = np.array([0.05, 0.15, 0.17, 1.0], np.float32)

    bins = reliability_bins(confidences, np.array([False, True, False, True]), bins=10)

    assert [item.count for item in bins] == [1, 2, 1]
    assert [item.accuracy for item in bins] == [0, 0.5, 1]
    assert [item.confidence for item in bins] == pytest.approx([0.05, 0.16, 1.0])


def test_calibration_error_weights_bins_by_their_size():
    confidences = np.array([0.75, 0.75, 0.75, 0.25], np.float32)
    bins = reliability_bins(confidences, np.array([True, True, True, False]), bins=2)

    assert calibration_error(bins) == pytest.approx(0.75 * 0.25 + 0.25 * 0.25)


def test_equal_scores_pass_a_threshold_together():
    ranking = rank(np.array([0.5, 0.9, 0.5, 0.1]), np.array([True, True, False, False]))

    assert ranking.thresholds.tolist() == [0.9, 0.5, 0.1]
    assert ranking.passed.tolist() == [1, 3, 4]
    assert ranking.correct.tolist() == [1, 2, 2]
    assert ranking.precision == pytest.approx([1, 2 / 3, 0.5])


def test_a_threshold_is_midway_to_the_next_lower_score():
    ranking = rank(np.array([0.9, 0.5]), np.array([True, True]))

    assert ranking.midpoint_below(0) == pytest.approx(0.7)
    assert ranking.midpoint_below(1) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("scores", "correct", "expected"),
    [
        ([0.9, 0.8, 0.1], [True, True, False], 1.0),
        ([0.9, 0.8, 0.1], [False, False, True], 1 / 3),
        ([0.9, 0.8, 0.7], [True, False, True], (1 + 2 / 3) / 2),
        ([0.5, 0.5, 0.5], [True, False, False], 1 / 3),  # equal scores have no order
        ([0.5, 0.4], [False, False], None),
    ],
)
def test_average_precision_is_the_mean_precision_over_recall(
    scores: list[float], correct: list[bool], expected: float | None
):
    assert average_precision(np.array(scores), np.array(correct)) == pytest.approx(expected)


def test_the_confidence_interval_is_wide_for_few_images():
    low, high = wilson_interval(1.0, 10)

    assert (low, high) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson_interval(0.0, 10) == (0.0, pytest.approx(1 - low))
    assert wilson_interval(0.5, 10_000) == pytest.approx((0.4902, 0.5098), abs=1e-4)
