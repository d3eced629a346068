from dataclasses import replace
from typing import Any

import pytest

from gateway.openapi.examples import Example
from gateway.openapi.operations import OPERATIONS
from tools import examples
from vision.decode import TooManyPixelsError, UnreadableImageError, decode

SHOWN = Example("api.predict", "digit", "A digit", {"image": "…"}, 200, {"class": "7", "predictions": [{"score": 0.9}]})


def test_each_question_has_a_name_of_its_own_and_an_operation():
    asked = list(examples.questions())
    assert len({question.name for question in asked}) == len(asked)
    assert {question.endpoint for question in asked} <= set(OPERATIONS)


def test_the_pictures_are_what_their_examples_say():
    with pytest.raises(TooManyPixelsError):
        decode(examples.png_of(2000, 2000), max_pixels=3_999_999)
    with pytest.raises(UnreadableImageError):
        decode(examples.png_of(2000, 2000), max_pixels=4_000_000)


def test_answers_are_alike_but_for_the_last_digits():
    assert examples.alike(SHOWN.answer, {"class": "7", "predictions": [{"score": 0.90001}]})


@pytest.mark.parametrize(
    "other",
    [
        {"class": "7", "predictions": [{"score": 0.91}]},
        {"class": "8", "predictions": [{"score": 0.9}]},
        {"class": "7", "predictions": [{"score": 0.9}], "more": 1},
        {"class": "7", "predictions": [{"score": 0.9}, {"score": 0.9}]},
        {"class": "7", "predictions": None},
    ],
    ids=["score", "class", "more members", "more items", "type"],
)
def test_other_answers_differ(other: dict[str, Any]):
    assert not examples.alike(SHOWN.answer, other)


def test_differences_name_the_examples():
    assert examples.differences([SHOWN], [SHOWN]) == []
    found = [replace(SHOWN, status=500), replace(SHOWN, name="new one")]
    assert examples.differences([SHOWN, replace(SHOWN, name="old one")], found) == [
        "no longer asked: old one",
        'differs: digit, now 500 {"class": "7", "predictions": [{"score": 0.9}]}',
        "new: new one",
    ]
