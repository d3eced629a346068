"""Augmentation of training images, with layers that Keras lacks; never part of an exported model."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import layers, ops

from train.config.optimization import AFFINE_KEYS, Augmentation
from vision.card import InputSpec

MAX_LOG_ASPECT = math.log(4 / 3)
"""Of crops, as in section 3 of https://arxiv.org/abs/1409.4842."""


def build_augmentation(config: Augmentation, spec: InputSpec, seed: int) -> keras.Model:
    """Build a model from float32[N, H, W, C] of 0..255 to the same, which changes each image at random in training.

    Brightness changes precede geometric ones, so that a lighter background ends at an edge, as in a letterboxed image.
    Blur and noise of a camera follow, and JPEG encoding is last, as for an image that is sent to the service.
    """
    value_range = {"value_range": (0, 255)}
    blur_factor = (config.blur, config.blur)
    saturation_factor = ((1 - config.saturation) / 2, (1 + config.saturation) / 2)
    steps: list[tuple[object, Any]] = [  # condition and factory
        (config.rand_augment, lambda: layers.RandAugment(factor=config.rand_augment, seed=seed + 7, **value_range)),
        (config.stroke, lambda: RandomStroke(config, seed)),
        (config.contrast, lambda: layers.RandomContrast(config.contrast, seed=seed + 1, **value_range)),
        (config.brightness, lambda: layers.RandomBrightness((0.0, config.brightness), seed=seed + 2, **value_range)),
        # Saturation is 0..1 whatever the range of the pixels, and the layer clips it to `value_range`.
        (config.saturation, lambda: layers.RandomSaturation(saturation_factor, value_range=(0, 1), seed=seed + 14)),
        (config.hue, lambda: layers.RandomHue((0.0, config.hue), seed=seed + 15, **value_range)),
        (config.is_set(*AFFINE_KEYS), lambda: RandomAffine(config, seed + 3)),
        (config.flip, lambda: layers.RandomFlip("horizontal", seed=seed + 4)),
        (config.flip_vertical, lambda: layers.RandomFlip("vertical", seed=seed + 8)),
        (config.shift_pixels, lambda: RandomShift(config, seed + 5)),
        (config.blur, lambda: layers.RandomGaussianBlur(blur_factor, sigma=(0.5, 1.0), seed=seed + 9, **value_range)),
        (config.erase, lambda: layers.RandomErasing((config.erase, config.erase), seed=seed + 13, **value_range)),
        (config.noise, lambda: RandomNoise(config, seed + 10)),
        (config.jpeg, lambda: RandomJpeg(config, seed + 6)),
    ]
    active = [create() for condition, create in steps if condition] or [layers.Identity()]  # Keras requires one
    return keras.Sequential([keras.Input(spec.shape), *active], name="augmentation")


def build_mixing(config: Augmentation, seed: int) -> keras.layers.Layer:
    """Build the layer that mixes the images of a batch and their targets in training.

    It maps a dictionary of `images`, float32[N, H, W, C], and `labels`, float32[N, K], to the same.
    """
    if config.mix_up:
        return RandomMix(layers.MixUp(config.mix_up, seed=seed + 11), config, seed + 16)
    if config.cut_mix:
        return RandomMix(layers.CutMix((config.cut_mix, config.cut_mix), seed=seed + 12), config, seed + 16)
    return layers.Identity()


class RandomMix(keras.layers.Layer):  # type: ignore[misc]  # Keras publishes no types
    """Mix a share `mix_share` of the images of a batch, and their targets, by a layer of Keras."""

    def __init__(self, mix: keras.layers.Layer, config: Augmentation, seed: int) -> None:
        super().__init__()
        self._mix = mix
        self._share = config.mix_share
        self._random = keras.random.SeedGenerator(seed)

    def call(self, batch: Mapping[str, Any], training: bool = False) -> Mapping[str, Any]:  # noqa: FBT001, FBT002  # Keras' signature
        """Mix `images`, float32[N, H, W, C], and `labels`, float32[N, K], in training."""
        if not training:
            return batch
        mixed = self._mix(batch, training=True)
        selected = keras.random.uniform((ops.shape(batch["labels"])[0], 1), seed=self._random) < self._share
        return {
            "images": ops.where(selected[..., None, None], mixed["images"], batch["images"]),
            "labels": ops.where(selected, mixed["labels"], batch["labels"]),
        }


class _RandomLayer(keras.layers.Layer):  # type: ignore[misc]  # Keras publishes no types
    """Maps float32[N, H, W, C] to the same: through `_change` in training, otherwise unchanged."""

    def __init__(self, config: Augmentation, seed: int) -> None:
        super().__init__()
        self._config = config
        self._random = keras.random.SeedGenerator(seed)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def call(self, images: keras.KerasTensor, training: bool = False) -> keras.KerasTensor:  # noqa: FBT001, FBT002  # Keras' signature
        return self._change(images) if training else images

    def _change(self, images: keras.KerasTensor) -> keras.KerasTensor:
        raise NotImplementedError


class RandomStroke(_RandomLayer):
    """Make light strokes on a dark ground thicker or thinner, by up to one pixel on each side.

    Each image is blended with the maximum (thicker) or minimum (thinner) of each 3 x 3 neighbourhood, with a weight
    of at most `stroke`.
    """

    def _change(self, images: keras.KerasTensor) -> keras.KerasTensor:
        most = self._config.stroke
        amount = keras.random.uniform((ops.shape(images)[0], 1, 1, 1), -most, most, seed=self._random)
        thicker = ops.max_pool(images, 3, strides=1, padding="same")
        thinner = -ops.max_pool(-images, 3, strides=1, padding="same")
        return images + ops.where(amount > 0, amount * (thicker - images), amount * (images - thinner))


