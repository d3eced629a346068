"""What a trained network computes for images: the inputs of its last layer, and its probabilities."""

from typing import NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from train.data.batching import iterate_batches
from train.networks.build import POOL


class Features(NamedTuple):
    """Outputs of a network for N images.

    Attributes:
        values: Inputs of the last layer, float32[N, F].
        probabilities: float32[N, K].
    """

    values: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]


def compute_features(model: keras.Model, images: npt.NDArray[np.uint8]) -> Features:
    """Compute the features of images in batches.

    Args:
        model: As returned by `train.training.loop.fit`.
        images: At least one, uint8[N, H, W, C].
    """
    network = keras.Model(model.input, [model.get_layer(POOL).output, model.output])
    forward = tf.function(lambda batch: network(tf.cast(batch, tf.float32), training=False))
    outputs = [forward(tf.constant(images[batch])) for batch in iterate_batches(images)]
    return Features(*(np.concatenate(parts) for parts in zip(*outputs, strict=True)))
