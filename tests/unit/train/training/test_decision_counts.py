"""Metrics that weight classes equally, from counts of several batches."""

import numpy as np
import pytest

from train.training.decision_counts import DecisionCounts


def targets(*classes: tuple[int, ...]) -> np.ndarray:
    rows = np.zeros((len(classes), 3), np.float32)
    for row, numbers in zip(rows, classes, strict=True):
        row[list(numbers)] = 1
    return rows


def test_a_rare_class_counts_as_much_as_a_common_one():
    counts = DecisionCounts("multiclass", 3)
    counts.add(targets((0,), (0,), (0,)), targets((0,), (0,), (0,)))
    counts.add(targets((0,)), targets((1,)))

    metrics = counts.metrics()

    assert metrics == {
        "balanced_accuracy": pytest.approx((1 + 0) / 2),  # class 2 does not occur
        "macro_f1": pytest.approx((2 * 3 / (3 + 4) + 0) / 2),
    }


def test_each_decision_of_a_multilabel_network_counts():
    scores = np.array([[2.0, -1.0, 0.5], [-3.0, -0.1, 0.1]], np.float32)
    counts = DecisionCounts("multilabel", 3)
    counts.add(scores, targets((0, 2), (1, 2)))

    assert counts.metrics() == {
        "macro_f1": pytest.approx((1 + 0 + 1) / 3),
        "micro_f1": pytest.approx(2 * 3 / (3 + 4)),
    }


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_without_images_the_metrics_are_0(task):
    assert set(DecisionCounts(task, 3).metrics().values()) == {0.0}
