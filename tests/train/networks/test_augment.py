"""Each augmentation changes images as documented, and only in training."""

from typing import Any

import cv2
import numpy as np
import pytest

from train.config.optimization import Augmentation
from train.networks.augment import RandomAffine, RandomNoise, RandomStroke, build_augmentation, build_mixing
from vision.card import InputSpec

SPEC = InputSpec(height=28, width=28, color="GRAY")
COLOUR = InputSpec(height=28, width=28)
PHOTOS = np.random.default_rng(0).integers(0, 256, (100, 28, 28, 3)).astype(np.float32)
STRONG: dict[str, Any] = {
    "stroke": 0.5,
    "contrast": 0.5,
    "brightness": 0.2,
    "crop": (0.5, 1.0),
    "erase": 0.5,
    "rotation_degrees": 20,
    "scale": (0.5, 1.5),
    "shear": 0.2,
    "shift": 0.2,
    "flip": True,
    "flip_vertical": True,
    "shift_pixels": 3,
    "blur": 0.5,
    "noise": 0.1,
    "jpeg": 0.5,
}


def squares(count: int) -> np.ndarray:
    """Return float32[N, 28, 28, 1] with a light square of 8 x 8 in the centre of each."""
    images = np.zeros((count, 28, 28, 1), np.float32)
    images[:, 10:18, 10:18] = 200
    return images


def moments(image: np.ndarray) -> tuple[float, float, float, float]:
    """Return centre (y, x) and spread (y, x) of the light in float32[H, W, 1], in pixels."""
    weights = image[..., 0] / image.sum()
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    centre_y, centre_x = (weights * y).sum(), (weights * x).sum()
    spread_y, spread_x = (weights * (y - centre_y) ** 2).sum(), (weights * (x - centre_x) ** 2).sum()
    return float(centre_y), float(centre_x), float(spread_y**0.5), float(spread_x**0.5)


def test_images_are_unchanged_outside_training():
    images = squares(4)
    augmentation = build_augmentation(Augmentation(**STRONG), SPEC, seed=1)

    np.testing.assert_array_equal(augmentation(images, training=False), images)


def test_images_are_unchanged_by_default():
    images = squares(4)
    changed = build_augmentation(Augmentation(), SPEC, seed=1)(images, training=True)

    np.testing.assert_allclose(changed, images, atol=1e-3)


def test_the_same_seed_draws_the_same_changes():
    images = squares(8)
    first, again, other = (
        np.asarray(build_augmentation(Augmentation(**STRONG), SPEC, seed)(images, training=True)) for seed in (1, 1, 2)
    )

    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1


def test_values_stay_in_range():
    changed = np.asarray(build_augmentation(Augmentation(**STRONG), SPEC, seed=1)(squares(64), training=True))

    assert changed.min() >= 0
    assert changed.max() <= 255.001


def test_a_shift_moves_both_ways_up_to_the_limit():
    changed = np.asarray(RandomAffine(Augmentation(shift=0.25), seed=1)(squares(200), training=True))
    centres = np.array([moments(image)[:2] for image in changed]) - 13.5

    assert np.abs(centres).max() <= 7.01
    assert centres.min(axis=0).max() < -6
    assert centres.max(axis=0).min() > 6


def test_scale_is_relative_to_the_original_size():
    _, _, original_spread, _ = moments(squares(1)[0])
    changed = np.asarray(RandomAffine(Augmentation(scale=(0.5, 1.5)), seed=1)(squares(200), training=True))
    ratios = np.array([moments(image)[2:] for image in changed]) / original_spread

    assert 0.45 < ratios.min() < 0.6
    assert 1.4 < ratios.max() < 1.55
    np.testing.assert_allclose([moments(image)[:2] for image in changed], 13.5, atol=0.01)


def test_rotation_keeps_the_area_and_turns_a_bar():
    bar = np.zeros((200, 28, 28, 1), np.float32)
    bar[:, 6:22, 13:15] = 200
    changed = np.asarray(RandomAffine(Augmentation(rotation_degrees=90), seed=1)(bar, training=True))

    np.testing.assert_allclose(changed.sum(axis=(1, 2, 3)), bar[0].sum(), rtol=0.1)

    spreads = np.array([moments(image)[2:] for image in changed])

    assert (spreads[:, 1] > spreads[:, 0]).any()
    assert (spreads[:, 1] < spreads[:, 0]).any()


def gradient(count: int) -> np.ndarray:
    """Return float32[N, 28, 28, 2] whose channels are the column and the row of each pixel."""
    rows, columns = np.mgrid[:28, :28].astype(np.float32)
    return np.repeat(np.stack([columns, rows], axis=-1)[None], count, axis=0)


