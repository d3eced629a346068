"""Each change does what it says, and nothing outside training."""

from typing import Any

import numpy as np
import pytest

from train.augment import RandomAffine, RandomStroke
from train.recipe import Augmentation
from train.model import build_augmentation
from vision.card import InputSpec

SPEC = InputSpec(height=28, width=28, color="GRAY")
STRONG: dict[str, Any] = {
    "stroke": 0.5,
    "contrast": 0.5,
    "brightness": 0.2,
    "rotation_degrees": 20,
    "scale": (0.5, 1.5),
    "shear": 0.2,
    "shift": 0.2,
}


def squares(count: int) -> np.ndarray:
    """float32[N, 28, 28, 1], a light square of 8 x 8 in the middle of each."""
    images = np.zeros((count, 28, 28, 1), np.float32)
    images[:, 10:18, 10:18] = 200
    return images


def moments(image: np.ndarray) -> tuple[float, float, float, float]:
    """Centre (y, x) and spread (y, x) of what is light in float32[H, W, 1], in pixels."""
    weights = image[..., 0] / image.sum()
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    centre_y, centre_x = (weights * y).sum(), (weights * x).sum()
    spread_y, spread_x = (weights * (y - centre_y) ** 2).sum(), (weights * (x - centre_x) ** 2).sum()
    return float(centre_y), float(centre_x), float(spread_y**0.5), float(spread_x**0.5)


def test_nothing_is_changed_outside_training():
    images = squares(4)
    augmentation = build_augmentation(Augmentation(**STRONG), SPEC, seed=1)
    np.testing.assert_array_equal(augmentation(images, training=False), images)


def test_nothing_is_changed_by_default():
    images = squares(4)
    changed = build_augmentation(Augmentation(), SPEC, seed=1)(images, training=True)
    np.testing.assert_allclose(changed, images, atol=1e-3)


def test_the_same_seed_draws_the_same_changes():
    images = squares(8)
    once, again, other = (
        np.asarray(build_augmentation(Augmentation(**STRONG), SPEC, seed)(images, training=True)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(once, again)
    assert np.abs(once - other).max() > 1


def test_values_stay_in_range():
    changed = np.asarray(build_augmentation(Augmentation(**STRONG), SPEC, seed=1)(squares(64), training=True))
    assert changed.min() >= 0
    assert changed.max() <= 255.001


def test_a_shift_moves_both_ways_and_not_further():
    changed = np.asarray(RandomAffine(Augmentation(shift=0.25), seed=1)(squares(200), training=True))
    centres = np.array([moments(image)[:2] for image in changed]) - 13.5
    assert np.abs(centres).max() <= 7.01
    assert centres.min(axis=0).max() < -6
    assert centres.max(axis=0).min() > 6


def test_scale_is_the_size_relative_to_the_original():
    _, _, before, _ = moments(squares(1)[0])
    changed = np.asarray(RandomAffine(Augmentation(scale=(0.5, 1.5)), seed=1)(squares(200), training=True))
    ratios = np.array([moments(image)[2:] for image in changed]) / before
    assert 0.45 < ratios.min() < 0.6
    assert 1.4 < ratios.max() < 1.55
    np.testing.assert_allclose([moments(image)[:2] for image in changed], 13.5, atol=0.01)


def test_rotation_keeps_area_and_turns_a_bar():
    bar = np.zeros((200, 28, 28, 1), np.float32)
    bar[:, 6:22, 13:15] = 200
    changed = np.asarray(RandomAffine(Augmentation(rotation_degrees=90), seed=1)(bar, training=True))
    np.testing.assert_allclose(changed.sum(axis=(1, 2, 3)), bar[0].sum(), rtol=0.1)
    spreads = np.array([moments(image)[2:] for image in changed])
    assert (spreads[:, 1] > spreads[:, 0]).any()
    assert (spreads[:, 1] < spreads[:, 0]).any()


def test_only_the_share_is_moved():
    images = squares(400)
    changed = np.asarray(RandomAffine(Augmentation(shift=0.3, share=0.25), seed=1)(images, training=True))
    moved = np.abs(changed - images).max(axis=(1, 2, 3)) > 1
    assert 0.15 < moved.mean() < 0.35


def test_strokes_become_thicker_and_thinner():
    images = squares(100)
    changed = np.asarray(RandomStroke(Augmentation(stroke=1.0), seed=1)(images, training=True))
    areas = changed.sum(axis=(1, 2, 3)) / 200
    assert 36 <= areas.min() < 40  # 6 x 6
    assert 95 < areas.max() <= 100  # 10 x 10


@pytest.mark.parametrize("layer", [RandomAffine, RandomStroke])
def test_shapes_are_kept(layer: type):
    assert layer(Augmentation(**STRONG), seed=1)(squares(3), training=True).shape == (3, 28, 28, 1)
