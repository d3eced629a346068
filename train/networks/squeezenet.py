"""SqueezeNet 1.1 (Iandola et al., https://arxiv.org/abs/1602.07360).

Layers have the names of https://github.com/forresti/SqueezeNet, SqueezeNet_v1.1/train_val.prototxt, so published
weights can be matched to them. The original takes BGR; this network takes RGB, so the channels of the first kernel
are reversed.
"""

import keras
from keras import layers

MEAN_RGB = (123.0, 117.0, 104.0)
"""Mean of ImageNet, subtracted from each pixel."""
STAGES = (
    (("fire2", 16, 64), ("fire3", 16, 64)),
    (("fire4", 32, 128), ("fire5", 32, 128)),
    (("fire6", 48, 192), ("fire7", 48, 192), ("fire8", 64, 256), ("fire9", 64, 256)),
)
"""Name, filters of the squeeze layer, and filters of each expand layer; each stage halves the resolution first."""


def squeezenet_features(image: keras.KerasTensor) -> keras.KerasTensor:
    """Map RGB float32[N, H, W, 3] of 0..255 to the output of `fire9`, float32[N, h, w, 512].

    For images of 224 x 224 it equals the original. For other sizes the original rounds halved sizes up, this one down.
    """
    x = layers.Rescaling(1.0, offset=[-mean for mean in MEAN_RGB])(image)
    x = layers.Conv2D(64, 3, strides=2, activation="relu", name="conv1")(x)
    for stage in STAGES:
        x = layers.MaxPooling2D(3, strides=2)(x)
        for name, squeeze, expand in stage:
            x = _fire(x, name, squeeze, expand)
    return x


def _fire(x: keras.KerasTensor, name: str, squeeze: int, expand: int) -> keras.KerasTensor:
    def convolution(x: keras.KerasTensor, filters: int, size: int, part: str) -> keras.KerasTensor:
        layer = layers.Conv2D(
            filters,
            size,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=f"{name}_{part}{size}x{size}",
        )
        return layer(x)

    x = convolution(x, squeeze, 1, "squeeze")
    return layers.Concatenate()([convolution(x, expand, 1, "expand"), convolution(x, expand, 3, "expand")])
