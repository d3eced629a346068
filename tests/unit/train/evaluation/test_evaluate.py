"""Figures worked out by hand."""

import numpy as np
import pytest

from train.data.examples import Inputs
from train.evaluation.evaluate import BATCH, Evaluation, evaluate, figures, thresholds_of
from vision.card import Card, InputSpec

# Right: 0, 0, 1, 1; answered: 0, 1, 1, 1. Class 2 never occurs and is never answered.
FOUR = Evaluation(
    np.array([[0.8, 0.1, 0.1], [0.4, 0.5, 0.1], [0.1, 0.9, 0.0], [0.2, 0.7, 0.1]], np.float32),
    np.eye(3, dtype=bool)[[0, 0, 1, 1]],
)
# Decided: {0}, {0, 1}, {}; right: {0}, {1}, {2}.
SEVERAL = Evaluation(
    np.array([[0.9, 0.1, 0.1], [0.6, 0.3, 0.0], [0.2, 0.2, 0.7]], np.float32),
    np.eye(3, dtype=bool),
    np.array([0.6, 0.3, 0.8], np.float32),
)


def test_accuracy_and_confusion():
    assert FOUR.accuracy == 0.75
    assert FOUR.right.tolist() == [True, False, True, True]
    np.testing.assert_array_equal(FOUR.confusion, [[1, 1, 0], [0, 2, 0], [0, 0, 0]])


def test_ties_go_to_the_lower_class():
    tied = Evaluation(np.full((1, 3), 1 / 3, np.float32), np.eye(3, dtype=bool)[:1])
    assert tied.answers[0] == 0
    assert tied.decided.tolist() == [[True, False, False]]


def test_each_class_has_its_own_threshold_and_reaching_it_is_enough():
    assert SEVERAL.decided.tolist() == [[True, False, False], [True, True, False], [False, False, False]]
    assert SEVERAL.right.tolist() == [True, False, False]


def test_per_class_figures():
    measured = figures(FOUR, ("a", "b", "c"))
    assert measured["images"] == 4
    a, b, c = measured["per_class"]
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
    assert measured["confusion"] == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert "top_5_accuracy" not in measured
    assert "binary_accuracy" not in measured


def test_classes_of_the_same_name_stay_apart():
    assert [values["images"] for values in figures(FOUR, ("crane", "crane", "c"))["per_class"]] == [2, 2, 0]


def test_figures_over_all_decisions():
    measured = figures(SEVERAL, ("a", "b", "c"))
    assert measured["binary_accuracy"] == pytest.approx(7 / 9)  # one added, one missed
    assert measured["micro_f1"] == pytest.approx(2 * 2 / (3 + 3))
    assert measured["macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert measured["accuracy"] == pytest.approx(1 / 3)
    assert "confusion" not in measured


def test_the_five_likeliest():
    chances = np.array([[0.05, 0.06, 0.07, 0.08, 0.34, 0.4]] * 3, np.float32)
    six = Evaluation(chances, np.eye(6, dtype=bool)[[0, 1, 5]])
    measured = figures(six, tuple("abcdef"))
    assert measured["top_5_accuracy"] == pytest.approx(2 / 3)
    assert measured["accuracy"] == pytest.approx(1 / 3)


def test_the_likeliest_class_is_held_to_its_probability_and_of_several_each():
    (lowest, *_) = FOUR.reliability
    assert (lowest.count, lowest.confidence, lowest.accuracy) == (1, 0.5, 0.0)
    assert sum(each.count for each in FOUR.reliability) == 4
    assert sum(each.count for each in SEVERAL.reliability) == 9


def test_every_image_is_asked_about_once_and_in_order():
    count = 2 * BATCH + 3
    images = np.arange(count * 4, dtype=np.uint32).astype(np.uint8).reshape(count, 2, 2, 1)
    targets = np.eye(4, dtype=np.float32)[np.arange(count) % 4]
    sizes = []

    def predict(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        return batch.reshape(len(batch), 4).astype(np.float32)

    measured = evaluate(predict, Inputs(images, targets), thresholds=0.5)
    assert sizes == [BATCH, BATCH, 3]
    np.testing.assert_array_equal(measured.probabilities, images.reshape(count, 4))
    np.testing.assert_array_equal(measured.labels, np.arange(count) % 4)
    np.testing.assert_array_equal(measured.thresholds, np.full(4, 0.5))


def test_thresholds_are_the_cards():
    card = Card(name="x", labels=("a", "b"), input=InputSpec(height=1, width=1), threshold=(0.25, 0.75))
    assert thresholds_of(card) is None
    several = Card(name="x", labels=("a", "b"), input=card.input, task="multilabel", threshold=(0.25, 0.75))
    np.testing.assert_array_equal(thresholds_of(several), [0.25, 0.75])
    one = Card(name="x", labels=("a", "b"), input=card.input, task="multilabel", threshold=0.5)
    np.testing.assert_array_equal(thresholds_of(one), [0.5, 0.5])
