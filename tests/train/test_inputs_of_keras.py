"""A card prepares images as the functions of Keras do that people train with."""

from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest

from tests.support.striped_pictures import draw_stripes
from vision.card import InputSpec
from vision.preprocess import load

SIZES = [(75, 100), (101, 67), (13, 19), (1, 1), (64, 64), (48, 40), (29, 361), (200, 31)]
"""Height and width: landscape, portrait, tiny, a pixel, square, of the input, panorama, narrow."""
HEIGHT, WIDTH = 48, 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for index, size in enumerate(SIZES):
        cv2.imwrite(str(folder / f"{index}.png"), draw_stripes(*size))
    return folder


def load_with_card(folder: Path, **options: Any) -> list[np.ndarray]:
    spec = InputSpec(height=HEIGHT, width=WIDTH, **options)
    return [load(path.read_bytes(), spec, max_pixels=10**5).astype(float) for path in sorted(folder.iterdir())]


def largest_difference(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    return max(float(np.abs(one - other).max()) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("resize", ["stretch", "crop_to_aspect_ratio"])
def test_data_sets_of_a_directory(folder: Path, resize: str):
    data = keras.utils.image_dataset_from_directory(
        folder,
        labels=None,
        batch_size=None,
        image_size=(HEIGHT, WIDTH),
        shuffle=False,
        crop_to_aspect_ratio=resize == "crop_to_aspect_ratio",
        verbose=False,
    )
    ours = load_with_card(folder, resize=resize)

    assert largest_difference(ours, [image.numpy() for image in data]) <= 1


@pytest.mark.parametrize(
    ("interpolation", "options"),
    [
        ("nearest", {"interpolation": "nearest_exact"}),
        ("bilinear", {"interpolation": "bilinear", "antialias": True}),
        ("bicubic", {"interpolation": "bicubic", "antialias": True}),
    ],
)
def test_images_loaded_at_a_target_size(folder: Path, interpolation: str, options: dict[str, Any]):
    images = [
        keras.utils.load_img(path, target_size=(HEIGHT, WIDTH), interpolation=interpolation)
        for path in sorted(folder.iterdir())
    ]

    assert largest_difference(load_with_card(folder, **options), [np.asarray(image, float) for image in images]) == 0
