"""SqueezeNet 1.1 (Iandola et al., https://arxiv.org/abs/1602.07360).

Layers and names are those of https://github.com/forresti/SqueezeNet, SqueezeNet_v1.1/train_val.prototxt, so that
published weights find their place. It takes BGR there; here it takes RGB, so the channels of the first kernel are
the other way round.
"""

import keras
from keras import layers

MEAN_RGB = (123.0, 117.0, 104.0)
"""Of ImageNet, taken from each pixel."""
STAGES = (
    (("fire2", 16, 64), ("fire3", 16, 64)),
    (("fire4", 32, 128), ("fire5", 32, 128)),
    (("fire6", 48, 192), ("fire7", 48, 192), ("fire8", 64, 256), ("fire9", 64, 256)),
)
"""Name, filters of the squeezing layer and of each expanding one; the resolution is halved before each stage."""


def squeezenet_features(image: keras.KerasTensor) -> keras.KerasTensor:
    """Go from float32[N, H, W, 3] RGB of 0..255 to the output of `fire9`, float32[N, h, w, 512].

    Sides of 224 lose nothing: elsewhere the original rounds the size of its halves up, which is not done here.
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