def test_a_crop_is_enlarged_to_the_whole_image():
    changed = np.asarray(RandomAffine(Augmentation(crop=(0.25, 0.5)), seed=1)(gradient(300), training=True))
    first, last = changed[:, 0, 0], changed[:, -1, -1]  # corners: column and row in the original
    width, height = ((last - first) / 27).T

    assert (width * height).min() > 0.249
    assert (width * height).max() < 0.501
    assert np.ptp(width * height) > 0.2
    assert (width / height).min() == pytest.approx(3 / 4, abs=0.02)
    assert (width / height).max() == pytest.approx(4 / 3, abs=0.03)
    assert first.min() < 1
    assert last.max() > 26
    assert first.min() >= -1e-3
    assert last.max() <= 27 + 1e-3
    np.testing.assert_allclose(np.diff(changed[0, 0, :, 0]), width[0], atol=1e-3)


def test_a_crop_of_the_whole_area_stays_within_the_image():
    changed = np.asarray(RandomAffine(Augmentation(crop=(1.0, 1.0)), seed=1)(gradient(50), training=True))

    assert changed.min() >= -1e-3
    assert changed.max() <= 27 + 1e-3


def test_only_the_configured_share_is_transformed():
    images = squares(400)
    changed = np.asarray(RandomAffine(Augmentation(shift=0.3, share=0.25), seed=1)(images, training=True))
    transformed = np.abs(changed - images).max(axis=(1, 2, 3)) > 1

    assert 0.15 < transformed.mean() < 0.35


def test_strokes_become_thicker_and_thinner():
    images = squares(100)
    changed = np.asarray(RandomStroke(Augmentation(stroke=1.0), seed=1)(images, training=True))
    areas = changed.sum(axis=(1, 2, 3)) / 200

    assert 36 <= areas.min() < 40  # 6 x 6
    assert 95 < areas.max() <= 100  # 10 x 10


@pytest.mark.parametrize("layer", [RandomAffine, RandomStroke])
def test_shapes_stay_the_same(layer: type):
    assert layer(Augmentation(**STRONG), seed=1)(squares(3), training=True).shape == (3, 28, 28, 1)


@pytest.mark.parametrize(("change", "axis"), [("flip", 2), ("flip_vertical", 1)])
def test_a_flip_mirrors_half_of_the_images_one_way(change: str, axis: int):
    images = np.random.default_rng(0).uniform(0, 255, (200, 28, 28, 1)).astype(np.float32)
    changed = np.asarray(build_augmentation(Augmentation(**{change: True}), SPEC, seed=1)(images, training=True))
    mirrored = (changed == np.flip(images, axis)).all(axis=(1, 2, 3))
    same = (changed == images).all(axis=(1, 2, 3))

    assert (mirrored | same).all()
    assert 0.35 < mirrored.mean() < 0.65


def test_shift_pixels_moves_up_to_the_limit_and_reflects_at_the_edge():
    image = np.random.default_rng(0).uniform(0, 255, (28, 28, 1)).astype(np.float32)
    layer = build_augmentation(Augmentation(shift_pixels=1), SPEC, seed=1)
    changed = np.asarray(layer(np.stack([image] * 100), training=True))
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    crops = {padded[y : y + 28, x : x + 28].tobytes() for y in range(3) for x in range(3)}

    assert {each.tobytes() for each in changed} == crops


def test_blur_softens_a_share_of_the_images():
    images = squares(200)
    changed = np.asarray(build_augmentation(Augmentation(blur=0.5), SPEC, seed=1)(images, training=True))
    blurred = np.abs(changed - images).max(axis=(1, 2, 3)) > 1

    assert 0.35 < blurred.mean() < 0.65

    edges = np.abs(np.diff(changed, axis=1)).max(axis=(1, 2, 3))

    assert edges[blurred].max() < 200 == edges[~blurred].min()


def test_saturation_changes_by_a_factor_and_brightness_stays():
    layer = build_augmentation(Augmentation(saturation=0.5), COLOUR, seed=1)
    changed = np.asarray(layer(PHOTOS[:1], training=True))
    before, after = (cv2.cvtColor(image / 255, cv2.COLOR_RGB2HSV) for image in (PHOTOS[0], changed[0]))
    unclipped = (after[..., 1] < 0.999) & (before[..., 1] > 0.01)
    factors = after[unclipped][:, 1] / before[unclipped][:, 1]

    assert np.ptp(factors) < 0.01
    assert 1 / 3 < factors.mean() < 3
    np.testing.assert_allclose(after[..., 2], before[..., 2], atol=1e-3)


def test_saturation_grows_and_shrinks_within_the_range_of_pixels():
    changed = np.asarray(build_augmentation(Augmentation(saturation=0.5), COLOUR, seed=1)(PHOTOS, training=True))
    spread_before, spread_after = (np.ptp(images, axis=-1).mean(axis=(1, 2)) for images in (PHOTOS, changed))

    assert changed.min() > -1e-3
    assert changed.max() < 255.001
    assert (spread_after < spread_before - 1).any()
    assert (spread_after > spread_before + 1).any()


