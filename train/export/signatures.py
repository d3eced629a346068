"""Write the exported graph: the signatures of the model contract over one network, whose weights are stored once."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import tensorflow as tf

from train.export.detached_weights import attach_to_saved_model
from train.export.frozen_network import FEATURES, IMAGE, KERNEL, PROBABILITIES, FrozenNetwork
from train.export.graph_input import input_from_bytes
from vision.card import Card

Tensor: TypeAlias = Any
"""Any, because TensorFlow publishes no types."""

CLASS_ID = "class_id"
INDEX = "index"
CARD = "card"
HEATMAP = "heatmap"


def write_graph(folder: Path, network: FrozenNetwork, card: Card) -> None:
    """Write a SavedModel with the signatures of the model contract.

    ================  ==========================================  =====================================
    serving_default   image uint8[N, H, W, C]                     probabilities float32[N, K]
    describe          index int32[N]                              card string[N]
    classify_bytes    image_bytes string[N]                       probabilities float32[N, K]
    explain           image uint8[N, H, W, C], class_id int32[N]  heatmap float32[N, h, w], 0..1
    ================  ==========================================  =====================================

    `serving_default` also returns `confidence`, float32[N] in 0..1, if the network does. `explain` is omitted if
    the network does not return what class activation maps are made of. The SavedModel also contains the network
    itself, as the function `network`, so that `train` can export it again.

    Args:
        folder: An existing empty folder.
        network: The network behind the signatures.
        card: The output of `describe`.

    Raises:
        OSError, tensorflow.errors.OpError: The SavedModel cannot be written.
    """
    image = tf.TensorSpec((None, *card.input.shape), tf.uint8, name=IMAGE)
    class_id = tf.TensorSpec((None,), tf.int32, name=CLASS_ID)
    index = tf.TensorSpec((None,), tf.int32, name=INDEX)
    image_bytes = tf.TensorSpec((None,), tf.string, name="image_bytes")
    signatures = {
        "serving_default": _signature(_serve(network), image),
        "describe": _signature(_describe(card), index),
        "classify_bytes": _signature(_classify_bytes(network, card), image_bytes),
    }
    if network.explains:
        signatures["explain"] = _signature(_explain(network), image, class_id)
    module = tf.Module()
    module.network = network.outline
    tf.saved_model.save(module, str(folder), signatures)
    attach_to_saved_model(folder, network.weights)


def _signature(call: Callable[..., dict[str, Tensor]], *specs: tf.TensorSpec) -> Any:
    """Return a signature that refuses inputs of another shape.

    TensorFlow Serving checks only their types, and a convolution of an input with too few dimensions ends its process.
    """

    def checked(*inputs: Tensor) -> dict[str, Tensor]:
        return call(*(tf.ensure_shape(tensor, spec.shape) for tensor, spec in zip(inputs, specs, strict=True)))

    return tf.function(checked, input_signature=specs)


def _serve(network: FrozenNetwork) -> Callable[[Tensor], dict[str, Tensor]]:
    def serve(image: Tensor) -> dict[str, Tensor]:
        outputs = network.outline(image)
        return {name: outputs[name] for name in network.answers}

    return serve


def _describe(card: Card) -> Callable[[Tensor], dict[str, Tensor]]:
    text = card.to_json()

    def describe(index: Tensor) -> dict[str, Tensor]:
        return {CARD: repeat_card(text, index)}

    return describe


def repeat_card(text: str, index: Tensor) -> Tensor:
    """Return a card once per element of `index`, as `describe` does: string[N] for int32[N]."""
    return tf.fill(tf.shape(index), text)


def _classify_bytes(network: FrozenNetwork, card: Card) -> Callable[[Tensor], dict[str, Tensor]]:
    def classify_bytes(image_bytes: Tensor) -> dict[str, Tensor]:
        images = tf.map_fn(
            lambda data: input_from_bytes(data, card.input),
            image_bytes,
            fn_output_signature=tf.TensorSpec(card.input.shape, tf.uint8),
        )
        return {PROBABILITIES: network.outline(images)[PROBABILITIES]}

    return classify_bytes


def _explain(network: FrozenNetwork) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    def explain(image: Tensor, class_id: Tensor) -> dict[str, Tensor]:
        return {HEATMAP: heat_map(network.outline(image), class_id)}

    return explain


def heat_map(outputs: Mapping[str, Tensor], class_id: Tensor) -> Tensor:
    """Return class activation maps, scaled to a maximum of 1, as `explain` does: float32[N, h, w].

    A map contains what each position contributes to the score of a class. Negative contributions are 0, so a map
    without positive contributions is all 0. Source: Zhou et al., Learning Deep Features for Discriminative
    Localization, https://arxiv.org/abs/1512.04150.

    Args:
        outputs: Outputs of a `FrozenNetwork` that can be explained.
        class_id: int32[N], a class for each image.
    """
    contributions = tf.nn.relu(_contributions(outputs[FEATURES], outputs.get(KERNEL), class_id))
    maximum = tf.reduce_max(contributions, axis=(1, 2), keepdims=True)
    return tf.math.divide_no_nan(contributions, maximum)


def _contributions(features: Tensor, kernel: Tensor | None, class_id: Tensor) -> Tensor:
    """Return what each position contributes to the score of a class: float32[N, h, w]."""
    if kernel is None:
        return tf.gather(features, class_id, axis=3, batch_dims=1)
    return tf.einsum("nhwf,fn->nhw", features, tf.gather(kernel, class_id, axis=1))
