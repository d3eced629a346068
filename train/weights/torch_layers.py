"""Weights of PyTorch's layers, as those of the Keras layers that compute the same."""

from collections.abc import Callable, Mapping

import keras
import numpy as np
from keras import layers

from train.weights.tensors import MAX_QUOTED, Array, Tensors, WeightsFileError

PARTS = ("weight", "bias", "running_mean", "running_var")
"""PyTorch's names of a layer's weights, in the order of Keras'."""
UNUSED_SUFFIX = "num_batches_tracked"
AXES: Mapping[type[keras.layers.Layer], tuple[int, ...]] = {
    layers.Conv2D: (2, 3, 1, 0),  # [out, in, h, w] to [h, w, in, out]
    layers.DepthwiseConv2D: (2, 3, 0, 1),  # [out, 1, h, w] to [h, w, out, 1]
    layers.Dense: (1, 0),  # [out, in], or [out, in, 1, 1] of a 1x1 convolution, to [in, out]
}
"""Order of the axes of a kernel."""


def set_torch_weights(model: keras.Model, tensors: Tensors, torch_name: Callable[[str], str], network: str) -> None:
    """Set all weights of a model to tensors of a PyTorch checkpoint.

    Args:
        model: The model.
        tensors: The checkpoint's tensors by name; each must be used, apart from counts of batches.
        torch_name: Returns PyTorch's name of the layer with a Keras name.
        network: What the model is, for messages: `a ResNet`.

    Raises:
        WeightsFileError: A tensor is missing, is left over, or has another shape.
    """
    used_names: set[str] = set()
    for layer in model.layers:
        if layer.weights:
            used_names |= _set_layer(layer, tensors, torch_name(layer.name), network)
    extra_names = sorted(name for name in tensors.keys() - used_names if not name.endswith(UNUSED_SUFFIX))
    if extra_names:
        raise WeightsFileError(
            f"expected only the weights of {network}, but there are also {', '.join(extra_names[:MAX_QUOTED])}"
        )


def _set_layer(layer: keras.layers.Layer, tensors: Tensors, torch_name: str, network: str) -> set[str]:
    """Set the weights of a layer and return the names of the tensors that were used."""
    names = [f"{torch_name}.{part}" for part in PARTS[: len(layer.weights)]]
    try:
        layer.set_weights([_keras_array(tensors[name], layer) for name in names])
    except (KeyError, ValueError) as error:
        raise WeightsFileError(f"the weights of {torch_name} do not match {network}: {error}") from error
    return set(names)


def _keras_array(array: Array, layer: keras.layers.Layer) -> Array:
    if array.ndim > 1:
        axes = next(axes for kind, axes in AXES.items() if isinstance(layer, kind))
        array = array.reshape(array.shape[: len(axes)] if set(array.shape[len(axes) :]) == {1} else array.shape)
        array = array.transpose(axes)
    return array.astype(np.float32)
