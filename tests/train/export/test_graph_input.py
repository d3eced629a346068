"""The graph prepares encoded images as `vision` does, except for the differences that the module lists."""

import itertools
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf

from tests.support.striped_pictures import draw_stripes
from train.export.graph_input import input_from_bytes
from vision.card import InputSpec
from vision.preprocess import load

DRAWING: dict[str, Any] = {"color": "GRAY", "interpolation": "area", "invert_light_background": True}


def prepare_in_graph(data: bytes, spec: InputSpec) -> np.ndarray:
    """Prepare an image with a graph that is traced for unknown sizes, as in an exported signature."""
    traced = tf.function(lambda text: input_from_bytes(text, spec), input_signature=[tf.TensorSpec((), tf.string)])
    return traced(tf.constant(data)).numpy()


def load_with_vision(data: bytes, spec: InputSpec) -> np.ndarray:
    return load(data, spec, max_pixels=10**6).astype(int)


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def photo(height: int, width: int) -> np.ndarray:
    """uint8[H, W, 3], smooth colours."""
    coarse = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def drawing(height: int, width: int, text: str = "5") -> np.ndarray:
    """uint8[H, W, 3], a dark digit on light paper, off centre."""
    paper = np.full((height, width, 3), 240, np.uint8)
    return cv2.putText(paper, text, (width // 4, height * 2 // 3), cv2.FONT_HERSHEY_SIMPLEX, 6, (30, 20, 20), 28)


@pytest.mark.parametrize("resize", ["stretch", "center_crop", "letterbox"])
def test_bilinear_differs_only_in_rounding(resize: Any):
    largest_differences = {}
    for color, size in itertools.product(("RGB", "BGR", "GRAY"), ((100, 150), (150, 101), (32, 48))):
        spec = InputSpec(height=32, width=48, color=color, resize=resize, background=(10, 200, 90))
        data = png(photo(*size))

        difference = np.abs(prepare_in_graph(data, spec) - load_with_vision(data, spec))

        largest_differences[color, size] = difference.max()

    assert max(largest_differences.values()) <= 2, largest_differences


@pytest.mark.parametrize(("interpolation", "tolerance"), [("area", 2), ("bicubic", 4)])
def test_other_interpolations_are_as_close_when_shrinking(interpolation: Any, tolerance: int):
    spec = InputSpec(height=32, width=48, resize="letterbox", interpolation=interpolation)
    data = png(photo(200, 160))

    difference = np.abs(prepare_in_graph(data, spec) - load_with_vision(data, spec))

    assert difference.max() <= tolerance


RECIPES: dict[str, dict[str, Any]] = {
    "torchvision": {"resize": "center_crop", "resize_size": 56, "antialias": True},
    "torchvision, oblong": {"resize": "center_crop", "resize_size": 60, "height": 59, "width": 41, "antialias": True},
    "torchvision, of tensors": {"resize": "center_crop", "resize_size": 56},
    "Keras, crop_to_aspect_ratio": {"resize": "crop_to_aspect_ratio", "height": 30},
    "Keras, load_img": {"interpolation": "nearest_exact"},
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_the_inputs_of_other_frameworks_differ_only_in_rounding(recipe: dict[str, Any]):
    spec = InputSpec(**{"height": 48, "width": 48} | recipe)
    largest_differences = {}
    for size in ((100, 150), (151, 100), (48, 48), (57, 56), (20, 31), (60, 500)):
        data = png(draw_stripes(*size))

        difference = np.abs(prepare_in_graph(data, spec) - load_with_vision(data, spec))

        largest_differences[size] = difference.max()

    assert max(largest_differences.values()) <= 1, largest_differences


def test_smoothed_bicubic_differs_where_pillow_cuts_off_what_overshoots():
    spec = InputSpec(height=48, width=48, resize="center_crop", resize_size=56, interpolation="bicubic", antialias=True)
    data = png(draw_stripes(100, 150))

    difference = np.abs(prepare_in_graph(data, spec) - load_with_vision(data, spec))

    assert difference.mean() < 0.3
    assert difference.max() <= 4


@pytest.mark.parametrize("resize", ["letterbox", "fit_ink"])
@pytest.mark.parametrize(("height", "width"), [(300, 400), (400, 300)])
def test_a_drawing_on_light_paper_is_inverted_and_fitted(resize: Any, height: int, width: int):
    spec = InputSpec(height=28, width=28, resize=resize, **DRAWING)
    data = png(drawing(height, width))

    difference = np.abs(prepare_in_graph(data, spec) - load_with_vision(data, spec))

    assert difference.mean() < 3
    assert difference.max() < 64


def test_an_image_of_the_model_size_is_unchanged():
    spec = InputSpec(height=28, width=28, resize="fit_ink", **DRAWING)
    image = np.random.default_rng(0).integers(0, 100, (28, 28, 1), np.uint8)

    np.testing.assert_array_equal(prepare_in_graph(png(image.repeat(3, axis=2)), spec), image)


def test_a_blank_sheet_is_only_background():
    spec = InputSpec(height=28, width=28, resize="fit_ink", **DRAWING)

    assert prepare_in_graph(png(np.full((300, 400, 3), 250, np.uint8)), spec).max() == 0


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".png", ".gif"])
def test_the_formats_of_tensorflow_are_accepted(suffix: str):
    spec = InputSpec(height=16, width=16)
    data = cv2.imencode(suffix, photo(16, 16))[1].tobytes()

    difference = np.abs(prepare_in_graph(data, spec) - load_with_vision(data, spec))

    assert difference.max() <= 3


def test_bytes_that_are_not_an_image_are_refused():
    with pytest.raises(tf.errors.InvalidArgumentError):
        prepare_in_graph(b"text", InputSpec(height=16, width=16))
