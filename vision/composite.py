"""Composite transparent pixels onto a background colour."""

import numpy as np
import numpy.typing as npt
from cv2.typing import MatLike

from vision.headers.memory import BAND_PIXELS

UINT8_MAX = 255


def composite(color: MatLike, alpha: MatLike, background: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Return ``color * alpha + background * (1 - alpha)`` (Porter and Duff, 1984, "over"), rounded to nearest.

    Working in bands of rows keeps the intermediate arrays small.

    Args:
        color: uint8[H, W, 3], RGB.
        alpha: uint8[H, W].
        background: RGB, 0..255.

    Returns:
        uint8[H, W, 3], RGB.
    """
    height, width = alpha.shape
    rgb = np.empty((height, width, 3), np.uint8)
    backdrop = np.array(background, np.uint16)
    rows = max(1, BAND_PIXELS // width)
    for top in range(0, height, rows):
        band = slice(top, top + rows)
        weight = alpha[band, :, None].astype(np.uint16)
        mixed = color[band] * weight + backdrop * (UINT8_MAX - weight)  # at most 255 * 255, which fits in 16 bits
        rgb[band] = (mixed + UINT8_MAX // 2) // UINT8_MAX
    return rgb
