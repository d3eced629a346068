"""The most confident mistakes come first, and each image is at its position on the sheet."""

import cv2
import numpy as np
import pytest

from train.data.examples import Example
from train.evaluation.evaluate import Evaluation
from train.report.contact_sheet import COLUMNS, GAP, TILE, Mistake, contact_sheet, tile_corner, worst_mistakes


def test_mistakes_are_ordered_by_confidence():
    probabilities = np.array([[0.6, 0.4], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7]], np.float32)
    evaluation = Evaluation(probabilities, np.eye(2, dtype=bool)[[1, 0, 1, 0]])

    assert worst_mistakes(evaluation) == [Mistake(1, (0,), (1,)), Mistake(3, (0,), (1,)), Mistake(0, (1,), (0,))]
    assert worst_mistakes(evaluation, count=1) == [Mistake(1, (0,), (1,))]


def test_a_multilabel_mistake_names_false_negatives_and_false_positives():
    probabilities = np.array([[0.9, 0.9, 0.1], [0.9, 0.1, 0.1]], np.float32)
    targets = np.array([[1, 0, 1], [1, 0, 0]], bool)
    evaluation = Evaluation(probabilities, targets, np.full(3, 0.5, np.float32))

    assert worst_mistakes(evaluation) == [Mistake(0, false_negatives=(2,), false_positives=(1,))]


def test_a_perfect_evaluation_has_no_mistakes():
    assert worst_mistakes(Evaluation(np.eye(2, dtype=np.float32), np.eye(2, dtype=bool))) == []


@pytest.mark.parametrize("count", [1, COLUMNS, COLUMNS + 1])
def test_each_image_is_at_its_tile(count: int):
    colors = [(20 * number + 20, 0, 255 - 20 * number) for number in range(count)]
    images = [np.full((30, 60, 3), color[::-1], np.uint8) for color in colors]  # OpenCV writes BGR
    examples = [Example(cv2.imencode(".png", image)[1].tobytes(), (0,)) for image in images]

    sheet = contact_sheet(examples)

    columns, rows = min(count, COLUMNS), -(-count // COLUMNS)
    assert sheet.shape == (rows * (TILE + GAP) - GAP, columns * (TILE + GAP) - GAP, 3)
    for number, color in enumerate(colors):
        top, left = tile_corner(number)
        assert tuple(sheet[top + TILE // 2, left + TILE // 2]) == color
        assert tuple(sheet[top + 2, left + TILE // 2]) == (128, 128, 128)  # the image is wider than high
