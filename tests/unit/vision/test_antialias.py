"""Images are resized as by Pillow, and cropped as by torchvision."""

import hashlib
import io
import json
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.support import image_files as files
from tests.support.striped_pictures import draw_stripes
from vision import antialias
from vision.card import InputSpec
from vision.preprocess import load, preprocess

RECORDED = Path(__file__).parent / "recorded/torchvision.json"
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
NEAREST = Image.Resampling.NEAREST
SIZES = [(60, 90), (301, 223), (1, 9), (20, 1), (32, 24)]


def resize_with_pillow(image: np.ndarray, height: int, width: int, interpolation: str) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height), FILTERS[interpolation]))


def torchvision_spec(recorded: dict) -> InputSpec:
    height, width = recorded["crop_size"]
    return InputSpec(
        height=height,
        width=width,
        resize="center_crop",
        resize_size=recorded["resize_size"],
        interpolation=recorded["interpolation"],
        antialias=True,
    )


def digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def test_inputs_equal_those_of_torchvision_to_the_bit():
    records = json.loads(RECORDED.read_text(encoding="utf-8"))
    sizes = {recorded["picture"]: recorded["size"] for recorded in records}
    pictures = {name: draw_stripes(*size) for name, size in sizes.items()}

    different = [
        recorded
        for recorded in records
        if digest(preprocess(pictures[recorded["picture"]], torchvision_spec(recorded))) != recorded["sha256"]
    ]

    assert len(records) == 54
    assert different == []


@pytest.mark.parametrize("interpolation", FILTERS)
def test_smoothed_images_equal_those_of_pillow(interpolation):
    for size, color in product(SIZES, ("RGB", "BGR", "GRAY")):
        image = draw_stripes(*size)
        spec = InputSpec(height=32, width=24, color=color, interpolation=interpolation, antialias=True)

        result = preprocess(image, spec)

        pixels = {"RGB": image, "BGR": image[..., ::-1].copy(), "GRAY": cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)}[color]
        expected = resize_with_pillow(pixels, 32, 24, interpolation)
        assert np.array_equal(result, expected.reshape(spec.shape)), (size, color)


def test_pixels_at_the_centre_are_those_of_pillow():
    for (rows, columns), (height, width), color in product(SIZES, [(32, 24), (40, 64), (7, 640)], ("RGB", "GRAY")):
        image = draw_stripes(rows, columns)
        spec = InputSpec(height=height, width=width, color=color, interpolation="nearest_exact")

        result = preprocess(image, spec)

        pixels = image if color == "RGB" else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        expected = np.asarray(Image.fromarray(pixels).resize((width, height), NEAREST)).reshape(spec.shape)
        assert np.array_equal(result, expected), (rows, columns, height, width)


@pytest.mark.parametrize("resize", ["center_crop", "crop_to_aspect_ratio", "letterbox"])
def test_cropped_and_padded_images_are_smoothed_too(resize):
    image = draw_stripes(400, 600)

    smooth = preprocess(image, InputSpec(height=40, width=40, resize=resize, antialias=True))

    area = preprocess(image, InputSpec(height=40, width=40, resize=resize, interpolation="area"))
    sampled = preprocess(image, InputSpec(height=40, width=40, resize=resize))
    assert np.abs(smooth.astype(int) - area).mean() < np.abs(sampled.astype(int) - area).mean() / 3


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("resize_size", [None, 56])
@pytest.mark.parametrize("size", [(4, 801), (801, 4), (1, 900), (200, 9_001), (150, 2_700)], ids=str)
def test_the_crop_of_a_long_image_resembles_that_of_the_whole(size, resize_size, interpolation):
    image = cv2.resize(draw_stripes(3, 5), size[::-1], interpolation=cv2.INTER_LINEAR)
    spec = InputSpec(
        height=50, width=50, resize="center_crop", resize_size=resize_size, interpolation=interpolation, antialias=True
    )

    result = preprocess(image, spec)

    side = resize_size or 50
    height, width = (length * side // min(size) for length in size)
    whole = resize_with_pillow(image, height, width, interpolation)
    top, left = (height - 50) // 2, (width - 50) // 2
    assert np.abs(result.astype(int) - whole[top : top + 50, left : left + 50]).max() <= 3


def test_a_narrow_image_is_widened_without_a_large_intermediate_one(monkeypatch):
    image = cv2.resize(draw_stripes(9, 3), (5, 3_000), interpolation=cv2.INTER_LINEAR)
    expected = resize_with_pillow(image, 40, 400, "bicubic")
    monkeypatch.setattr(antialias, "MAX_WIDENED_PIXELS", 100_000)
    sizes = []
    resize = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda *arguments: sizes.append(arguments[1]) or resize(*arguments))

    result = antialias.resize(image, 40, 400, "bicubic")

    assert sizes == [(5, 40), (400, 40)] * 3
    assert np.abs(result.astype(int) - expected).max() <= 2


def test_a_jpeg_and_a_png_of_its_pixels_are_one_input_if_decoded_in_full():
    jpeg = files.encoded(draw_stripes(600, 900), ".jpg")
    stream = io.BytesIO()
    Image.open(io.BytesIO(jpeg)).save(stream, "PNG")
    full = InputSpec(height=64, width=64, resize="center_crop", resize_size=72, antialias=True, decoding="full")
    scaled = InputSpec(height=64, width=64, resize="center_crop", resize_size=72, antialias=True)

    of_jpeg, of_png, of_scaled = (
        load(data, spec, max_pixels=600 * 900)
        for data, spec in ((jpeg, full), (stream.getvalue(), full), (jpeg, scaled))
    )

    assert np.array_equal(of_jpeg, of_png)
    assert not np.array_equal(of_scaled, of_png)
