"""The exported graph: four signatures over one network whose weights are constants.

Constants let TensorFlow fold batch normalisation and lay weights out once, when a version is loaded; that
saves a fifth of the digits model's CPU time in batches of 8 or 64 against variables, and nothing is lost for
one image. The network is one function that the signatures call, so its weights are stored once.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from train.graph_input import input_from_bytes
from train.model import HEAD, POOL
from vision.card import Card

Tensor: TypeAlias = Any
"""TensorFlow publishes no types."""
Network: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""uint8[N, H, W, C] to features float32[N, h, w, F] and probabilities float32[N, K]."""


def write_graph(folder: Path, model: keras.Model, card: Card) -> None:
    """Write a SavedModel with the signatures of the model contract.

    ================  ==========================================  =====================================
    serving_default   image uint8[N, H, W, C]                     probabilities float32[N, K]
    describe          index int32[N]                              card string[N]
    classify_bytes    image_bytes string[N]                       probabilities float32[N, K]
    explain           image uint8[N, H, W, C], class_id int32[N]  heatmap float32[N, h, w], 0..1
    ================  ==========================================  =====================================

    Args:
        folder: Where to; exists and is empty.
        model: float32[N, H, W, C] of 0..255 to float32[N, K], ending in the layers `POOL` and `HEAD`.
        card: The answer of `describe`.

    Raises:
        tensorflow.errors.OpError: It cannot be written.
    """
    image = tf.TensorSpec((None, *card.input.shape), tf.uint8, name="image")
    class_id = tf.TensorSpec((None,), tf.int32, name="class_id")
    index = tf.TensorSpec((None,), tf.int32, name="index")
    image_bytes = tf.TensorSpec((None,), tf.string, name="image_bytes")
    network = _frozen(model, image)
    head = model.get_layer(HEAD).kernel.numpy()

    archive = keras.export.ExportArchive()
    archive.add_endpoint("serving_default", _serve(network), input_signature=[image])
    archive.add_endpoint("describe", _describe(card), input_signature=[index])
    archive.add_endpoint("classify_bytes", _classify_bytes(network, card), input_signature=[image_bytes])
    archive.add_endpoint("explain", _explain(network, head), input_signature=[image, class_id])
    archive.write_out(str(folder), verbose=False)


def _frozen(model: keras.Model, image: tf.TensorSpec) -> Network:
    """Make the network of constants and without variables."""
    both = keras.Model(model.input, [model.get_layer(POOL).input, model.output])
    live = tf.function(
        lambda image: both(tf.cast(image, tf.float32), training=False), input_signature=[image]
    ).get_concrete_function()
    network: Network = convert_variables_to_constants_v2(live)
    return network


def _serve(network: Network) -> Callable[[Tensor], dict[str, Tensor]]:
    def serve(image: Tensor) -> dict[str, Tensor]:
        return {"probabilities": network(image)[1]}

    return serve


def _describe(card: Card) -> Callable[[Tensor], dict[str, Tensor]]:
    text = card.to_json()

    def describe(index: Tensor) -> dict[str, Tensor]:
        return {"card": tf.fill(tf.shape(index), text)}

    return describe


def _classify_bytes(network: Network, card: Card) -> Callable[[Tensor], dict[str, Tensor]]:
    def classify_bytes(image_bytes: Tensor) -> dict[str, Tensor]:
        images = tf.map_fn(
            lambda data: input_from_bytes(data, card.input),
            image_bytes,
            fn_output_signature=tf.TensorSpec(card.input.shape, tf.uint8),
        )
        return {"probabilities": network(images)[1]}

    return classify_bytes


def _explain(
    network: Network, head: np.ndarray[Any, np.dtype[np.float32]]
) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    """Make class activation maps: what each place adds to a class's score, relative to the place that adds most.

    Source: Zhou et al., Learning Deep Features for Discriminative Localization,
    https://arxiv.org/abs/1512.04150. Places that speak against the class are 0; so is the whole map where
    none speaks for it.
    """
    weights = tf.constant(head.T)  # [K, F]

    def explain(image: Tensor, class_id: Tensor) -> dict[str, Tensor]:
        features, _ = network(image)
        adds = tf.nn.relu(tf.einsum("nhwf,nf->nhw", features, tf.gather(weights, class_id)))
        most = tf.reduce_max(adds, axis=(1, 2), keepdims=True)
        return {"heatmap": tf.math.divide_no_nan(adds, most)}

    return explain
