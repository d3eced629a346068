"""Image -> model input, as the model card specifies. Training, evaluation and the gateway share this code.

The steps, in order:

1. **Colour**: RGB, BGR, or GRAY by OpenCV's weights: 0.299 R + 0.587 G + 0.114 B, rounded.
2. **Inversion** (`invert_light_background`): ``255 - x`` if the median of the image's border is above 127.5, so that
   ink is always light on a dark background.
3. **Size**. An image that already has the right size is not changed, unless there is a `resize_size`. ``cv2.resize``
   does all sampling, and except with ``area``, it does not smooth before it shrinks. With `antialias`, Pillow does
   (`vision.antialias`). ``nearest`` takes the pixel at the corner, ``nearest_exact`` the one at the centre, as Pillow:

   - ``stretch`` scales both sides independently.
   - ``center_crop`` scales until the shorter side fits, sides rounded half up, and crops the middle; if the
     remainder is odd, the extra row or column is cut off at the bottom or right. If less than 1/16 of an image would be
     left, it is first cropped to roughly its middle, so that memory is only needed for the visible part.
   - ``center_crop`` with a `resize_size` does what torchvision's ``Resize(resize_size)`` and ``CenterCrop`` do: the
     shorter side gets this length, the longer one is rounded down, and an odd remainder is halved to the even number.
     An image longer than 16 times its shorter side is first cropped to roughly its middle.
   - ``crop_to_aspect_ratio`` crops the middle to the proportions of the input, and then scales it, as Keras'
     ``image_dataset_from_directory`` does. Lengths and offsets are rounded down.
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

from vision import antialias
from vision.card import Color, InputSpec, Interpolation, Resize
from vision.decode import Header, decode, decoded_size, peak_bytes
from vision.headers.memory import PREPROCESS_PIXEL_BYTES, RGB_CHANNELS
from vision.ink import fit_ink, has_light_background, ink_cover

_DIMENSIONS = 3
_CHANNELS = 3

# A line of 1 x 10,000 pixels, scaled as a whole for an input of 224 x 224, would take 1.5 GB. Photos and panoramas stay
# below this ratio: cropping before scaling can shift positions by a rounding error.
_MAX_ASPECT_SCALED_WHOLE = 16
_RESULT_COPIES = 2  # with bars or as bytes
_SAMPLING_MARGIN = 3  # pixels around the crop: bicubic sampling reads two, rounding of the sides shifts by one

_INTERPOLATIONS: Mapping[Interpolation, int] = {
    "nearest": cv2.INTER_NEAREST,
    "nearest_exact": cv2.INTER_NEAREST_EXACT,
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

    Unless `decoding` is ``full``, a JPEG much larger than the input is decoded at a half, a quarter or an eighth of its
    size, which is faster and smoother. The pixels differ slightly from `vision.decode.decode` at full size, so this
    function must be used everywhere. ``nearest`` and ``nearest_exact`` always read the full size, since they sample
    single pixels; ``fit_ink`` reads enough for a drawing that covers a small part of the image.

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
    cover = _cover(spec)
    size = decoded_size(header, cover)
    scaled_size = _scaled_size(size, spec)
    peak = peak_bytes(header, cover=cover)
    if spec.antialias:
        smoothing = antialias.peak_bytes(size, scaled_size)
        peak = max(peak, PREPROCESS_PIXEL_BYTES * math.prod(size) + smoothing)
    scaled = _RESULT_COPIES * RGB_CHANNELS * math.prod(scaled_size)
    return peak + scaled + _RESULT_COPIES * math.prod(spec.shape) * np.dtype(spec.dtype).itemsize


def is_decoded_smaller(header: Header, spec: InputSpec) -> bool:
    """Return whether `read` decodes a file with this header at less than its full size."""
    return decoded_size(header, _cover(spec)) != (header.width, header.height)


def _cover(spec: InputSpec) -> tuple[int, int] | None:
    """Return the size that a decoded image must cover; None if it must not be reduced."""
    if spec.decoding == "full" or spec.interpolation in {"nearest", "nearest_exact"}:
        return None
    if spec.resize == "fit_ink":
        return ink_cover(spec.height, spec.width)
    return (spec.resize_size or spec.height, spec.resize_size or spec.width)


def _scaled_size(size: tuple[int, int], spec: InputSpec) -> tuple[int, int]:
    """Return an upper bound of the size to which an image of `size` is scaled before it is cropped."""
    if spec.resize != "center_crop":
        return spec.height, spec.width
    shorter = spec.resize_size or max(spec.height, spec.width)
    return shorter, math.ceil(shorter * min(max(size) / min(size), _MAX_ASPECT_SCALED_WHOLE))


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
    if pixels.shape[:2] != (spec.height, spec.width) or spec.resize_size is not None:
        pixels = _FITTERS[spec.resize](pixels, spec)
    return _to_tensor(pixels, spec)


def _to_color(image: MatLike, color: Color) -> MatLike:
    """Convert uint8[H, W, 3] RGB to `color`; gray is uint8[H, W]."""
    if color == "RGB":
        return image
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY if color == "GRAY" else cv2.COLOR_RGB2BGR)


def center_crop_scale(height: int, width: int, spec: InputSpec) -> float:
    """Return the factor by which ``center_crop`` scales an image of `height` x `width` pixels before it crops."""
    if spec.resize_size is not None:
        return spec.resize_size / min(height, width)
    return max(spec.height / height, spec.width / width)


def _resize(pixels: MatLike, height: int, width: int, spec: InputSpec) -> MatLike:
    if spec.antialias:
        return antialias.resize(pixels, height, width, spec.interpolation)
    if spec.interpolation == "nearest_exact":
        rows, columns = _nearest_indices(pixels.shape[0], height), _nearest_indices(pixels.shape[1], width)
        return pixels[rows[:, np.newaxis], columns]
    return cv2.resize(pixels, (width, height), interpolation=_INTERPOLATIONS[spec.interpolation])


def _nearest_indices(length: int, result_length: int) -> npt.NDArray[np.intp]:
    """Return the index of the pixel at the centre of each of the result's.

    Steps are added up as in Pillow: if a centre lies on the border of two pixels, rounding decides, and OpenCV takes
    the other one at times.
    """
    steps = np.full(result_length, length / result_length)
    steps[0] /= 2
    return steps.cumsum().astype(np.intp)


def _stretch(pixels: MatLike, spec: InputSpec) -> MatLike:
    return _resize(pixels, spec.height, spec.width, spec)


def _center_crop(pixels: MatLike, spec: InputSpec) -> MatLike:
    if spec.resize_size is not None:
        return _resize_and_crop(pixels, spec, spec.resize_size)
    height, width = pixels.shape[:2]
    scale = center_crop_scale(height, width, spec)
    rows, columns = spec.height / scale, spec.width / scale
    if max(height / rows, width / columns) > _MAX_ASPECT_SCALED_WHOLE:
        margin = math.ceil(_SAMPLING_MARGIN * max(1, 1 / scale)) if spec.antialias else _SAMPLING_MARGIN
        pixels = _crop_middle(pixels, math.ceil(rows) + 2 * margin, math.ceil(columns) + 2 * margin)
    scaled = _scale(pixels, scale, spec)
    return _crop_middle(scaled, spec.height, spec.width)[: spec.height, : spec.width]


def _resize_and_crop(pixels: MatLike, spec: InputSpec, resize_size: int) -> MatLike:
    """Do what torchvision's transforms ``Resize`` and ``CenterCrop`` do, in their arithmetic."""
    shorter = min(pixels.shape[:2])
    if max(pixels.shape[:2]) > _MAX_ASPECT_SCALED_WHOLE * shorter:
        # What is read lies within the length of the shorter side, and half of that on both sides.
        length = 2 * (shorter + _SAMPLING_MARGIN)
        pixels = _crop_middle(pixels, length, length)
    height, width = (resize_size * side // shorter for side in pixels.shape[:2])
    scaled = _resize(pixels, height, width, spec)
    top, left = round((height - spec.height) / 2), round((width - spec.width) / 2)
    return scaled[top : top + spec.height, left : left + spec.width]


def _crop_to_aspect_ratio(pixels: MatLike, spec: InputSpec) -> MatLike:
    height, width = pixels.shape[:2]
    rows = max(1, min(height, width * spec.height // spec.width))
    columns = max(1, min(width, height * spec.width // spec.height))
    top, left = (height - rows) // 2, (width - columns) // 2
    return _stretch(pixels[top : top + rows, left : left + columns], spec)


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
    return _resize(pixels, height, width, spec)


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
    "crop_to_aspect_ratio": _crop_to_aspect_ratio,
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
