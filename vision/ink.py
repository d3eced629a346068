"""Drawings: detect a light background, and fit a drawing into MNIST's form."""

import cv2
import numpy as np
import numpy.typing as npt
from cv2.typing import MatLike

BORDER_FRACTION = 1 / 16  # of the shorter side, at least one pixel
MIN_CONTRAST = 32  # between background and strongest ink; with less, the image is blank
# MNIST: "normalized to fit in a 20x20 pixel box [...] and centered in a 28x28 image by computing the center of
# mass" (LeCun, Cortes, Burges, the MNIST database).
INNER_FRACTION = 20 / 28
MIN_STROKE_FRACTION = 2 / 20  # of the inner box; MNIST's strokes are 2 to 4 pixels wide
OVERSAMPLING = 8  # working pixels per pixel of the result: enough for strokes, and cheap for any image
SMALLEST_DRAWING = 1 / 5  # of a photo's shorter side, that still gets OVERSAMPLING
UINT8_MAX = 255
MID_GRAY = 127.5


def has_light_background(gray: MatLike) -> bool:
    """Return whether the border of uint8[H, W] is lighter than mid-gray.

    The border is 1/16 of the shorter side wide. Its median ignores ink that touches the edge, a thin frame, or a shadow
    in one corner.
    """
    return _background_level(gray) > MID_GRAY


def ink_cover(height: int, width: int) -> tuple[int, int]:
    """Return the size (height, width) above which a photo adds no detail to the result of `fit_ink`."""
    side = int(max(height, width) * OVERSAMPLING / SMALLEST_DRAWING)
    return side, side


def _background_level(gray: MatLike) -> float:
    """Return the median gray of the border."""
    border_width = max(1, int(min(gray.shape) * BORDER_FRACTION))
    edges = (gray[:border_width], gray[-border_width:], gray[:, :border_width], gray[:, -border_width:])
    # Counting takes a fifth of the time of numpy's median for a large image, and edge by edge the least memory.
    cumulative = np.sum([np.bincount(edge.ravel(), minlength=UINT8_MAX + 1) for edge in edges], axis=0).cumsum()
    size = int(cumulative[-1])
    below, above = cumulative.searchsorted([(size - 1) // 2, size // 2], side="right").tolist()
    return float(below + above) / 2


def fit_ink(gray: MatLike, height: int, width: int, interpolation: int) -> npt.NDArray[np.uint8]:
    """Fit light ink on a dark background into MNIST's form, whatever its position and size.

    The background, which is the median of the border, becomes 0 and the strongest ink 255. The bounding box of all ink
    of more than half that strength is scaled into the inner 20/28 of the result in its own proportions. Strokes thinner
    than 2/20 of the inner box are widened to that, since hairlines would fade when scaled. The centre of mass is moved
    to the middle, to the nearest pixel, as far as the box stays inside.

    Args:
        gray: uint8[H, W], light ink on a dark background.
        height: Rows of the result.
        width: Columns of the result.
        interpolation: OpenCV's interpolation flag.

    Returns:
        uint8[height, width]; all zeros if there is no ink.
    """
    ink = cv2.subtract(gray, np.full_like(gray, round(_background_level(gray))))
    if ink.max() < MIN_CONTRAST:
        return np.zeros((height, width), np.uint8)
    ink = _stretch_contrast(_crop(ink))
    inner = (height * INNER_FRACTION, width * INNER_FRACTION)
    working_scale = OVERSAMPLING * _scale_to_fit(ink, inner)
    if working_scale < 1:
        ink = _stretch_contrast(_scale(ink, working_scale, cv2.INTER_AREA))
    ink = _thicken(ink, MIN_STROKE_FRACTION * max(ink.shape))
    return _center(_scale(ink, _scale_to_fit(ink, inner), interpolation), height, width)


def _crop(ink: MatLike) -> MatLike:
    """Return the bounding box of all ink of more than half the greatest strength."""
    mask = ink > ink.max() // 2
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _stretch_contrast(ink: MatLike) -> MatLike:
    return cv2.convertScaleAbs(ink, alpha=UINT8_MAX / max(1, int(ink.max())))


def _scale_to_fit(ink: MatLike, inner: tuple[float, float]) -> float:
    height, width = ink.shape
    return float(min(inner[0] / height, inner[1] / width))


def _scale(ink: MatLike, scale: float, interpolation: int) -> MatLike:
    height, width = (max(1, round(side * scale)) for side in ink.shape)
    return cv2.resize(ink, (width, height), interpolation=interpolation)


def _thicken(ink: MatLike, stroke: float) -> MatLike:
    """Widen strokes that are thinner than `stroke` pixels to that width.

    The distance to the nearest edge, averaged over a stroke, is a quarter of its width.
    """
    mask = np.pad(ink > UINT8_MAX // 2, 1).astype(np.uint8)
    if not mask.any():  # dots so far apart that shrinking removed them
        return ink
    distances = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    extra = round(stroke - 4 * float(distances[distances > 0].mean()))
    if extra < 1:
        return ink
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (extra + 1, extra + 1))
    return cv2.dilate(np.pad(ink, (extra + 1) // 2), disc)


def _center(ink: MatLike, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Place `ink`, which is not larger than the result, with its centre of mass in the middle."""
    result = np.zeros((height, width), np.uint8)
    moments = cv2.moments(ink)
    top, left = (
        min(max(round((side - 1) / 2 - first_moment / max(1.0, moments["m00"])), 0), side - ink_side)
        for side, ink_side, first_moment in zip(result.shape, ink.shape, (moments["m01"], moments["m10"]), strict=True)
    )
    result[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return result
