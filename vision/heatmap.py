"""Heat maps of a prediction, drawn over the part of the image that the model sees.

A heat map, as from class activation mapping (Zhou et al., 2016, https://arxiv.org/abs/1512.04150), has a number in 0..1
for each cell of a grid over the model's input. The image is shown as `vision.preprocess` fits it: the whole image in
its own proportions for ``stretch``, the middle for ``center_crop`` and ``crop_to_aspect_ratio``, with bars for
``letterbox``.
"""

import dataclasses

import cv2
import numpy as np
import numpy.typing as npt
from cv2.typing import MatLike

from vision.card import InputSpec
from vision.decode import Header, decode, peak_bytes
from vision.preprocess import center_crop_scale, preprocess

MIN_SIDE = 256
MAX_SIDE = 512
"""Limits of the drawing's longer side in pixels: a smaller drawing shows little, a larger one only costs time."""

BLEND_PIXEL_BYTES = 48
"""Memory that `blend` takes for each pixel: several arrays of floating-point numbers."""
HOTTEST_WEIGHT = 0.7  # weights grow with the heat, so that cold areas are not coloured
_COLORS = cv2.COLORMAP_INFERNO  # its lightness increases, so that it also reads in gray
_UINT8_MAX = 255


def draw(
    data: bytes | memoryview,
    heat: npt.NDArray[np.float32],
    spec: InputSpec,
    *,
    max_pixels: int,
    header: Header | None = None,
) -> bytes:
    """Draw a heat map over the part of an image file that a model sees.

    Args:
        data: The whole file.
        heat: float32[h, w] in 0..1, over the whole input of the model.
        spec: Input of the model.
        max_pixels: Largest number of pixels, width times height, that the file may declare.
        header: What `vision.decode.inspect` returned for `data`, if it was called before.

    Returns:
        A PNG file, 8-bit RGB, whose longer side has `MIN_SIDE` to `MAX_SIDE` pixels.

    Raises:
        ImageError: As raised by `vision.decode.decode`.
        ValueError: As raised by `blend`.
    """
    image = decode(data, max_pixels=max_pixels, background=spec.background, cover=_cover(spec), header=header)
    _, png = cv2.imencode(".png", cv2.cvtColor(blend(render_view(image, spec), heat), cv2.COLOR_RGB2BGR))
    return png.tobytes()


def weigh(header: Header, spec: InputSpec) -> int:
    """Return an upper bound of the bytes of memory that `draw` takes for a file with this header, beside the file."""
    return peak_bytes(header, cover=_cover(spec)) + MAX_SIDE * MAX_SIDE * BLEND_PIXEL_BYTES


def _cover(spec: InputSpec) -> tuple[int, int] | None:
    return None if spec.resize == "fit_ink" else (MAX_SIDE, MAX_SIDE)


def render_view(image: npt.NDArray[np.uint8], spec: InputSpec) -> npt.NDArray[np.uint8]:
    """Render the part of an image that a model sees, in colour and at a size for display.

    Args:
        image: uint8[H, W, 3], RGB, upright.
        spec: Input of the model.

    Returns:
        uint8[h, w, 3], RGB; the longer side has `MIN_SIDE` to `MAX_SIDE` pixels.
    """
    height, width = image.shape[:2]
    if spec.resize == "fit_ink":  # moves and scales the drawing, so the input itself is shown
        plain = dataclasses.replace(spec, dtype="uint8", layout="NHWC", mean=(), std=())
        ink = cv2.cvtColor(preprocess(image, plain), cv2.COLOR_GRAY2RGB)
        return _scale(ink, *_display_size(spec.height, spec.width), enlarge=cv2.INTER_NEAREST)
    if spec.resize == "letterbox":
        scale = min(spec.height / height, spec.width / width)
        rows, columns = _display_size(spec.height / scale, spec.width / scale)
        return _letterbox(image, spec, rows, columns)
    if spec.resize in {"center_crop", "crop_to_aspect_ratio"}:
        scale = center_crop_scale(height, width, spec)
        rows, columns = (max(1, round(side / scale)) for side in (spec.height, spec.width))
        top, left = (height - rows) // 2, (width - columns) // 2
        image = image[top : top + rows, left : left + columns]
    return _scale(image, *_display_size(*image.shape[:2]))


def blend(image: npt.NDArray[np.uint8], heat: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Colour an image by a heat map, stronger where it is hotter.

    Args:
        image: uint8[H, W, 3], RGB, not modified.
        heat: float32[h, w] in 0..1, over the whole image.

    Returns:
        uint8[H, W, 3], RGB.

    Raises:
        ValueError: `heat` has no cells, or does not have two dimensions.
    """
    if heat.ndim != len(("h", "w")) or heat.size == 0:
        raise ValueError(f"expected a heat map float32[h, w] with h, w >= 1, found {list(heat.shape)}")
    height, width = image.shape[:2]
    smooth = np.clip(cv2.resize(heat, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)  # cubic overshoots
    colors = cv2.applyColorMap((smooth * _UINT8_MAX).round().astype(np.uint8), _COLORS)[..., ::-1]
    weight = (smooth * HOTTEST_WEIGHT)[..., np.newaxis]
    return np.asarray(image * (1 - weight) + colors * weight).round().astype(np.uint8)


def _display_size(height: float, width: float) -> tuple[int, int]:
    longer = max(height, width)
    scale = min(max(longer, MIN_SIDE), MAX_SIDE) / longer
    return max(1, round(height * scale)), max(1, round(width * scale))


def _scale(image: MatLike, height: int, width: int, enlarge: int = cv2.INTER_CUBIC) -> npt.NDArray[np.uint8]:
    interpolation = cv2.INTER_AREA if height < image.shape[0] else enlarge
    return np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), np.uint8)


def _letterbox(image: MatLike, spec: InputSpec, height: int, width: int) -> npt.NDArray[np.uint8]:
    scale = min(height / image.shape[0], width / image.shape[1])
    rows, columns = (max(1, round(side * scale)) for side in image.shape[:2])
    top, left = (height - rows) // 2, (width - columns) // 2
    canvas = np.full((height, width, 3), spec.background, np.uint8)
    canvas[top : top + rows, left : left + columns] = _scale(image, rows, columns)
    return canvas
