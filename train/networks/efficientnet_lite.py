"""EfficientNet-Lite: EfficientNet without squeeze-and-excitation and with ReLU6, made for 8-bit integers.

Sources: Tan and Le, EfficientNet, https://arxiv.org/abs/1905.11946, table 1, for the stages; for what the Lite networks
change, https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite: their scaling factors, and that
the stem, the last convolution and the numbers of blocks of the first and last stage are not scaled.
"""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import keras
from keras import layers

from train.config.networks import EfficientNetLiteName

MEAN, STD = 127.0, 128.0
"""Of each of red, green and blue: maps 0..255 to -0.99..1."""
EPSILON = 1e-3
STEM_FILTERS = 32
LAST_FILTERS = 1280
FILTERS_DIVISOR = 8
MIN_ROUNDED_SHARE = 0.9
"""Rounding to a multiple of `FILTERS_DIVISOR` may take at most a tenth of the filters."""


class Scaling(NamedTuple):
    """Size of one of the networks.

    Attributes:
        width: Factor of the number of filters.
        depth: Factor of the number of blocks of a stage.
        side: Height and width of the images that it was trained with.
    """

    width: float
    depth: float
    side: int


class Block(NamedTuple):
    """An inverted residual block: expansion by a 1x1 convolution, depthwise convolution, projection to `filters`.

    Attributes:
        filters: Number of filters at its end.
        kernel_size: Side of the depthwise convolution.
        strides: Of the depthwise convolution.
        expansion: Factor of the number of filters inside; 1 omits the expansion.
    """

    filters: int
    kernel_size: int
    strides: int
    expansion: int


SCALINGS: Mapping[EfficientNetLiteName, Scaling] = {
    "efficientnet_lite0": Scaling(1.0, 1.0, 224),
    "efficientnet_lite1": Scaling(1.0, 1.1, 240),
    "efficientnet_lite2": Scaling(1.1, 1.2, 260),
    "efficientnet_lite3": Scaling(1.2, 1.4, 280),
    "efficientnet_lite4": Scaling(1.4, 1.8, 300),
}
STAGES = (
    (1, Block(16, 3, 1, 1)),
    (2, Block(24, 3, 2, 6)),
    (2, Block(40, 5, 2, 6)),
    (3, Block(80, 3, 2, 6)),
    (3, Block(112, 5, 1, 6)),
    (4, Block(192, 5, 2, 6)),
    (1, Block(320, 3, 1, 6)),
)
"""Number of blocks before scaling, and the first of them; the others have strides 1."""


def scale_pixels(image: keras.KerasTensor) -> keras.KerasTensor:
    """Scale RGB float32[N, H, W, 3] of 0..255 to the range that the networks take."""
    return layers.Rescaling(1 / STD, offset=-MEAN / STD)(image)


def efficientnet_lite_features(image: keras.KerasTensor, name: EfficientNetLiteName) -> keras.KerasTensor:
    """Map the output of `scale_pixels` to the last features float32[N, h, w, 1280], where h = H / 32, rounded up."""
    x = _relu6(_convolve(image, "stem", STEM_FILTERS, size=3, strides=2), "stem")
    for index, block in enumerate(scaled_blocks(name)):
        x = _inverted_residual(x, f"block{index}", block)
    return _relu6(_convolve(x, "last", LAST_FILTERS), "last")


def scaled_blocks(name: EfficientNetLiteName) -> Iterator[Block]:
    """Yield the blocks of a network in order."""
    scaling = SCALINGS[name]
    for index, (count, first) in enumerate(STAGES):
        scaled = first._replace(filters=_scale_filters(first.filters, scaling.width))
        yield scaled
        is_scaled = 0 < index < len(STAGES) - 1
        for _ in range(1, math.ceil(count * scaling.depth) if is_scaled else count):
            yield scaled._replace(strides=1)


def _scale_filters(filters: int, width: float) -> int:
    """Scale a number of filters and round it to a multiple of `FILTERS_DIVISOR`."""
    scaled = filters * width
    rounded = int(scaled + FILTERS_DIVISOR / 2) // FILTERS_DIVISOR * FILTERS_DIVISOR
    return rounded if rounded >= MIN_ROUNDED_SHARE * scaled else rounded + FILTERS_DIVISOR


def _inverted_residual(image: keras.KerasTensor, name: str, block: Block) -> keras.KerasTensor:
    filters = image.shape[-1]
    x = image
    if block.expansion > 1:
        x = _relu6(_convolve(x, f"{name}_expand", filters * block.expansion), f"{name}_expand")
    x = _relu6(_convolve_depthwise(x, f"{name}_depthwise", block.kernel_size, block.strides), f"{name}_depthwise")
    x = _convolve(x, f"{name}_project", block.filters)
    return layers.Add(name=f"{name}_add")([x, image]) if (block.strides, block.filters) == (1, filters) else x


def _convolve(x: keras.KerasTensor, name: str, filters: int, size: int = 1, strides: int = 1) -> keras.KerasTensor:
    """Convolve, then normalise by batch."""
    x = layers.Conv2D(
        filters, size, strides=strides, padding="same", use_bias=False, kernel_initializer="he_normal", name=name
    )(x)
    return layers.BatchNormalization(epsilon=EPSILON, name=f"{name}_norm")(x)


def _convolve_depthwise(x: keras.KerasTensor, name: str, size: int, strides: int) -> keras.KerasTensor:
    """Convolve each channel by itself, then normalise by batch."""
    x = layers.DepthwiseConv2D(size, strides=strides, padding="same", use_bias=False, name=name)(x)
    return layers.BatchNormalization(epsilon=EPSILON, name=f"{name}_norm")(x)


def _relu6(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return layers.ReLU(6.0, name=f"{name}_relu")(x)
