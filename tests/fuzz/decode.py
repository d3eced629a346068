"""Decode any bytes as an image file: the result is a model input or an `ImageError`."""

from itertools import product

import cv2
import numpy as np

from vision.card import InputSpec
from vision.decode import ImageError, decode, read_header
from vision.preprocess import preprocess

MAX_PIXELS = 1_000_000
SPECS = [
    InputSpec(height=24, width=32, resize=resize, interpolation=interpolation)
    for resize, interpolation in product(("stretch", "center_crop", "letterbox"), ("nearest", "bilinear", "area"))
] + [InputSpec(height=28, width=28, color="GRAY", resize="fit_ink", invert_light_background=True)]

cv2.setNumThreads(1)
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def one_input(data: bytes) -> None:
    spec = SPECS[len(data) % len(SPECS)]
    cover = (spec.height, spec.width) if len(data) % 2 else None
    try:
        header = read_header(data)
        image = decode(data, max_pixels=MAX_PIXELS, background=spec.background, cover=cover)
    except ImageError as error:
        assert 0 < len(str(error)) < 500
        return
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert image.flags.c_contiguous
    assert image.shape[0] * image.shape[1] <= MAX_PIXELS
    if cover is None:
        assert sorted(image.shape[:2]) == sorted((header.height, header.width))
    result = preprocess(image, spec)
    assert (result.shape, result.dtype) == (spec.shape, np.dtype(spec.dtype))