class RandomAffine(_RandomLayer):
    """Crop, rotate, scale, shear and shift a `share` of the images in one resampling.

    Keras has a layer for each. In sequence they resample each time, and a network trained on such soft
    images does worse on the sharp originals: 98 % of MNIST's validation images instead of 99.7 %. For the same reason
    some images stay unchanged. The area outside the image is 0.
    """

    def _change(self, images: keras.KerasTensor) -> keras.KerasTensor:
        count, (height, width) = ops.shape(images)[0], images.shape[1:3]
        transformed = ops.image.affine_transform(images, self._transforms(count, height, width), fill_mode="constant")
        selected = keras.random.uniform((count, 1, 1, 1), seed=self._random) < self._config.share
        return ops.where(selected, transformed, images)

    def _transforms(self, count: Any, height: int, width: int) -> keras.KerasTensor:
        """Draw float32[N, 8] projective transforms from positions in the new image to positions in the old one.

        Relative to the centre, old = S K R (new - shift), where R rotates, K shears each row by its y, and S divides
        by the scale.
        """

        def draw(low: float, high: float) -> keras.KerasTensor:
            return keras.random.uniform((count,), low, high, seed=self._random)

        config = self._config
        angle = draw(-1, 1) * math.radians(config.rotation_degrees)
        shear = draw(-1, 1) * config.shear
        scale_x, scale_y = draw(*config.scale), draw(*config.scale)
        centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
        to_x = centre_x + draw(-1, 1) * config.shift * width
        to_y = centre_y + draw(-1, 1) * config.shift * height

        cos, sin = ops.cos(angle), ops.sin(angle)
        xx, xy = (cos + shear * sin) / scale_x, (shear * cos - sin) / scale_x
        yx, yy = sin / scale_y, cos / scale_y
        x0 = centre_x - xx * to_x - xy * to_y
        y0 = centre_y - yx * to_x - yy * to_y
        if config.crop:
            crop_width, crop_height = self._crop_sides(draw, config.crop)
            left, top = (draw(0, 1) * (1 - side) for side in (crop_width, crop_height))
            xx, xy, x0 = xx * crop_width, xy * crop_width, (x0 * crop_width) + left * (width - 1)
            yx, yy, y0 = yx * crop_height, yy * crop_height, (y0 * crop_height) + top * (height - 1)
        zero = ops.zeros_like(xx)
        return ops.stack([xx, xy, x0, yx, yy, y0, zero, zero], axis=-1)

    @staticmethod
    def _crop_sides(draw: Callable[[float, float], Any], area: tuple[float, float]) -> tuple[Any, Any]:
        """Draw width and height of crops, as fractions of those of the images."""
        size, aspect = draw(*area), ops.exp(draw(-MAX_LOG_ASPECT, MAX_LOG_ASPECT))
        return ops.minimum(ops.sqrt(size * aspect), 1.0), ops.minimum(ops.sqrt(size / aspect), 1.0)


class RandomShift(_RandomLayer):
    """Shift by whole pixels, at most `shift_pixels` each way; the image is reflected at its edges."""

    def _change(self, images: keras.KerasTensor) -> keras.KerasTensor:
        most, (height, width) = self._config.shift_pixels, images.shape[1:3]
        padded = ops.pad(images, ((0, 0), (most, most), (most, most), (0, 0)), mode="reflect")

        def crop(images: keras.KerasTensor, axis: int, size: int) -> keras.KerasTensor:
            first = keras.random.randint((ops.shape(images)[0], 1), 0, 2 * most + 1, seed=self._random)
            return tf.gather(images, first + ops.arange(size), axis=axis, batch_dims=1)

        rows = crop(padded, 1, height)
        return ops.swapaxes(crop(ops.swapaxes(rows, 1, 2), 1, width), 1, 2)


class RandomNoise(_RandomLayer):
    """Add Gaussian noise of standard deviation `noise` to each value. Keras' layer accepts only images of 0..1."""

    def _change(self, images: keras.KerasTensor) -> keras.KerasTensor:
        noise = keras.random.normal(ops.shape(images), stddev=255 * self._config.noise, seed=self._random)
        return ops.clip(images + noise, 0, 255)


class RandomJpeg(_RandomLayer):
    """Re-encode a share `jpeg` of the images at a random `jpeg_quality`, with chroma at half resolution."""

    def _change(self, images: keras.KerasTensor) -> keras.KerasTensor:
        count, (low, high) = ops.shape(images)[0], self._config.jpeg_quality
        quality = keras.random.randint((count,), low, high + 1, seed=self._random)
        selected = keras.random.uniform((count,), seed=self._random) < self._config.jpeg

        def recode(pixels: Any, quality: Any) -> Any:
            data = tf.raw_ops.EncodeJpegVariableQuality(images=pixels, quality=quality)
            return tf.io.decode_jpeg(data, channels=images.shape[-1], dct_method="INTEGER_ACCURATE")

        def recode_if(pixels: Any, quality: Any, selected: Any) -> Any:
            return tf.cond(selected, lambda: recode(pixels, quality), lambda: pixels)

        pixels = ops.cast(ops.clip(ops.round(images), 0, 255), "uint8")
        spec = tf.TensorSpec(images.shape[1:], tf.uint8)
        recoded = tf.map_fn(lambda item: recode_if(*item), (pixels, quality, selected), fn_output_signature=spec)
        return ops.cast(recoded, "float32")
