"""The exported graph: the signatures of the model contract over one network, whose weights are stored once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import tensorflow as tf

from train.export.frozen_network import FEATURES, IMAGE, KERNEL, PROBABILITIES, Network
from train.export.graph_input import input_from_bytes
from vision.card import Card

Tensor: TypeAlias = Any
"""TensorFlow publishes no types."""


def write_graph(folder: Path, network: Network, card: Card) -> None:
    """Write a SavedModel with the signatures of the model contract.

    ================  ==========================================  =====================================
    serving_default   image uint8[N, H, W, C]                     probabilities float32[N, K]
    describe          index int32[N]                              card string[N]
    classify_bytes    image_bytes string[N]                       probabilities float32[N, K]
    explain           image uint8[N, H, W, C], class_id int32[N]  heatmap float32[N, h, w], 0..1
    ================  ==========================================  =====================================

    `explain` is left out where the network does not tell what class activation maps are made of. To those who
    load it with TensorFlow it also gives the network itself, as the function `network`.

    Args:
        folder: Where to; exists and is empty.
        network: What answers.
        card: The answer of `describe`.

    Raises:
        tensorflow.errors.OpError: It cannot be written.
    """
    image = tf.TensorSpec((None, *card.input.shape), tf.uint8, name=IMAGE)
    class_id = tf.TensorSpec((None,), tf.int32, name="class_id")
    index = tf.TensorSpec((None,), tf.int32, name="index")
    image_bytes = tf.TensorSpec((None,), tf.string, name="image_bytes")
    signatures = {
        "serving_default": tf.function(_serve(network), [image]),
        "describe": tf.function(_describe(card), [index]),
        "classify_bytes": tf.function(_classify_bytes(network, card), [image_bytes]),
    }
    if network.explains:
        signatures["explain"] = tf.function(_explain(network), [image, class_id])
    module = tf.Module()
    module.network = network.function
    tf.saved_model.save(module, str(folder), signatures)


def _serve(network: Network) -> Callable[[Tensor], dict[str, Tensor]]:
    def serve(image: Tensor) -> dict[str, Tensor]:
        return {PROBABILITIES: network(image)[PROBABILITIES]}

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
        return {PROBABILITIES: network(images)[PROBABILITIES]}

    return classify_bytes


def _explain(network: Network) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    """Make class activation maps: what each place adds to a class's score, relative to the place that adds most.

    Source: Zhou et al., Learning Deep Features for Discriminative Localization,
    https://arxiv.org/abs/1512.04150. Places that speak against the class are 0; so is the whole map where
    none speaks for it.
    """

    def explain(image: Tensor, class_id: Tensor) -> dict[str, Tensor]:
        answer = network(image)
        adds = tf.nn.relu(_adds(answer[FEATURES], answer.get(KERNEL), class_id))
        most = tf.reduce_max(adds, axis=(1, 2), keepdims=True)
        return {"heatmap": tf.math.divide_no_nan(adds, most)}

    return explain


def _adds(features: Tensor, kernel: Tensor | None, class_id: Tensor) -> Tensor:
    """Return float32[N, h, w]: what each place adds to the score of a class."""
    if kernel is None:
        return tf.gather(features, class_id, axis=3, batch_dims=1)
    return tf.einsum("nhwf,fn->nhw", features, tf.gather(kernel, class_id, axis=1))
