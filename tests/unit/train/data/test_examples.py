"""Splits are reproducible, and inputs are made by `vision`."""

import cv2
import numpy as np
import pytest

from train.data.examples import DataError, Example, hold_back, to_inputs
from vision.card import InputSpec

HUNDRED = [Example(bytes([number]), (number,)) for number in range(100)]


def test_a_split_is_complete_disjoint_and_in_order():
    remaining, drawn = hold_back(HUNDRED, 30, seed=1)

    assert len(drawn) == 30
    assert [example.classes for example in remaining] == sorted(example.classes for example in remaining)
    assert [example.classes for example in drawn] == sorted(example.classes for example in drawn)
    assert {example.classes for example in remaining + drawn} == {(number,) for number in range(100)}


def test_a_split_depends_only_on_the_seed():
    assert hold_back(HUNDRED, 30, seed=1) == hold_back(HUNDRED, 30, seed=1)
    assert hold_back(HUNDRED, 30, seed=1) != hold_back(HUNDRED, 30, seed=2)


@pytest.mark.parametrize("count", [100, 101])
def test_holding_everything_back_is_refused(count: int):
    with pytest.raises(ValueError, match=f"{count} of 100 examples cannot be held back"):
        hold_back(HUNDRED, count, seed=1)


def test_a_drawing_of_another_size_is_inverted_and_letterboxed():
    spec = InputSpec(
        height=28, width=28, color="GRAY", resize="letterbox", interpolation="area", invert_light_background=True
    )
    paper = np.full((300, 400, 3), 255, np.uint8)
    paper[100:200, 180:220] = 0
    inputs = to_inputs([Example(cv2.imencode(".png", paper)[1].tobytes(), (1,))], spec, 3)

    assert inputs.images.shape == (1, 28, 28, 1)
    assert inputs.images.dtype == np.uint8
    assert inputs.images[0, 14, 14, 0] > 200
    assert inputs.images[0, 5, 3, 0] == 0
    assert inputs.targets.tolist() == [[0, 1, 0]]


def test_data_that_is_not_an_image_is_refused():
    with pytest.raises(DataError, match=r"^cat/a\.png: the image is in none of the accepted formats"):
        to_inputs([Example(b"text", (0,), "cat/a.png")], InputSpec(height=2, width=2), 1)
