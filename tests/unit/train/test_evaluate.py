"""Figures worked out by hand."""

import numpy as np
import pytest

from train.evaluate import BATCH, Evaluation, evaluate, figures
from train.examples import Inputs

# Right: 0, 0, 1, 1; answered: 0, 1, 1, 1. Class 2 never occurs and is never answered.
FOUR = Evaluation(
    np.array([[0.8, 0.1, 0.1], [0.4, 0.5, 0.1], [0.1, 0.9, 0.0], [0.2, 0.7, 0.1]], np.float32),
    np.array([0, 0, 1, 1], np.int32),
)


def test_accuracy_and_confusion():
    assert FOUR.accuracy == 0.75
    np.testing.assert_array_equal(FOUR.confusion, [[1, 1, 0], [0, 2, 0], [0, 0, 0]])


def test_ties_go_to_the_lower_class():
    assert Evaluation(np.full((1, 3), 1 / 3, np.float32), np.zeros(1, np.int32)).answers[0] == 0


def test_per_class_figures():
    measured = figures(FOUR, ("a", "b", "c"))
    assert measured["images"] == 4
    assert measured["per_class"]["a"] == {"images": 2, "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3)}
    assert measured["per_class"]["b"] == {"images": 2, "precision": pytest.approx(2 / 3), "recall": 1.0, "f1": 0.8}
    assert measured["per_class"]["c"] == {"images": 0, "precision": None, "recall": None, "f1": None}
    assert measured["confusion"] == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]


def test_every_image_is_asked_about_once_and_in_order():
    count = 2 * BATCH + 3
    images = np.arange(count * 4, dtype=np.uint32).astype(np.uint8).reshape(count, 2, 2, 1)
    sizes = []

    def predict(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        return batch.reshape(len(batch), 4).astype(np.float32)

    measured = evaluate(predict, Inputs(images, np.zeros(count, np.int32)))
    assert sizes == [BATCH, BATCH, 3]
    np.testing.assert_array_equal(measured.probabilities, images.reshape(count, 4))
