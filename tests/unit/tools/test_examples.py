import re
from dataclasses import replace
from typing import Any

import pytest

from gateway.openapi.examples import Example
from gateway.openapi.operations import OPERATIONS
from tools import examples
from vision.decode import TooManyPixelsError, UnreadableImageError, decode

RECORDED = Example(
    "api.predict", "digit", "A digit", {"image": "…"}, 200, {"class": "7", "predictions": [{"score": 0.9}]}
)


def test_each_request_has_a_unique_name_and_an_operation():
    requests = list(examples.example_requests())

    assert len({request.name for request in requests}) == len(requests) > 0
    for request in requests:
        route = f"{'GET' if request.json is None and request.data is None else 'POST'} {request.path}"
        assert any(re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", operation), route) for operation in OPERATIONS), route


def test_the_large_png_has_a_size_and_no_pixels():
    with pytest.raises(TooManyPixelsError):
        decode(examples.png_of(2000, 2000), max_pixels=3_999_999)
    with pytest.raises(UnreadableImageError):
        decode(examples.png_of(2000, 2000), max_pixels=4_000_000)


def test_answers_may_differ_in_the_last_digits_of_scores():
    assert examples.alike(RECORDED.response, {"class": "7", "predictions": [{"score": 0.90001}]})


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
def test_any_other_difference_counts(other: dict[str, Any]):
    assert not examples.alike(RECORDED.response, other)


def test_differences_name_the_examples():
    assert examples.differences([RECORDED], [RECORDED]) == []
    current = [replace(RECORDED, status=500), replace(RECORDED, name="new one")]
    assert examples.differences([RECORDED, replace(RECORDED, name="old one")], current) == [
        "no longer requested: old one",
        'differs: digit, now 500 {"class": "7", "predictions": [{"score": 0.9}]}',
        "new: new one",
    ]
