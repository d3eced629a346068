"""Checkpoints as PyTorch would write them of a Keras network."""

from collections.abc import Callable

import keras
import numpy as np

AXES = {keras.layers.Conv2D: (3, 2, 0, 1), keras.layers.DepthwiseConv2D: (2, 3, 0, 1), keras.layers.Dense: (1, 0)}


def to_torch(model: keras.Model, torch_name: Callable[[str], str]) -> dict[str, np.ndarray]:
    """Return the weights of a network by PyTorch's names and in its order of axes."""
    tensors: dict[str, np.ndarray] = {}
    for layer in model.layers:
        if layer.weights:
            name = torch_name(layer.name)
            parts = ("weight", "bias", "running_mean", "running_var")
            tensors |= {f"{name}.{part}": array for part, array in zip(parts, layer.get_weights(), strict=False)}
            if type(layer) in AXES:
                tensors[f"{name}.weight"] = tensors[f"{name}.weight"].transpose(AXES[type(layer)])
            else:
                tensors[f"{name}.num_batches_tracked"] = np.array(1)
    return tensors
