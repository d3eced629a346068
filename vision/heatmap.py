"""Where a model looked, drawn over the part of the picture that it saw.

The map is class activation mapping's or alike (Zhou et al., 2016, https://arxiv.org/abs/1512.04150): a number in 0..1
for each cell of a grid that covers the model's input. The picture is shown as `vision.preprocess` fits it: whole where
it is stretched, but in its own proportions, the middle where it is cropped, with its bars where there are any.
"""

import dataclasses

import cv2
import numpy as np
import numpy.typing as npt
from cv2.typing import MatLike

from vision.card import InputSpec
from vision.decode import decode
from vision.preprocess import preprocess

MIN_SIDE = 256
MAX_SIDE = 512
"""Limits of the longer side of what is drawn, in pixels: a map over fewer says little, over more it only costs."""

# It grows with the heat, so that what does not count stays as it was.
HOTTEST_WEIGHT = 0.7
_COLORS = cv2.COLORMAP_INFERNO  # told apart by lightness too
_UINT8_MAX = 255


def draw(data: bytes | memoryview, heat: npt.NDArray[np.float32], spec: InputSpec, *, max_pixels: int) -> bytes:
    """Draw a heat map over what a model saw of an image file.

    Args:
        data: The whole file.
        heat: float32[h, w] in 0..1, over the whole of the model's input.
        spec: How the file became that input.
        max_pixels: Most pixels, width times height, that the file may declare.

    Returns:
        A PNG file, 8 bits RGB, whose longer side has `MIN_SIDE` to `MAX_SIDE` pixels.

    Raises:
        ImageError: As `vision.decode.decode` does.
        ValueError: As `blend` does.
    """
    cover = None if spec.resize == "fit_ink" else (MAX_SIDE, MAX_SIDE)
    photo = decode(data, max_pixels=max_pixels, background=spec.background, cover=cover)
    _, png = cv2.imencode(".png", cv2.cvtColor(blend(seen(photo, spec), heat), cv2.COLOR_RGB2BGR))
    return png.tobytes()


def seen(photo: npt.NDArray[np.uint8], spec: InputSpec) -> npt.NDArray[np.uint8]:
    """Show what a model saw of a photo, in colour and at a size for people.

    Args:
        photo: uint8[H, W, 3], RGB, upright.
        spec: How the photo became the model's input.

    Returns:
        uint8[h, w, 3], RGB; the longer side has `MIN_SIDE` to `MAX_SIDE` pixels.
    """
    height, width = photo.shape[:2]
    if spec.resize == "fit_ink":  # that moves the drawing about: the input itself is the only picture of what was seen
        plain = dataclasses.replace(spec, dtype="uint8", layout="NHWC", mean=(), std=())
        ink = cv2.cvtColor(preprocess(photo, plain), cv2.COLOR_GRAY2RGB)
        return _scaled(ink, *_shown_size(spec.height, spec.width), enlarge=cv2.INTER_NEAREST)
    if spec.resize == "letterbox":
        scale = min(spec.height / height, spec.width / width)
        rows, columns = _shown_size(spec.height / scale, spec.width / scale)
        return _boxed(photo, spec, rows, columns)
    if spec.resize == "center_crop":
        scale = max(spec.height / height, spec.width / width)
        rows, columns = (max(1, round(side / scale)) for side in (spec.height, spec.width))
        top, left = (height - rows) // 2, (width - columns) // 2
        photo = photo[top : top + rows, left : left + columns]
    return _scaled(photo, *_shown_size(*photo.shape[:2]))


def blend(picture: npt.NDArray[np.uint8], heat: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Colour a picture by a heat map, the more the hotter.

    Args:
        picture: uint8[H, W, 3], RGB; not changed.
        heat: float32[h, w] in 0..1, over the whole picture.

    Returns:
        uint8[H, W, 3], RGB.

    Raises:
        ValueError: `heat` has no cells, or other than two dimensions.
    """
    if heat.ndim != len(("h", "w")) or heat.size == 0:
        raise ValueError(f"expected a heat map float32[h, w] with h, w >= 1, found {list(heat.shape)}")
    height, width = picture.shape[:2]
    smooth = np.clip(cv2.resize(heat, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)  # it overshoots
    colors = cv2.applyColorMap((smooth * _UINT8_MAX).round().astype(np.uint8), _COLORS)[..., ::-1]
    weight = (smooth * HOTTEST_WEIGHT)[..., np.newaxis]
    return np.asarray(picture * (1 - weight) + colors * weight).round().astype(np.uint8)


def _shown_size(height: float, width: float) -> tuple[int, int]:
    longer = max(height, width)
    scale = min(max(longer, MIN_SIDE), MAX_SIDE) / longer
    return max(1, round(height * scale)), max(1, round(width * scale))


def _scaled(picture: MatLike, height: int, width: int, enlarge: int = cv2.INTER_CUBIC) -> npt.NDArray[np.uint8]:
    interpolation = cv2.INTER_AREA if height < picture.shape[0] else enlarge
    return np.asarray(cv2.resize(picture, (width, height), interpolation=interpolation), np.uint8)


def _boxed(photo: MatLike, spec: InputSpec, height: int, width: int) -> npt.NDArray[np.uint8]:
    scale = min(height / photo.shape[0], width / photo.shape[1])
    rows, columns = (max(1, round(side * scale)) for side in photo.shape[:2])
    top, left = (height - rows) // 2, (width - columns) // 2
    boxed = np.full((height, width, 3), spec.background, np.uint8)
    boxed[top : top + rows, left : left + columns] = _scaled(photo, rows, columns)
    return boxed
