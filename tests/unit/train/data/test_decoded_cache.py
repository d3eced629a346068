"""Images are decoded once, as in the gateway, and undecodable ones are reported."""

import dataclasses
import fcntl
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.support.photo_sets import noise_image
from train.data.decoded_cache import decode_cached
from train.data.examples import Example, to_inputs
from train.data.image_loading import MAX_PIXELS
from vision.card import InputSpec
from vision.preprocess import load

SPEC = InputSpec(height=6, width=8, resize="center_crop", interpolation="area")
AS_TORCHVISION = InputSpec(height=6, width=8, resize="center_crop", resize_size=9, antialias=True, decoding="full")


class Progress:
    """Records the progress, which shows whether anything was decoded."""

    def __init__(self):
        self.steps: list[tuple[str, int, int | None]] = []

    def __call__(self, name: str, done: int, total: int | None):
        self.steps.append((name, done, total))


def by_content(*contents: bytes) -> Mapping[str, Example]:
    examples = [Example(content, (0,), f"image {number}") for number, content in enumerate(contents)]
    return {hashlib.sha256(example.data).hexdigest(): example for example in examples}


FOUR = by_content(noise_image(0), noise_image(1, ".jpg", 40), b"not an image", noise_image(2)[:-40], noise_image(3))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cache/photos/train"


@pytest.mark.parametrize("spec", [SPEC, AS_TORCHVISION], ids=["default", "as torchvision"])
def test_pixels_equal_those_of_the_gateway(file: Path, spec: InputSpec):
    decoded, _ = decode_cached(FOUR, spec, file, Progress())

    assert [example.name for example in decoded] == ["image 0", "image 1", "image 4"]
    for pixels, example in zip(decoded.images, decoded, strict=True):
        np.testing.assert_array_equal(pixels, load(example.data, spec, max_pixels=MAX_PIXELS))


def test_undecodable_images_are_reported_on_every_call(file: Path):
    for _ in range(2):
        _, skipped = decode_cached(FOUR, SPEC, file, Progress())
        assert [name for name, _ in skipped] == ["image 2", "image 3"]
        assert all(reason.startswith("cannot be decoded: ") for _, reason in skipped)


def test_a_second_call_decodes_nothing(file: Path):
    first, second = Progress(), Progress()
    before, _ = decode_cached(FOUR, SPEC, file, first)
    after, _ = decode_cached(FOUR, SPEC, file, second)
    size = sum(len(example.data) for example in FOUR.values())

    assert first.steps[-1] == ("decoding for train", size, size)
    assert second.steps == []
    np.testing.assert_array_equal(before.images, after.images)


@pytest.mark.parametrize("change", ["images", "input"])
def test_other_images_or_another_input_replace_the_cache(file: Path, change: str):
    decode_cached(FOUR, SPEC, file, Progress())
    outdated = set(file.parent.iterdir())
    part = by_content(noise_image(0), noise_image(9)) if change == "images" else FOUR
    spec = dataclasses.replace(SPEC, height=5) if change == "input" else SPEC
    decoded, _ = decode_cached(part, spec, file, Progress())

    np.testing.assert_array_equal(decoded.images[0], load(noise_image(0), spec, max_pixels=MAX_PIXELS))
    assert len(outdated) == len(set(file.parent.iterdir())) == 2
    assert outdated.isdisjoint(file.parent.iterdir())


def test_parts_of_a_data_set_have_separate_caches(file: Path):
    decode_cached(FOUR, SPEC, file, Progress())
    decode_cached(by_content(noise_image(5)), SPEC, file.with_name("test"), Progress())
    progress = Progress()
    decode_cached(FOUR, SPEC, file, progress)

    assert progress.steps == []


def test_an_interruption_leaves_no_incomplete_cache(file: Path):
    def fail(_name: str, _done: int, _total: int | None):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode_cached(FOUR, SPEC, file, fail)

    assert list(file.parent.iterdir()) == []

    decoded, _ = decode_cached(FOUR, SPEC, file, Progress())

    assert len(decoded.images) == 3


def test_a_cache_without_decodable_images_is_empty(file: Path):
    decoded, skipped = decode_cached(by_content(b"x", b"y"), SPEC, file, Progress())

    assert decoded.images.shape == (0, 6, 8, 3)
    assert len(skipped) == 2


def test_inputs_share_the_cached_pixels(file: Path):
    decoded, _ = decode_cached(by_content(noise_image(0), noise_image(1)), SPEC, file, Progress())
    inputs = to_inputs(decoded, SPEC, 2)

    assert np.shares_memory(inputs.images, decoded.images)
    assert inputs.targets.tolist() == [[1, 0], [1, 0]]
    assert not inputs.images.flags.writeable


def test_inputs_of_another_specification_are_decoded_again(file: Path):
    decoded, _ = decode_cached(by_content(noise_image(0)), SPEC, file, Progress())
    small = dataclasses.replace(SPEC, height=3)

    np.testing.assert_array_equal(
        to_inputs(decoded, small, 1).images[0], load(noise_image(0), small, max_pixels=100_000)
    )


def test_a_process_that_decodes_into_the_same_folder_at_the_same_time_waits(file: Path):
    attempts = []

    def try_to_lock(*_: object) -> None:
        descriptor = os.open(file.parent, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            attempts.append(error)
        finally:
            os.close(descriptor)

    decode_cached(FOUR, SPEC, file, try_to_lock)
    assert len(attempts) == len(FOUR)

    attempts.clear()
    try_to_lock()
    assert not attempts
