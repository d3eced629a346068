"""`vision.preprocess.load` as TensorFlow operations, for the signature `classify_bytes`.

The signature lets you query the model server directly with `curl`. For the predictions of the gateway send images to
the gateway, because this implementation is close to `vision` but not equal to it:

- It accepts TensorFlow's formats: JPEG, PNG, BMP and GIF (the first frame). It ignores the EXIF orientation, shows
  the hidden colours of transparent pixels, truncates 16 bits to 8, and converts CMYK JPEGs as libjpeg does.
- It decodes large JPEGs at full size, whatever `decoding` says, and does not limit the number of pixels.
- When enlarging, ``area`` repeats pixels, whereas OpenCV blends them. ``nearest`` takes the pixel at the centre, as
  ``nearest_exact`` does (rounding may take its neighbour), and OpenCV the one at the corner. ``bilinear`` and
  ``bicubic`` differ in rounding, and with `antialias`, in what ``bicubic`` overshoots, which Pillow cuts off twice.
- ``fit_ink`` does not widen thin strokes, and scales in one step.

Both leave an image of the model's size unchanged, up to one level of gray.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import tensorflow as tf

from vision.card import InputSpec, Interpolation, Resize
from vision.ink import BORDER_FRACTION, INNER_FRACTION, MID_GRAY, MIN_CONTRAST

Tensor: TypeAlias = Any
"""Any, because TensorFlow publishes no types."""

_GRAY_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601, as cv2.COLOR_RGB2GRAY
_WHITE = 255.0

_INTERPOLATIONS: Mapping[Interpolation, str] = {
    "nearest": tf.image.ResizeMethod.NEAREST_NEIGHBOR,
    "nearest_exact": tf.image.ResizeMethod.NEAREST_NEIGHBOR,
    "bilinear": tf.image.ResizeMethod.BILINEAR,
    "bicubic": tf.image.ResizeMethod.BICUBIC,
    "area": tf.image.ResizeMethod.AREA,
}


def input_from_bytes(data: Tensor, spec: InputSpec) -> Tensor:
    """Decode and prepare an image, a scalar string, as one model input, uint8[H, W, C]."""
    image = tf.cast(_decode(data), tf.float32)
    gray = tf.round(tf.tensordot(image, tf.constant(_GRAY_WEIGHTS), axes=1))[..., tf.newaxis]
    pixels = {"GRAY": gray, "RGB": image, "BGR": image[..., ::-1]}[spec.color]
    if spec.invert_light_background:
        pixels = tf.where(_background(gray) > MID_GRAY, _WHITE - pixels, pixels)
    if spec.resize_size is not None:
        fitted = _resize_and_crop(pixels, spec, spec.resize_size)
    else:
        size = tf.constant((spec.height, spec.width))
        fitted = tf.cond(
            tf.reduce_all(tf.shape(pixels)[:2] == size), lambda: pixels, lambda: _FITTERS[spec.resize](pixels, spec)
        )
    return tf.ensure_shape(tf.cast(tf.clip_by_value(tf.round(fitted), 0.0, _WHITE), tf.uint8), spec.shape)


def normalise(images: Tensor, spec: InputSpec) -> Tensor:
    """Convert uint8[N, H, W, C] to the value range and layout of `spec`, as `vision.preprocess` does."""
    pixels = images
    if spec.dtype == "float32":
        pixels = tf.cast(images, tf.float32)
    if spec.mean:
        pixels -= tf.constant(spec.mean)
    if spec.std:
        pixels /= tf.constant(spec.std)
    return tf.transpose(pixels, (0, 3, 1, 2)) if spec.layout == "NCHW" else pixels


def _decode(data: Tensor) -> Tensor:
    """Decode to uint8[H, W, 3]; JPEG with the exact transform, which `decode_image` cannot select."""
    return tf.cond(
        tf.io.is_jpeg(data),
        lambda: tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_image(data, channels=3, expand_animations=False),
    )


def _background(gray: Tensor) -> Tensor:
    """Return the median gray level of the border of float32[H, W, 1]."""
    width = tf.maximum(1, tf.cast(tf.cast(tf.reduce_min(tf.shape(gray)[:2]), tf.float32) * BORDER_FRACTION, tf.int32))
    edges = (gray[:width], gray[-width:], gray[:, :width], gray[:, -width:])
    ordered = tf.sort(tf.concat([tf.reshape(edge, [-1]) for edge in edges], axis=0))
    count = tf.size(ordered)
    return (ordered[(count - 1) // 2] + ordered[count // 2]) / 2


def _resize(pixels: Tensor, size: Tensor, spec: InputSpec) -> Tensor:
    method = _INTERPOLATIONS[spec.interpolation]
    return tf.cast(tf.image.resize(pixels, size, method, antialias=spec.antialias), tf.float32)


def _stretch(pixels: Tensor, spec: InputSpec) -> Tensor:
    return _resize(pixels, (spec.height, spec.width), spec)


def _center_crop(pixels: Tensor, spec: InputSpec) -> Tensor:
    scaled = _scale(pixels, tf.reduce_max(_scale_factors(pixels, (spec.height, spec.width))), spec)
    margin = tf.shape(scaled)[:2] - (spec.height, spec.width)
    top, left = margin[0] // 2, margin[1] // 2
    return scaled[top : top + spec.height, left : left + spec.width]


def _resize_and_crop(pixels: Tensor, spec: InputSpec, resize_size: int) -> Tensor:
    sides = tf.shape(pixels)[:2]
    scaled = _resize(pixels, resize_size * sides // tf.reduce_min(sides), spec)
    corner = tf.round((tf.shape(scaled)[:2] - (spec.height, spec.width)) / 2)  # to the even number, as in Python
    top, left = tf.unstack(tf.cast(corner, tf.int32))
    return scaled[top : top + spec.height, left : left + spec.width]


def _crop_to_aspect_ratio(pixels: Tensor, spec: InputSpec) -> Tensor:
    sides = tf.shape(pixels)[:2]
    size = tf.constant((spec.height, spec.width))
    cropped = tf.maximum(1, tf.minimum(sides, sides[::-1] * size // size[::-1]))
    top, left = tf.unstack((sides - cropped) // 2)
    return _stretch(pixels[top : top + cropped[0], left : left + cropped[1]], spec)


def _letterbox(pixels: Tensor, spec: InputSpec) -> Tensor:
    scaled = _scale(pixels, tf.reduce_min(_scale_factors(pixels, (spec.height, spec.width))), spec)
    background = tf.constant(spec.background, tf.float32)
    if spec.color == "GRAY":
        background = tf.round(tf.tensordot(background, tf.constant(_GRAY_WEIGHTS), axes=1))[tf.newaxis]
    elif spec.color == "BGR":
        background = background[::-1]
    if spec.invert_light_background:
        background = tf.minimum(background, _WHITE - background)
    margin = (spec.height, spec.width) - tf.shape(scaled)[:2]
    return background + _place(scaled - background, margin // 2, spec)


def _fit_ink(pixels: Tensor, spec: InputSpec) -> Tensor:
    """Do what `vision.ink.fit_ink` does, apart from the differences that the module lists."""
    ink = tf.maximum(pixels - tf.round(_background(pixels)), 0.0)
    return tf.cond(tf.reduce_max(ink) < MIN_CONTRAST, lambda: tf.zeros(spec.shape), lambda: _center_ink(ink, spec))


def _center_ink(ink: Tensor, spec: InputSpec) -> Tensor:
    ink *= _WHITE / tf.reduce_max(ink)
    strong = tf.where(ink[..., 0] > tf.floor(_WHITE / 2))
    first, last = tf.reduce_min(strong, axis=0), tf.reduce_max(strong, axis=0)
    ink = ink[first[0] : last[0] + 1, first[1] : last[1] + 1]
    ink = _scale(
        ink, tf.reduce_min(_scale_factors(ink, (spec.height * INNER_FRACTION, spec.width * INNER_FRACTION))), spec
    )
    sides = tf.cast(tf.shape(ink)[:2], tf.float32)
    rows, columns = tf.range(sides[0]), tf.range(sides[1])
    mass = tf.reduce_sum(ink)
    center_of_mass = tf.stack(
        [
            tf.reduce_sum(tf.reduce_sum(ink, axis=(1, 2)) * rows) / mass,
            tf.reduce_sum(tf.reduce_sum(ink, axis=(0, 2)) * columns) / mass,
        ]
    )
    size = tf.constant((spec.height, spec.width), tf.float32)
    corner = tf.clip_by_value(tf.round((size - 1) / 2 - center_of_mass), 0.0, size - sides)
    return _place(ink, tf.cast(corner, tf.int32), spec)


def _scale_factors(pixels: Tensor, size: tuple[float, float]) -> Tensor:
    """Return the factors that scale `pixels` to `size`: float32[2], rows and columns."""
    return tf.constant(size, tf.float32) / tf.cast(tf.shape(pixels)[:2], tf.float32)


def _scale(pixels: Tensor, factor: Tensor, spec: InputSpec) -> Tensor:
    sides = tf.floor(tf.cast(tf.shape(pixels)[:2], tf.float32) * factor + 0.5)
    sides = tf.maximum(1, tf.cast(sides, tf.int32))
    return _resize(pixels, sides, spec)


def _place(pixels: Tensor, corner: Tensor, spec: InputSpec) -> Tensor:
    """Pad `pixels` with zeros to the model's size, its top left corner at `corner` (row, column)."""
    rest = (spec.height, spec.width) - tf.shape(pixels)[:2] - corner
    return tf.pad(pixels, [[corner[0], rest[0]], [corner[1], rest[1]], [0, 0]])


_FITTERS: Mapping[Resize, Callable[[Tensor, InputSpec], Tensor]] = {
    "stretch": _stretch,
    "center_crop": _center_crop,
    "crop_to_aspect_ratio": _crop_to_aspect_ratio,
    "letterbox": _letterbox,
    "fit_ink": _fit_ink,
}
