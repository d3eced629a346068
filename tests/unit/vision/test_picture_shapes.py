"""Every shape of picture is decoded to the right pixels, or refused; see `tests.support.picture_shapes`."""

import time
from collections.abc import Iterator

import numpy as np
import pytest

from tests.support.picture_shapes import BACKGROUND, Shape, sampled, shapes
from vision.card import InputSpec
from vision.decode import ImageError, inspect
from vision.isolation.pool import DecoderPool
from vision.preprocess import load, weigh

MAX_PIXELS = 1_000_000
SHAPES = {shape.name: shape for shape in shapes()}


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    pool = DecoderPool(processes=1, max_memory_bytes=256 << 20, max_pixels=MAX_PIXELS)
    yield pool
    pool.close()


def decoded(shape: Shape, pool: DecoderPool) -> np.ndarray:
    """Decode where the gateway would: here if the file is plain, in a decoder process otherwise."""
    header = inspect(shape.data, max_pixels=MAX_PIXELS)
    width, height = shape.size
    spec = InputSpec(height=height, width=width, interpolation="nearest", background=BACKGROUND)
    if header.is_plain:
        return load(shape.data, spec, max_pixels=MAX_PIXELS, header=header)
    return pool.load(shape.data, spec, memory_bytes=weigh(header, spec), deadline_s=time.monotonic() + 60)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES.values() if shape.colors], ids=lambda shape: shape.name)
def test_picture_has_the_right_colours(shape, pool):
    colors = sampled(decoded(shape, pool))

    assert np.abs(np.array(colors) - np.array(shape.colors)).max() <= shape.tolerance, colors


@pytest.mark.parametrize(
    "shape", [shape for shape in SHAPES.values() if not shape.colors], ids=lambda shape: shape.name
)
def test_picture_that_cannot_be_shown_is_refused(shape, pool):
    with pytest.raises(ImageError):
        decoded(shape, pool)


@pytest.mark.parametrize("code", [0, 34712, 34713, 65000])
def test_an_unknown_compression_is_named(code, pool):
    shape = SHAPES[f"tiff compression {code}"]

    with pytest.raises(ImageError, match=rf"its compression, number {code}, is not supported"):
        decoded(shape, pool)


def test_the_shapes_are_many_and_have_names_of_their_own():
    assert len(SHAPES) == len(shapes()) > 300
