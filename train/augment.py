"""Random changes of training images that Keras' own layers do not make; never part of an exported model."""

import math
from typing import Any

import keras
from keras import ops

from train.config import Augmentation


class _RandomLayer(keras.layers.Layer):  # type: ignore[misc]  # Keras publishes no types
    """float32[N, H, W, C] to the same: changed by `_change` while training, else as it came."""

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

    Each image is mixed with the greatest (thicker) or least (thinner) value in the 3 x 3 neighbourhood, at
    most `stroke` parts of it.
    """

    def _change(self, images: keras.KerasTensor) -> keras.KerasTensor:
        most = self._config.stroke
        amount = keras.random.uniform((ops.shape(images)[0], 1, 1, 1), -most, most, seed=self._random)
        thicker = ops.max_pool(images, 3, strides=1, padding="same")
        thinner = -ops.max_pool(-images, 3, strides=1, padding="same")
        return images + ops.where(amount > 0, amount * (thicker - images), amount * (images - thinner))


class RandomAffine(_RandomLayer):
    """Turn, scale, shear and shift a `share` of the images, in one resampling.

    Keras has a layer for each of the four. One after another they resample four times, and a network trained
    on such soft images does worse on the sharp originals: 98 % of MNIST's validation images in place of
    99.7 %. For the same reason some images stay as they are. What comes into view from outside is 0.
    """

    def _change(self, images: keras.KerasTensor) -> keras.KerasTensor:
        count, (height, width) = ops.shape(images)[0], images.shape[1:3]
        moved = ops.image.affine_transform(images, self._transforms(count, height, width), fill_mode="constant")
        chosen = keras.random.uniform((count, 1, 1, 1), seed=self._random) < self._config.share
        return ops.where(chosen, moved, images)

    def _transforms(self, count: Any, height: int, width: int) -> keras.KerasTensor:
        """Draw float32[N, 8] projective transforms, from places in the new image to places in the old one.

        Measured from the middle, old = S K R (new - shift), where R turns, K shears each row by its y, and
        S divides by the scale.
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
        zero = ops.zeros_like(xx)
        return ops.stack([xx, xy, x0, yx, yy, y0, zero, zero], axis=-1)
