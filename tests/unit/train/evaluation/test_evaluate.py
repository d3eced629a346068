"""Metrics of an evaluation, compared with values calculated by hand."""

import numpy as np
import pytest

from train.data.batching import MAX_IMAGES
from train.data.examples import Inputs
from train.evaluation.evaluate import Evaluation, card_thresholds, compute_metrics, evaluate
from vision.card import Card, InputSpec

# True classes: 0, 0, 1, 1; predicted: 0, 1, 1, 1. Class 2 never occurs and is never predicted.
MULTICLASS = Evaluation(
    np.array([[0.8, 0.1, 0.1], [0.4, 0.5, 0.1], [0.1, 0.9, 0.0], [0.2, 0.7, 0.1]], np.float32),
    np.eye(3, dtype=bool)[[0, 0, 1, 1]],
)
# Predicted: {0}, {0, 1}, {}; true: {0}, {1}, {2}.
MULTILABEL = Evaluation(
    np.array([[0.9, 0.1, 0.1], [0.6, 0.3, 0.0], [0.2, 0.2, 0.7]], np.float32),
    np.eye(3, dtype=bool),
    np.array([0.6, 0.3, 0.8], np.float32),
)


def test_accuracy_and_confusion_count_the_top_class():
    assert MULTICLASS.accuracy == 0.75
    assert MULTICLASS.correct.tolist() == [True, False, True, True]
    np.testing.assert_array_equal(MULTICLASS.confusion, [[1, 1, 0], [0, 2, 0], [0, 0, 0]])


def test_ties_go_to_the_lower_class():
    tied = Evaluation(np.full((1, 3), 1 / 3, np.float32), np.eye(3, dtype=bool)[:1])

    assert tied.top_classes[0] == 0
    assert tied.decisions.tolist() == [[True, False, False]]


def test_a_class_is_predicted_from_its_own_threshold_on():
    assert MULTILABEL.decisions.tolist() == [[True, False, False], [True, True, False], [False, False, False]]
    assert MULTILABEL.correct.tolist() == [True, False, False]


def test_each_class_has_its_own_metrics():
    metrics = compute_metrics(MULTICLASS, ("a", "b", "c"))

    a, b, c = metrics["per_class"]
    assert a == {
        "class": "a",
        "images": 2,
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
        "average_precision": 1.0,
    }
    assert (b["precision"], b["recall"], b["f1"]) == (pytest.approx(2 / 3), 1.0, 0.8)
    assert c == {"class": "c", "images": 0, "precision": None, "recall": None, "f1": None, "average_precision": None}


def test_multiclass_metrics_include_the_confusion_matrix():
    metrics = compute_metrics(MULTICLASS, ("a", "b", "c"))

    assert metrics["images"] == 4
    assert metrics["confusion"] == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert metrics["balanced_accuracy"] == (0.5 + 1) / 2  # the third class has no images
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 0.8) / 2)
    assert "top_5_accuracy" not in metrics
    assert "binary_accuracy" not in metrics


def test_classes_with_the_same_name_have_separate_metrics():
    per_class = compute_metrics(MULTICLASS, ("crane", "crane", "c"))["per_class"]

    assert [metrics["images"] for metrics in per_class] == [2, 2, 0]


def test_multilabel_metrics_cover_all_decisions():
    metrics = compute_metrics(MULTILABEL, ("a", "b", "c"))

    assert metrics["binary_accuracy"] == pytest.approx(7 / 9)  # one false positive, one false negative
    assert metrics["micro_f1"] == pytest.approx(2 * 2 / (3 + 3))
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert metrics["accuracy"] == pytest.approx(1 / 3)
    assert "confusion" not in metrics


def test_top_5_accuracy_is_given_for_more_than_five_classes():
    probabilities = np.array([[0.05, 0.06, 0.07, 0.08, 0.34, 0.4]] * 3, np.float32)
    evaluation = Evaluation(probabilities, np.eye(6, dtype=bool)[[0, 1, 5]])

    metrics = compute_metrics(evaluation, tuple("abcdef"))

    assert metrics["top_5_accuracy"] == pytest.approx(2 / 3)
    assert metrics["accuracy"] == pytest.approx(1 / 3)


def test_reliability_covers_the_top_class_or_every_multilabel_decision():
    (lowest, *_) = MULTICLASS.reliability

    assert (lowest.count, lowest.confidence, lowest.accuracy) == (1, 0.5, 0.0)
    assert sum(item.count for item in MULTICLASS.reliability) == 4
    assert sum(item.count for item in MULTILABEL.reliability) == 9


def test_images_are_evaluated_once_in_order_and_in_batches():
    count = 2 * MAX_IMAGES + 3
    images = np.arange(count * 4, dtype=np.uint32).astype(np.uint8).reshape(count, 2, 2, 1)
    targets = np.eye(4, dtype=np.float32)[np.arange(count) % 4]
    sizes = []

    def predict(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        return batch.reshape(len(batch), 4).astype(np.float32)

    evaluation = evaluate(predict, Inputs(images, targets), thresholds=0.5)

    assert sizes == [MAX_IMAGES, MAX_IMAGES, 3]
    np.testing.assert_array_equal(evaluation.probabilities, images.reshape(count, 4))
    np.testing.assert_array_equal(evaluation.true_classes, np.arange(count) % 4)
    np.testing.assert_array_equal(evaluation.thresholds, np.full(4, 0.5))


def test_only_multilabel_models_have_thresholds():
    multiclass = Card(name="x", labels=("a", "b"), input=InputSpec(height=1, width=1), threshold=(0.25, 0.75))
    per_class = Card(name="x", labels=("a", "b"), input=multiclass.input, task="multilabel", threshold=(0.25, 0.75))
    single = Card(name="x", labels=("a", "b"), input=multiclass.input, task="multilabel", threshold=0.5)

    assert card_thresholds(multiclass) is None
    np.testing.assert_array_equal(card_thresholds(per_class), [0.25, 0.75])
    np.testing.assert_array_equal(card_thresholds(single), [0.5, 0.5])
