"""Image -> model input, as the model card specifies. Training, evaluation and the gateway share this code.

The steps, in order:

1. **Colour**: RGB, BGR, or GRAY by OpenCV's weights: 0.299 R + 0.587 G + 0.114 B, rounded.
2. **Inversion** (`invert_light_background`): ``255 - x`` if the median of the image's border is above 127.5, so that
   ink is always light on a dark background.
3. **Size**. An image that already has the right size is not changed. ``cv2.resize`` does all sampling; except with
   ``area``, it does not smooth before it shrinks:

   - ``stretch`` scales both sides independently.
   - ``center_crop`` scales until the shorter side fits, sides rounded half up, and crops the middle; if the
     remainder is odd, the extra row or column is cut off at the bottom or right. If less than 1/16 of an image would be
     left, it is first cropped to roughly its middle, so that memory is only needed for the visible part.
   - ``letterbox`` scales until the longer side fits, rounded in the same way, and adds bars of the background colour,
     the wider one at the bottom or right. With `invert_light_background`, the bars have the darker of the background
     colour and its inverse, since the image's background is dark at this step.
   - ``fit_ink`` fits a drawing into MNIST's form; see `vision.ink`.

4. **Numbers**: uint8 is not changed; float32 is ``(x - mean) / std`` of x in 0..255. Then the layout.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt
from cv2.typing import MatLike

from vision.card import Color, InputSpec, Interpolation, Resize
from vision.decode import Header, decode, peak_bytes
from vision.ink import fit_ink, has_light_background, ink_cover

_DIMENSIONS = 3
_CHANNELS = 3

# A line of 1 x 10,000 pixels, scaled as a whole for an input of 224 x 224, would take 1.5 GB. Photos and panoramas stay
# below this ratio: cropping before scaling can shift positions by a rounding error.
_MAX_ASPECT_SCALED_WHOLE = 16
_SAMPLING_MARGIN = 3  # pixels around the crop: bicubic sampling reads two, rounding of the sides shifts by one

_INTERPOLATIONS: Mapping[Interpolation, int] = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
}


def load(
    data: bytes | memoryview, spec: InputSpec, *, max_pixels: int, header: Header | None = None
) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
    """Turn an image file into one model input: `read`, then `preprocess`.

    Args:
        data: The whole file.
        spec: Input of the model.
        max_pixels: Largest number of pixels, width times height, that the file may declare.
        header: What `vision.decode.inspect` returned for `data`, if it was called before.

    Returns:
        An array of ``spec.shape`` and ``spec.dtype``, C-contiguous.

    Raises:
        ImageError: As raised by `vision.decode.decode`.
    """
    return preprocess(read(data, spec, max_pixels=max_pixels, header=header), spec)


def read(
    data: bytes | memoryview, spec: InputSpec, *, max_pixels: int, header: Header | None = None
) -> npt.NDArray[np.uint8]:
    """Decode an image file at a size sufficient for a model input.

    A JPEG much larger than the input is decoded at a half, a quarter or an eighth of its size, which is faster and
    smoother. The pixels differ slightly from `vision.decode.decode` at full size, so this function must be used
    everywhere. ``nearest`` always reads the full size, since it samples single pixels; ``fit_ink`` reads enough for a
    drawing that covers a small part of the image.

    Args:
        data: The whole file.
        spec: Input of the model.
        max_pixels: Largest number of pixels, width times height, that the file may declare.
        header: What `vision.decode.inspect` returned for `data`, if it was called before.

    Returns:
        uint8[H, W, 3], RGB, for `preprocess`.

    Raises:
        ImageError: As raised by `vision.decode.decode`.
    """
    return decode(data, max_pixels=max_pixels, background=spec.background, cover=_cover(spec), header=header)


def weigh(header: Header, spec: InputSpec) -> int:
    """Return an upper bound of the bytes of memory that `load` takes for a file with this header, beside the file."""
    return peak_bytes(header, cover=_cover(spec))


def _cover(spec: InputSpec) -> tuple[int, int] | None:
    """Return the size that a decoded image must cover; None if it must not be reduced."""
    if spec.interpolation == "nearest":
        return None
    return ink_cover(spec.height, spec.width) if spec.resize == "fit_ink" else (spec.height, spec.width)


def preprocess(image: npt.NDArray[np.uint8], spec: InputSpec) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
    """Turn a decoded image into one model input.

    Args:
        image: uint8[H, W, 3], RGB, not modified.
        spec: Input of the model.

    Returns:
        An array of ``spec.shape`` and ``spec.dtype``, C-contiguous; it may share memory with `image`.

    Raises:
        ValueError: `image` is not uint8[H, W, 3], or has no pixels.
    """
    if image.dtype != np.uint8 or image.ndim != _DIMENSIONS or image.shape[2] != _CHANNELS or image.size == 0:
        raise ValueError(f"expected uint8[H, W, 3] with H, W >= 1, found {image.dtype}{list(image.shape)}")
    # In this order, at most one copy in colour is held beside the image; `vision.headers.memory` counts on it.
    is_inverted = spec.invert_light_background and has_light_background(_to_color(image, "GRAY"))
    pixels = _to_color(image, spec.color)
    if is_inverted:
        pixels = cv2.bitwise_not(pixels, dst=None if pixels is image else pixels)
    if pixels.shape[:2] != (spec.height, spec.width):
        pixels = _FITTERS[spec.resize](pixels, spec)
    return _to_tensor(pixels, spec)


def _to_color(image: MatLike, color: Color) -> MatLike:
    """Convert uint8[H, W, 3] RGB to `color`; gray is uint8[H, W]."""
    if color == "RGB":
        return image
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY if color == "GRAY" else cv2.COLOR_RGB2BGR)


def _stretch(pixels: MatLike, spec: InputSpec) -> MatLike:
    return cv2.resize(pixels, (spec.width, spec.height), interpolation=_INTERPOLATIONS[spec.interpolation])


def _center_crop(pixels: MatLike, spec: InputSpec) -> MatLike:
    height, width = pixels.shape[:2]
    scale = max(spec.height / height, spec.width / width)
    rows, columns = spec.height / scale, spec.width / scale
    if max(height / rows, width / columns) > _MAX_ASPECT_SCALED_WHOLE:
        pixels = _crop_middle(pixels, math.ceil(rows) + 2 * _SAMPLING_MARGIN, math.ceil(columns) + 2 * _SAMPLING_MARGIN)
    scaled = _scale(pixels, scale, spec)
    return _crop_middle(scaled, spec.height, spec.width)[: spec.height, : spec.width]


def _crop_middle(pixels: MatLike, rows: int, columns: int) -> MatLike:
    """Crop the middle, with one more row or column at the end if it cannot be centred to the pixel."""
    height, width = pixels.shape[:2]
    top, left = max(0, height - rows) // 2, max(0, width - columns) // 2
    return pixels[top : height - top, left : width - left]


def _letterbox(pixels: MatLike, spec: InputSpec) -> MatLike:
    height, width = pixels.shape[:2]
    scaled = _scale(pixels, min(spec.height / height, spec.width / width), spec)
    rows, columns = spec.height - scaled.shape[0], spec.width - scaled.shape[1]
    top, left = rows // 2, columns // 2
    bars = _bar_color(spec)
    return cv2.copyMakeBorder(scaled, top, rows - top, left, columns - left, cv2.BORDER_CONSTANT, value=bars)


def _scale(pixels: MatLike, scale: float, spec: InputSpec) -> MatLike:
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
    """Convert pixels to the dtype and layout of the model, and normalize them."""
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
