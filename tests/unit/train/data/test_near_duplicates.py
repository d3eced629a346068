"""Changed copies of an image are near-duplicates of it; other images are not."""

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from train.config.datasets import OwnData
from train.data.contents import hash_perceptually
from train.data.near_duplicates import find_near_duplicates

WEATHER = Path(__file__).parents[4] / "../shared/data/weather4"
DISTANCE = OwnData.model_fields["near_duplicate_distance"].default
CHANGES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "half the size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "saved again": lambda image: image,
    "cropped": lambda image: image[len(image) // 50 : -len(image) // 50, len(image[0]) // 50 : -len(image[0]) // 50],
    "lighter": lambda image: cv2.add(image, (40, 40, 40, 0)),
    "darker": lambda image: cv2.convertScaleAbs(image, alpha=0.7),
}


def encoded_jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1].tobytes()


def scene(number: int) -> np.ndarray:
    """Draw some soft shapes, uint8[180, 240, 3]."""
    rng = np.random.default_rng(number)
    image = np.full((180, 240, 3), rng.integers(0, 256, 3), np.uint8)
    for _ in range(12):
        centre, axes = rng.integers(0, (240, 180)).tolist(), rng.integers(10, 80, 2).tolist()
        cv2.ellipse(image, centre, axes, float(rng.integers(180)), 0, 360, rng.integers(0, 200, 3).tolist(), -1)
    return cv2.GaussianBlur(image, (0, 0), 2)


def distance(first: int, second: int) -> int:
    return (first ^ second).bit_count()


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_near_duplicates(change: str):
    for number in range(10):
        image = scene(number)
        hashes = [hash_perceptually(encoded_jpeg(each)) for each in (image, CHANGES[change](image))]
        assert find_near_duplicates(dict(zip("ab", hashes, strict=True)), DISTANCE) == [("a", "b")]


def test_different_images_are_not_near_duplicates():
    hashes = {str(number): hash_perceptually(encoded_jpeg(scene(number))) for number in range(40)}
    assert find_near_duplicates(hashes, DISTANCE) == []


def test_what_cannot_be_decoded_has_no_hash():
    assert hash_perceptually(b"not an image") is None


@pytest.mark.parametrize("limit", [0, 1, 5, 10, 31])
def test_groups_are_those_of_comparing_every_pair(limit: int):
    rng = np.random.default_rng(limit)
    hashes = {}
    for number, value in enumerate(rng.integers(0, 1 << 63, 40).tolist()):
        hashes[f"{number}"] = value
        flipped = sum(1 << int(bit) for bit in rng.choice(64, limit, replace=False))
        hashes[f"{number} near"] = value ^ flipped
        hashes[f"{number} nearer"] = value ^ flipped ^ (1 << 7)
    groups = find_near_duplicates(hashes, limit)
    group_of = {name: index for index, group in enumerate(groups) for name in group}

    for first, second in itertools.combinations(hashes, 2):
        if distance(hashes[first], hashes[second]) <= limit:
            assert group_of[first] == group_of[second]
    for group in groups:
        for name in group:
            assert any(distance(hashes[name], hashes[other]) <= limit for other in group if other != name)


def test_images_that_are_alike_by_way_of_others_are_one_group():
    assert find_near_duplicates({"a": 0, "b": 0b11, "c": 0b1111, "d": 0b111 << 40}, 2) == [("a", "b", "c")]


def test_no_images_have_no_near_duplicates():
    assert find_near_duplicates({}, 10) == []


@pytest.mark.skipif(not WEATHER.is_dir(), reason="the weather photos are not beside the repository")
def test_few_real_photos_are_grouped():
    paths = sorted(path for path in WEATHER.glob("*/*") if path.is_file())
    hashes = {str(path): hash_perceptually(path.read_bytes()) for path in paths}
    groups = find_near_duplicates(hashes, DISTANCE)

    assert 70 <= sum(map(len, groups)) <= 90  # 45 pairs by eye
    assert max(map(len, groups)) <= 4