def test_hue_turns_both_ways_up_to_the_limit():
    red = np.full((200, 28, 28, 3), (200, 0, 0), np.float32)
    changed = np.asarray(build_augmentation(Augmentation(hue=0.5), COLOUR, seed=1)(red, training=True))
    hues = np.array([cv2.cvtColor(image[:1, :1] / 255, cv2.COLOR_RGB2HSV)[0, 0, 0] for image in changed])
    degrees = (hues + 180) % 360 - 180

    assert np.abs(degrees).max() <= 90.1
    assert degrees.min() < -80
    assert degrees.max() > 80


def test_a_rectangle_of_a_share_of_the_images_is_erased():
    grey = np.full((200, 28, 28, 3), 100, np.float32)
    changed = np.asarray(build_augmentation(Augmentation(erase=0.5), COLOUR, seed=1)(grey, training=True))
    erased = (changed != 100).any(axis=-1)
    areas = erased.mean(axis=(1, 2))

    assert 0.35 < (areas > 0).mean() < 0.65
    assert areas.max() < 0.4
    rectangle = erased[areas.argmax()]
    assert rectangle.sum() == rectangle.any(axis=0).sum() * rectangle.any(axis=1).sum()


def test_noise_has_the_configured_deviation():
    grey = np.full((20, 28, 28, 1), 128, np.float32)
    changed = np.asarray(RandomNoise(Augmentation(noise=0.05), seed=1)(grey, training=True)) - 128

    assert changed.std() == pytest.approx(0.05 * 255, rel=0.05)
    assert changed.mean() == pytest.approx(0, abs=1)


def test_jpeg_changes_a_share_of_the_images_a_little():
    images = np.random.default_rng(0).integers(0, 256, (200, 28, 28, 3)).astype(np.float32)
    config = Augmentation(jpeg=0.5, jpeg_quality=(90, 90))
    changed = np.asarray(build_augmentation(config, COLOUR, seed=1)(images, training=True))
    recoded = (changed != images).any(axis=(1, 2, 3))

    assert 0.35 < recoded.mean() < 0.65
    assert np.abs(changed - images)[recoded].mean() < 60


def test_rand_augment_changes_colour_images():
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 3)).astype(np.float32)
    layer = build_augmentation(Augmentation(rand_augment=0.5), COLOUR, seed=1)
    changed = np.stack([np.asarray(layer(images, training=True)) for _ in range(4)])

    assert np.abs(changed - images).max() > 10
    assert 0 <= changed.min() <= changed.max() <= 255
    np.testing.assert_array_equal(layer(images, training=False), images)


@pytest.mark.parametrize("config", [Augmentation(mix_up=1.0), Augmentation(cut_mix=1.0)], ids=["mix_up", "cut_mix"])
def test_targets_are_mixed_like_images(config: Augmentation):
    targets = np.eye(8, dtype=np.float32)
    images = np.zeros((8, 32, 32, 8), np.float32) + 100 * targets[:, None, None, :]  # a channel for each image
    mixed = build_mixing(config, seed=1)({"images": images, "labels": targets}, training=True)
    shares = np.asarray(mixed["images"]).mean(axis=(1, 2)) / 100

    np.testing.assert_allclose(np.asarray(mixed["labels"]).sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(mixed["labels"], shares, atol=0.06)  # cut_mix cuts at whole pixels
    assert ((shares > 0.1) & (shares < 0.9)).any()


def test_only_the_configured_share_is_mixed():
    targets = np.eye(2, dtype=np.float32)[np.arange(200) % 2]
    images = np.zeros((200, 8, 8, 2), np.float32) + 100 * targets[:, None, None, :]
    layer = build_mixing(Augmentation(mix_up=1.0, mix_share=0.5), seed=1)
    mixed = layer({"images": images, "labels": targets}, training=True)
    changed = np.abs(np.asarray(mixed["labels"]) - targets).max(axis=1) > 0

    assert 0.1 < changed.mean() < 0.4  # half of the images meet another of their own class
    np.testing.assert_allclose(
        np.asarray(mixed["images"]).mean(axis=(1, 2)), 100 * np.asarray(mixed["labels"]), atol=0.1
    )


def test_without_mixing_batches_stay_unchanged():
    images, targets = squares(4), np.eye(4, dtype=np.float32)
    mixed = build_mixing(Augmentation(), seed=1)({"images": images, "labels": targets}, training=True)

    np.testing.assert_array_equal(mixed["images"], images)
    np.testing.assert_array_equal(mixed["labels"], targets)
