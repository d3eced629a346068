"""Pictures are decoded once, as the gateway would, and those that cannot be are told."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.support.photo_sets import picture
from train.data.decoded_cache import decode_once
from train.data.examples import MAX_PIXELS, Example, to_inputs
from train.data.splits import distinct
from vision.card import InputSpec
from vision.preprocess import load

SPEC = InputSpec(height=6, width=8, resize="center_crop", interpolation="area")


class Progress:
    """What was told, and so whether anything was decoded."""

    def __init__(self):
        self.steps: list[tuple[str, int, int | None]] = []

    def __call__(self, name: str, done: int, total: int | None):
        self.steps.append((name, done, total))


def by_content(*contents: bytes) -> Mapping[str, Example]:
    examples = [Example(content, (0,), f"picture {number}") for number, content in enumerate(contents)]
    return distinct(examples, Progress())[0]


FOUR = by_content(picture(0), picture(1, ".jpg", 40), b"no picture", picture(2)[:-40], picture(3))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cache/photos/train"


def test_pixels_are_those_that_the_gateway_makes(file: Path):
    decoded, _ = decode_once(FOUR, SPEC, file, Progress())
    assert [example.name for example in decoded] == ["picture 0", "picture 1", "picture 4"]
    for pixels, example in zip(decoded.images, decoded, strict=True):
        np.testing.assert_array_equal(pixels, load(example.data, SPEC, max_pixels=MAX_PIXELS))


def test_what_cannot_be_decoded_is_told_each_time(file: Path):
    for _ in range(2):
        _, left_out = decode_once(FOUR, SPEC, file, Progress())
        assert [name for name, _ in left_out] == ["picture 2", "picture 3"]
        assert all(reason.startswith("cannot be decoded: ") for _, reason in left_out)


def test_a_second_call_decodes_nothing(file: Path):
    first, second = Progress(), Progress()
    before, _ = decode_once(FOUR, SPEC, file, first)
    after, _ = decode_once(FOUR, SPEC, file, second)
    size = sum(len(example.data) for example in FOUR.values())
    assert first.steps[-1] == ("decoding for train", size, size)
    assert second.steps == []
    np.testing.assert_array_equal(before.images, after.images)


@pytest.mark.parametrize("change", ["pictures", "input"])
def test_other_pictures_or_another_input_are_decoded_anew_and_the_old_file_goes(file: Path, change: str):
    decode_once(FOUR, SPEC, file, Progress())
    old = set(file.parent.iterdir())
    part = by_content(picture(0), picture(9)) if change == "pictures" else FOUR
    spec = dataclasses.replace(SPEC, height=5) if change == "input" else SPEC
    decoded, _ = decode_once(part, spec, file, Progress())
    np.testing.assert_array_equal(decoded.images[0], load(picture(0), spec, max_pixels=MAX_PIXELS))
    assert len(old) == len(set(file.parent.iterdir())) == 2
    assert old.isdisjoint(file.parent.iterdir())


def test_parts_of_the_same_set_do_not_touch_each_other(file: Path):
    decode_once(FOUR, SPEC, file, Progress())
    decode_once(by_content(picture(5)), SPEC, file.with_name("test"), Progress())
    progress = Progress()
    decode_once(FOUR, SPEC, file, progress)
    assert progress.steps == []


def test_a_break_leaves_nothing_that_looks_finished(file: Path):
    def fail(_name: str, _done: int, _total: int | None):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode_once(FOUR, SPEC, file, fail)
    assert list(file.parent.iterdir()) == []
    decoded, _ = decode_once(FOUR, SPEC, file, Progress())
    assert len(decoded.images) == 3


def test_nothing_that_can_be_decoded_is_no_pixels(file: Path):
    decoded, left_out = decode_once(by_content(b"x", b"y"), SPEC, file, Progress())
    assert decoded.images.shape == (0, 6, 8, 3)
    assert len(left_out) == 2


def test_inputs_take_the_pixels_that_are_there(file: Path):
    decoded, _ = decode_once(by_content(picture(0), picture(1)), SPEC, file, Progress())
    inputs = to_inputs(decoded, SPEC, 2)
    assert np.shares_memory(inputs.images, decoded.images)
    assert inputs.targets.tolist() == [[1, 0], [1, 0]]
    assert not inputs.images.flags.writeable


def test_inputs_of_another_form_are_decoded_for_it(file: Path):
    decoded, _ = decode_once(by_content(picture(0)), SPEC, file, Progress())
    small = dataclasses.replace(SPEC, height=3)
    np.testing.assert_array_equal(to_inputs(decoded, small, 1).images[0], load(picture(0), small, max_pixels=100_000))
