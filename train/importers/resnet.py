"""Residual networks with weights from PyTorch: torchvision's layout and the one for CIFAR.

Which one, how deep and how wide is read off the names and shapes of the tensors. torchvision:
https://github.com/pytorch/vision, torchvision/models/resnet.py; for CIFAR, a 3x3 stem without pooling:
https://github.com/kuangliu/pytorch-cifar, models/resnet.py.
"""

import keras
import numpy as np
from keras import layers

from train.importers.tensors import Array, Tensors, WeightsFileError
from train.networks.build import HEAD, POOL

EPSILON = 1e-5
"""PyTorch's, in batch normalisation."""
SMALL_STEM = 3
STAGES = 4
ALIASES = {"linear": "fc", "shortcut": "downsample"}
"""What the layout for CIFAR calls torchvision's parts."""
UNUSED = "num_batches_tracked"


def resnet_from_torch(tensors: Tensors) -> keras.Model:
    """Build the network that `tensors` are the weights of.

    Args:
        tensors: Named as PyTorch names them.

    Returns:
        float32[N, H, W, 3], normalised as it was trained, to float32[N, K] probabilities; it ends in the layers
        `POOL` and `HEAD` and a softmax.

    Raises:
        WeightsFileError: They are of another kind of network.
    """
    weights = {_torchvision_name(name): array for name, array in tensors.items() if not name.endswith(UNUSED)}
    if missing := [name for name in ("conv1.weight", "layer1.0.conv1.weight", "fc.weight") if name not in weights]:
        raise WeightsFileError(f"expected the weights of a ResNet, found none named {missing[0]}")
    image = keras.Input((None, None, weights["conv1.weight"].shape[1]), name="image")
    x = layers.GlobalAveragePooling2D(name=POOL)(_Builder(weights).features(image))
    scores = layers.Dense(len(weights["fc.weight"]), name=HEAD)(x)
    model = keras.Model(image, layers.Softmax(name="probabilities")(scores), name="classifier")
    _load(model, weights)
    return model


def _torchvision_name(name: str) -> str:
    return ".".join(ALIASES.get(part, part) for part in name.split("."))


class _Builder:
    """Lays out a network; each layer is named as its weights are."""

    def __init__(self, weights: Tensors) -> None:
        self._weights = weights

    def features(self, image: keras.KerasTensor) -> keras.KerasTensor:
        """Go from the image to the last features."""
        small = self._weights["conv1.weight"].shape[-1] == SMALL_STEM
        x = layers.ReLU()(self._normalised(image, "conv1", "bn1", strides=1 if small else 2))
        if not small:
            x = layers.MaxPooling2D(3, strides=2)(layers.ZeroPadding2D(1)(x))  # nothing is below 0 here
        for stage in range(1, STAGES + 1):
            block = 0
            while f"layer{stage}.{block}.conv1.weight" in self._weights:
                x = self._block(x, f"layer{stage}.{block}", strides=2 if stage > 1 and block == 0 else 1)
                block += 1
        return x

    def _block(self, x: keras.KerasTensor, name: str, strides: int) -> keras.KerasTensor:
        deep = f"{name}.conv3.weight" in self._weights
        halving = 2 if deep else 1  # the 3x3 convolution of a deep block, the first one of a plain block
        residual = x
        for index in range(1, 4 if deep else 3):
            residual = self._normalised(
                residual, f"{name}.conv{index}", f"{name}.bn{index}", strides if index == halving else 1
            )
            if index < (3 if deep else 2):
                residual = layers.ReLU()(residual)
        if f"{name}.downsample.0.weight" in self._weights:
            x = self._normalised(x, f"{name}.downsample.0", f"{name}.downsample.1", strides)
        return layers.ReLU()(layers.Add()([x, residual]))

    def _normalised(self, x: keras.KerasTensor, name: str, norm: str, strides: int) -> keras.KerasTensor:
        """Convolve with PyTorch's padding, which is the same on both sides."""
        kernel = self._weights.get(f"{name}.weight")
        if kernel is None or kernel.ndim != len("OIHW"):
            raise WeightsFileError(f"expected a kernel named {name}.weight")
        if kernel.shape[1] != x.shape[-1]:
            raise WeightsFileError(f"{name}.weight: grouped convolutions are not known here")
        size = kernel.shape[-1]
        if size > 1:
            x = layers.ZeroPadding2D(size // 2)(x)
        x = layers.Conv2D(len(kernel), size, strides=strides, use_bias=False, name=name)(x)
        return layers.BatchNormalization(epsilon=EPSILON, name=norm)(x)


def _load(model: keras.Model, weights: Tensors) -> None:
    wanted: set[str] = set()
    for layer in model.layers:
        if layer.weights:
            name = "fc" if layer.name == HEAD else layer.name
            parts = ("weight", "bias", "running_mean", "running_var")[: len(layer.weights)]
            wanted |= {f"{name}.{part}" for part in parts}
            try:
                layer.set_weights([_keras_array(weights[f"{name}.{part}"]) for part in parts])
            except (KeyError, ValueError) as error:
                raise WeightsFileError(f"the weights of {name} do not fit a ResNet: {error}") from error
    if extra := sorted(weights.keys() - wanted):
        raise WeightsFileError(f"expected the weights of a ResNet alone, found {', '.join(extra[:5])} besides")


def _keras_array(array: Array) -> Array:
    """Turn [out, in, h, w] to [h, w, in, out], and [out, in] to [in, out]."""
    axes = {len("OIHW"): (2, 3, 1, 0), len("OI"): (1, 0)}
    return array.transpose(axes.get(array.ndim)).astype(np.float32)
