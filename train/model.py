"""The networks."""

import keras
from keras import layers

from train.augment import RandomAffine, RandomStroke
from train.config import Augmentation, SmallCnn
from vision.card import InputSpec

POOL = "pool"
"""Name of the layer that averages the last features, float32[N, h, w, F], over the image."""
HEAD = "head"
"""Name of the dense layer, of F x K weights, that makes class scores of the average."""


def build_model(config: SmallCnn, spec: InputSpec, classes: int) -> keras.Model:
    """Build a classifier: float32[N, H, W, C] of 0..255 to float32[N, K] probabilities.

    It ends in the layers `POOL` and `HEAD`, so that a class score is a weighted sum over places in the
    image, which makes class activation maps exact (https://arxiv.org/abs/1512.04150).
    """
    image = keras.Input(spec.shape, name="image")
    x = layers.Rescaling(1 / 255)(image)
    for index, block in enumerate(config.blocks):
        for position, filters in enumerate(block):
            halve = index > 0 and position == 0
            x = _convolution(x, filters, strides=2 if halve else 1)
    x = layers.GlobalAveragePooling2D(name=POOL)(x)
    x = layers.Dropout(config.dropout)(x)
    probabilities = layers.Dense(classes, activation="softmax", name=HEAD)(x)
    return keras.Model(image, probabilities, name="classifier")


def build_augmentation(config: Augmentation, spec: InputSpec, seed: int) -> keras.Model:
    """Build float32[N, H, W, C] of 0..255 to the same, each image changed at random while training.

    The levels come before the place, so that a lighter ground ends at an edge, as in a letterboxed picture.
    """
    return keras.Sequential(
        [
            keras.Input(spec.shape),
            RandomStroke(config, seed),
            layers.RandomContrast(config.contrast, value_range=(0, 255), seed=seed + 1),
            layers.RandomBrightness((0.0, config.brightness), value_range=(0, 255), seed=seed + 2),
            RandomAffine(config, seed + 3),
        ],
        name="augmentation",
    )


def _convolution(x: keras.KerasTensor, filters: int, strides: int) -> keras.KerasTensor:
    x = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))
