"""Drawings: which side of a picture is the ground, and a drawn sign brought into the form of MNIST."""

import cv2
import numpy as np
import numpy.typing as npt
from cv2.typing import MatLike

BORDER_FRACTION = 1 / 16  # of the shorter side, at least a pixel
MIN_CONTRAST = 32  # between ground and strongest ink; below it a sheet counts as blank
# MNIST: "normalized to fit in a 20x20 pixel box [...] and centered in a 28x28 image by computing the center of
# mass" (LeCun, Cortes, Burges, the MNIST database).
INNER_FRACTION = 20 / 28
MIN_STROKE_FRACTION = 2 / 20  # of the inner box; MNIST's own strokes are 2 to 4 pixels wide
OVERSAMPLING = 8  # working pixels for one of the result, enough for strokes and cheap for any picture
SMALLEST_SIGN = 1 / 5  # of a photo's shorter side, that is still seen with OVERSAMPLING
UINT8_MAX = 255
MID_GRAY = 127.5


def has_light_ground(gray: MatLike) -> bool:
    """Tell whether uint8[H, W] is lighter than mid-gray along its border.

    The median of a border of 1/16 of the shorter side is taken, so that ink which touches the edge, a thin
    frame, or a shadow in one corner does not count.
    """
    return _ground(gray) > MID_GRAY


def ink_cover(height: int, width: int) -> tuple[int, int]:
    """Tell how large a photo has to be for `fit_ink`, as (height, width): larger ones show nothing that stays."""
    side = int(max(height, width) * OVERSAMPLING / SMALLEST_SIGN)
    return side, side


def _ground(gray: MatLike) -> float:
    wide = max(1, int(min(gray.shape) * BORDER_FRACTION))
    edges = (gray[:wide], gray[-wide:], gray[:, :wide], gray[:, -wide:])
    border = np.concatenate([edge.ravel() for edge in edges])
    # The median by counting, which takes a fifth of numpy's time where the picture is large.
    up_to = np.bincount(border).cumsum()
    below, above = up_to.searchsorted([(border.size - 1) // 2, border.size // 2], side="right").tolist()
    return float(below + above) / 2


def fit_ink(gray: MatLike, height: int, width: int, interpolation: int) -> npt.NDArray[np.uint8]:
    """Bring light ink on a dark ground into MNIST's form, wherever and however large it was drawn.

    The ground, its median along the border, becomes 0 and the strongest ink 255. The box around all ink of
    at least half that strength is scaled into the inner 20/28 of the result, its proportions kept. Strokes
    thinner than 2 of those 20 are widened to that, since hairlines would fade away in scaling. The
    centre of mass comes to the middle, to the nearest pixel, as far as the box stays inside.

    Args:
        gray: uint8[H, W], light ink on a dark ground.
        height: Rows of the result.
        width: Columns of the result.
        interpolation: OpenCV's flag for the scaling.

    Returns:
        uint8[height, width]; all zeros where there is no ink.
    """
    ink = cv2.subtract(gray, np.full_like(gray, round(_ground(gray))))
    if ink.max() < MIN_CONTRAST:
        return np.zeros((height, width), np.uint8)
    ink = _full_range(_cropped(ink))
    inner = (height * INNER_FRACTION, width * INNER_FRACTION)
    working_scale = OVERSAMPLING * _scale_into(ink, inner)
    if working_scale < 1:
        ink = _full_range(_scaled(ink, working_scale, cv2.INTER_AREA))
    ink = _thickened(ink, MIN_STROKE_FRACTION * max(ink.shape))
    return _centered(_scaled(ink, _scale_into(ink, inner), interpolation), height, width)


def _cropped(ink: MatLike) -> MatLike:
    """Return the box around all ink of at least half the greatest strength."""
    strong = ink > ink.max() // 2
    rows, columns = np.flatnonzero(strong.any(axis=1)), np.flatnonzero(strong.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _full_range(ink: MatLike) -> MatLike:
    return cv2.convertScaleAbs(ink, alpha=UINT8_MAX / max(1, int(ink.max())))


def _scale_into(ink: MatLike, inner: tuple[float, float]) -> float:
    height, width = ink.shape
    return float(min(inner[0] / height, inner[1] / width))


def _scaled(ink: MatLike, scale: float, interpolation: int) -> MatLike:
    height, width = (max(1, round(side * scale)) for side in ink.shape)
    return cv2.resize(ink, (width, height), interpolation=interpolation)


def _thickened(ink: MatLike, stroke: float) -> MatLike:
    """Widen strokes to `stroke` pixels where they are thinner.

    The distance to the nearest edge, averaged over a stroke, is a quarter of its width.
    """
    mask = np.pad(ink > UINT8_MAX // 2, 1).astype(np.uint8)
    if not mask.any():  # dots so far apart that shrinking made them vanish
        return ink
    distances = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    missing = round(stroke - 4 * float(distances[distances > 0].mean()))
    if missing < 1:
        return ink
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (missing + 1, missing + 1))
    return cv2.dilate(np.pad(ink, (missing + 1) // 2), disc)


def _centered(ink: MatLike, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Place `ink`, which is no larger, so that its centre of mass is in the middle."""
    result = np.zeros((height, width), np.uint8)
    moments = cv2.moments(ink)
    top, left = (
        min(max(round((side - 1) / 2 - first / max(1.0, moments["m00"])), 0), side - ink_side)
        for side, ink_side, first in zip(result.shape, ink.shape, (moments["m01"], moments["m10"]), strict=True)
    )
    result[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return result
