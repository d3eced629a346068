"""Picture -> one model input, as the model card says. Training, evaluation and the gateway all call this.

The steps, in this order:

1. **Colour**: RGB, BGR, or GRAY as OpenCV weighs it: 0.299 R + 0.587 G + 0.114 B, rounded.
2. **Inversion** (`invert_light_background`): ``255 - x`` where the median of the picture's border is above 127.5, so
   that ink is light on a dark ground whichever way it was drawn.
3. **Size**. A picture that has the right size already passes through untouched. All sampling is
   ``cv2.resize``'s, which does not smooth before it shrinks, except with ``area``:

   - ``stretch`` scales both sides independently.
   - ``center_crop`` scales until the shorter side fits, sides rounded half up, and cuts the middle out; of an
     odd remainder the extra row or column goes at the bottom or right. A picture of which less than 1/16 would
     be left is cut to about its middle first, which costs memory for what is seen of it alone.
   - ``letterbox`` scales until the longer side fits, rounded likewise, and puts bars of the background colour
     around, the wider one at the bottom or right. With `invert_light_background` the bars take the darker of
     the background and its inverse, as the ground is dark by then.
   - ``fit_ink`` brings a drawing into MNIST's form: see `vision.ink`.

4. **Numbers**: uint8 stays as it is; float32 becomes ``(x - mean) / std`` of x in 0..255. Then the layout.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt
from cv2.typing import MatLike

from vision.card import Color, InputSpec, Interpolation, Resize
from vision.decode import decode
from vision.ink import fit_ink, has_light_ground, ink_cover

_DIMENSIONS = 3
_CHANNELS = 3

# Scaled whole on its way to 224 x 224, a line of 1 x 10,000 pixels would take 1.5 GB. Photos, panoramas among them,
# stay below: what is cut first can differ from what is cut last by the rounding of positions.
_LONGEST_SCALED_WHOLE = 16
_SAMPLING_MARGIN = 3  # pixels around what is cut out: bicubic sampling looks at two, rounding of the sides moves by one

_INTERPOLATIONS: Mapping[Interpolation, int] = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
}


def load(
    data: bytes | memoryview, spec: InputSpec, *, max_pixels: int
) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
    """Make one model input of an image file: `read` it, then `preprocess` the picture.

    Args:
        data: The whole file.
        spec: What the model takes.
        max_pixels: Most pixels, width times height, that the file may declare.

    Returns:
        An array of ``spec.shape`` and ``spec.dtype``, C-contiguous.

    Raises:
        ImageError: As `vision.decode.decode` does.
    """
    return preprocess(read(data, spec, max_pixels=max_pixels), spec)


def read(data: bytes | memoryview, spec: InputSpec, *, max_pixels: int) -> npt.NDArray[np.uint8]:
    """Decode an image file as large as a model input needs it.

    A JPEG much larger than the input is decoded at a half, a quarter or an eighth of its size, which is both
    faster and smoother; pixels differ slightly from `decode` and `preprocess` in turn, so use this one
    function everywhere. Sampling by ``nearest`` wants every pixel and gets full size; ``fit_ink`` gets as many
    as a sign that takes a small part of the picture needs.

    Args:
        data: The whole file.
        spec: What the model takes.
        max_pixels: Most pixels, width times height, that the file may declare.

    Returns:
        uint8[H, W, 3], RGB, for `preprocess`.

    Raises:
        ImageError: As `vision.decode.decode` does.
    """
    cover: tuple[int, int] | None = (spec.height, spec.width)
    if spec.interpolation == "nearest":
        cover = None
    elif spec.resize == "fit_ink":
        cover = ink_cover(spec.height, spec.width)
    return decode(data, max_pixels=max_pixels, background=spec.background, cover=cover)


def preprocess(image: npt.NDArray[np.uint8], spec: InputSpec) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
    """Make one model input of a picture.

    Args:
        image: uint8[H, W, 3], RGB; not changed.
        spec: What the model takes.

    Returns:
        An array of ``spec.shape`` and ``spec.dtype``, C-contiguous; it may share memory with `image`.

    Raises:
        ValueError: `image` is no uint8[H, W, 3] with pixels in it.
    """
    if image.dtype != np.uint8 or image.ndim != _DIMENSIONS or image.shape[2] != _CHANNELS or image.size == 0:
        raise ValueError(f"expected uint8[H, W, 3] with H, W >= 1, found {image.dtype}{list(image.shape)}")
    pixels = _to_color(image, spec.color)
    if spec.invert_light_background and has_light_ground(_to_color(image, "GRAY")):
        pixels = cv2.bitwise_not(pixels)
    if pixels.shape[:2] != (spec.height, spec.width):
        pixels = _FITTERS[spec.resize](pixels, spec)
    return _to_tensor(pixels, spec)


def _to_color(image: MatLike, color: Color) -> MatLike:
    """Convert RGB; gray has no axis of channels."""
    if color == "RGB":
        return image
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY if color == "GRAY" else cv2.COLOR_RGB2BGR)


def _stretch(pixels: MatLike, spec: InputSpec) -> MatLike:
    return cv2.resize(pixels, (spec.width, spec.height), interpolation=_INTERPOLATIONS[spec.interpolation])


def _center_crop(pixels: MatLike, spec: InputSpec) -> MatLike:
    height, width = pixels.shape[:2]
    scale = max(spec.height / height, spec.width / width)
    rows, columns = spec.height / scale, spec.width / scale
    if max(height / rows, width / columns) > _LONGEST_SCALED_WHOLE:
        pixels = _middle(pixels, math.ceil(rows) + 2 * _SAMPLING_MARGIN, math.ceil(columns) + 2 * _SAMPLING_MARGIN)
    scaled = _scaled(pixels, scale, spec)
    return _middle(scaled, spec.height, spec.width)[: spec.height, : spec.width]


def _middle(pixels: MatLike, rows: int, columns: int) -> MatLike:
    """Cut out the middle, with a row or column more at the end where there is no middle of that size to the pixel."""
    height, width = pixels.shape[:2]
    top, left = max(0, height - rows) // 2, max(0, width - columns) // 2
    return pixels[top : height - top, left : width - left]


def _letterbox(pixels: MatLike, spec: InputSpec) -> MatLike:
    height, width = pixels.shape[:2]
    scaled = _scaled(pixels, min(spec.height / height, spec.width / width), spec)
    rows, columns = spec.height - scaled.shape[0], spec.width - scaled.shape[1]
    top, left = rows // 2, columns // 2
    bars = _bar_color(spec)
    return cv2.copyMakeBorder(scaled, top, rows - top, left, columns - left, cv2.BORDER_CONSTANT, value=bars)


def _scaled(pixels: MatLike, scale: float, spec: InputSpec) -> MatLike:
    height, width = (max(1, int(side * scale + 0.5)) for side in pixels.shape[:2])
    return cv2.resize(pixels, (width, height), interpolation=_INTERPOLATIONS[spec.interpolation])


def _bar_color(spec: InputSpec) -> Sequence[float]:
    color = _to_color(np.array([[spec.background]], np.uint8), spec.color)
    if spec.invert_light_background:
        color = np.minimum(color, cv2.bitwise_not(color))
    return [float(value) for value in color.ravel()]


def _fit_ink(pixels: MatLike, spec: InputSpec) -> MatLike:
    return fit_ink(pixels, spec.height, spec.width, _INTERPOLATIONS[spec.interpolation])


_FITTERS: Mapping[Resize, Callable[[MatLike, InputSpec], MatLike]] = {
    "stretch": _stretch,
    "center_crop": _center_crop,
    "letterbox": _letterbox,
    "fit_ink": _fit_ink,
}


def _to_tensor(pixels: MatLike, spec: InputSpec) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
    """Give pixels the dtype and layout of the model."""
    axes = (2, 0, 1) if spec.layout == "NCHW" else (0, 1, 2)
    samples = pixels.reshape(spec.height, spec.width, spec.channels).transpose(axes)
    if spec.dtype == "uint8":
        return np.ascontiguousarray(samples, np.uint8)
    normalized = np.ascontiguousarray(samples, np.float32)
    per_channel = (-1, 1, 1) if spec.layout == "NCHW" else (1, 1, -1)
    if spec.mean:
        normalized -= np.array(spec.mean, np.float32).reshape(per_channel)
    if spec.std:
        normalized /= np.array(spec.std, np.float32).reshape(per_channel)
    return normalized
