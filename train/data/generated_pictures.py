"""Pictures made by a random generator, for what needs pictures of no kind in particular."""

from collections.abc import Sequence
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Picture: TypeAlias = npt.NDArray[np.uint8]

NOISE_SCALES = (2, 4, 8, 16, 32, 64, 128)
"""Sizes in pixels of the patches that a picture of noise consists of."""
CONTRAST = (30.0, 80.0)
"""Standard deviation of a picture of noise."""
BRIGHTNESS = (60.0, 190.0)
SHAPES = (5, 60)
"""Number of shapes in a drawing."""
BLUR = (0.3, 2.0)
"""Standard deviation of the blur of a drawing, in pixels."""
GRAIN = (0.0, 12.0)
"""Standard deviation of the noise that is added to a drawing."""
CORNERS = 5


def generate_pictures(count: int, height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Generate coloured noise of several scales and drawings of overlapping shapes, in turn.

    Drawings have flat areas and sharp edges, as photos have and noise lacks.

    Args:
        count: Number of pictures N.
        height: Rows H.
        width: Columns W.
        seed: Equal seeds give equal pictures.

    Returns:
        uint8[N, H, W, 3], RGB.
    """
    random = np.random.default_rng(seed)
    makers = (_noise, _drawing)
    return np.stack([makers[index % len(makers)](height, width, random) for index in range(count)])


def _noise(height: int, width: int, random: np.random.Generator) -> Picture:
    pixels = np.zeros((height, width, 3))
    for scale in NOISE_SCALES:
        patches = random.normal(size=(max(2, height // scale), max(2, width // scale), 3))
        smooth = cv2.resize(patches, (width, height), interpolation=cv2.INTER_CUBIC)
        pixels += smooth * random.uniform(0.2, 1.5) * scale**0.5
    pixels = (pixels - pixels.mean(axis=(0, 1))) / pixels.std()
    return _to_picture(pixels * random.uniform(*CONTRAST) + random.uniform(*BRIGHTNESS, 3))


def _drawing(height: int, width: int, random: np.random.Generator) -> Picture:
    canvas = np.full((height, width, 3), random.integers(0, 256, 3), np.uint8)
    for _ in range(random.integers(*SHAPES)):
        _draw_shape(canvas, random)
    blurred = cv2.GaussianBlur(canvas, (0, 0), random.uniform(*BLUR))
    return _to_picture(blurred + random.normal(size=canvas.shape) * random.uniform(*GRAIN))


def _draw_shape(canvas: Picture, random: np.random.Generator) -> None:
    height, width = canvas.shape[:2]
    color = [int(value) for value in random.integers(0, 256, 3)]
    corners = random.integers(0, (width, height), (CORNERS, 2)).astype(np.int32)
    center, end = (_point(corner) for corner in corners[:2])
    axes = _point(random.integers(2, max(3, min(height, width) // 3), 2))
    match random.integers(0, 3):
        case 0:
            cv2.ellipse(canvas, center, axes, float(random.uniform(0, 180)), 0, 360, color, cv2.FILLED, cv2.LINE_AA)
        case 1:
            cv2.fillPoly(canvas, [corners], color, cv2.LINE_AA)
        case _:
            cv2.line(canvas, center, end, color, int(random.integers(1, 9)), cv2.LINE_AA)


def _point(numbers: npt.NDArray[np.integer]) -> Sequence[int]:
    return [int(number) for number in numbers]


def _to_picture(pixels: npt.NDArray[np.float64]) -> Picture:
    return np.clip(pixels, 0, 255).astype(np.uint8)
