"""The mistakes a model was surest of come first, and each picture is in its own place on the sheet."""

import cv2
import numpy as np
import pytest

from train.data.examples import Example
from train.evaluation.evaluate import Evaluation
from train.report.contact_sheet import COLUMNS, GAP, TILE, Mistake, contact_sheet, tile_corner, worst_mistakes


def test_wrong_answers_come_by_what_the_right_class_was_given():
    chances = np.array([[0.6, 0.4], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7]], np.float32)
    answered = Evaluation(chances, np.eye(2, dtype=bool)[[1, 0, 1, 0]])
    assert worst_mistakes(answered) == [Mistake(1, (0,), (1,)), Mistake(3, (0,), (1,)), Mistake(0, (1,), (0,))]
    assert worst_mistakes(answered, most=1) == [Mistake(1, (0,), (1,))]


def test_of_several_classes_missed_and_added_ones_are_told():
    chances = np.array([[0.9, 0.9, 0.1], [0.9, 0.1, 0.1]], np.float32)
    targets = np.array([[1, 0, 1], [1, 0, 0]], bool)
    answered = Evaluation(chances, targets, np.full(3, 0.5, np.float32))
    assert worst_mistakes(answered) == [Mistake(0, missed=(2,), added=(1,))]


def test_no_mistake_no_list():
    assert worst_mistakes(Evaluation(np.eye(2, dtype=np.float32), np.eye(2, dtype=bool))) == []


@pytest.mark.parametrize("count", [1, COLUMNS, COLUMNS + 1])
def test_each_picture_is_where_its_corner_says(count: int):
    colors = [(20 * number + 20, 0, 255 - 20 * number) for number in range(count)]
    pictures = [np.full((30, 60, 3), color[::-1], np.uint8) for color in colors]  # OpenCV writes BGR
    examples = [Example(cv2.imencode(".png", picture)[1].tobytes(), (0,)) for picture in pictures]
    sheet = contact_sheet(examples)
    columns, rows = min(count, COLUMNS), -(-count // COLUMNS)
    assert sheet.shape == (rows * (TILE + GAP) - GAP, columns * (TILE + GAP) - GAP, 3)
    for number, color in enumerate(colors):
        top, left = tile_corner(number)
        assert tuple(sheet[top + TILE // 2, left + TILE // 2]) == color
        assert tuple(sheet[top + 2, left + TILE // 2]) == (128, 128, 128)  # the picture is wider than high
