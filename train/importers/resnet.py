"""Build residual networks from PyTorch weights, in the layout of torchvision and in the one common for CIFAR.

Layout, depth and width follow from the names and shapes of the tensors. Sources: for torchvision,
https://github.com/pytorch/vision, torchvision/models/resnet.py; for CIFAR, with a 3x3 stem and no pooling,
https://github.com/kuangliu/pytorch-cifar, models/resnet.py.
"""

import keras
from keras import layers

from train.networks.build import HEAD, POOL
from train.weights.tensors import Tensors, WeightsFileError
from train.weights.torch_layers import set_torch_weights

EPSILON = 1e-5
"""PyTorch's default for batch normalisation; that of Keras differs."""
CIFAR_STEM_SIZE = 3
STAGES = 4
ALIASES = {"linear": "fc", "shortcut": "downsample"}
"""Names in the CIFAR layout, and torchvision's names for the same parts."""


def resnet_from_torch(tensors: Tensors) -> keras.Model:
    """Build the ResNet that the tensors belong to, with their values as weights.

    Args:
        tensors: Weights by PyTorch's names.

    Returns:
        A model from float32[N, H, W, 3], normalised as in training, to float32[N, K] probabilities. It ends in the
        layers `POOL` and `HEAD` and a softmax.

    Raises:
        WeightsFileError: The tensors belong to another kind of network.
    """
    weights = {_torchvision_name(name): array for name, array in tensors.items()}
    if missing := [name for name in ("conv1.weight", "layer1.0.conv1.weight", "fc.weight") if name not in weights]:
        raise WeightsFileError(f"expected the weights of a ResNet, but there is no tensor {missing[0]}")
    image = keras.Input((None, None, weights["conv1.weight"].shape[1]), name="image")
    x = layers.GlobalAveragePooling2D(name=POOL)(_Builder(weights).features(image))
    scores = layers.Dense(len(weights["fc.weight"]), name=HEAD)(x)
    model = keras.Model(image, layers.Softmax(name="probabilities")(scores), name="classifier")
    set_torch_weights(model, weights, lambda name: "fc" if name == HEAD else name, "a ResNet")
    return model


def _torchvision_name(name: str) -> str:
    return ".".join(ALIASES.get(part, part) for part in name.split("."))


class _Builder:
    """Builds the layers of a network, each under the name of its weights."""

    def __init__(self, weights: Tensors) -> None:
        self._weights = weights

    def features(self, image: keras.KerasTensor) -> keras.KerasTensor:
        """Return the last features of an image."""
        cifar_layout = self._weights["conv1.weight"].shape[-1] == CIFAR_STEM_SIZE
        x = layers.ReLU()(self._conv_batchnorm(image, "conv1", "bn1", strides=1 if cifar_layout else 2))
        if not cifar_layout:
            x = layers.MaxPooling2D(3, strides=2)(
                layers.ZeroPadding2D(1)(x)
            )  # zeros do not change a maximum after ReLU
        for stage in range(1, STAGES + 1):
            block = 0
            while f"layer{stage}.{block}.conv1.weight" in self._weights:
                x = self._block(x, f"layer{stage}.{block}", strides=2 if stage > 1 and block == 0 else 1)
                block += 1
        return x

    def _block(self, x: keras.KerasTensor, name: str, strides: int) -> keras.KerasTensor:
        bottleneck = f"{name}.conv3.weight" in self._weights
        strided = 2 if bottleneck else 1  # the 3x3 convolution of a bottleneck, the first one of a basic block
        residual = x
        for index in range(1, 4 if bottleneck else 3):
            residual = self._conv_batchnorm(
                residual, f"{name}.conv{index}", f"{name}.bn{index}", strides if index == strided else 1
            )
            if index < (3 if bottleneck else 2):
                residual = layers.ReLU()(residual)
        if f"{name}.downsample.0.weight" in self._weights:
            x = self._conv_batchnorm(x, f"{name}.downsample.0", f"{name}.downsample.1", strides)
        return layers.ReLU()(layers.Add()([x, residual]))

    def _conv_batchnorm(self, x: keras.KerasTensor, name: str, norm: str, strides: int) -> keras.KerasTensor:
        """Convolve with PyTorch's padding, which is equal on both sides, then normalise by batch."""
        kernel = self._weights.get(f"{name}.weight")
        if kernel is None or kernel.ndim != len("OIHW"):
            raise WeightsFileError(f"expected a convolution kernel with the name {name}.weight")
        if kernel.shape[1] != x.shape[-1]:
            raise WeightsFileError(f"{name}.weight: grouped convolutions are not supported")
        size = kernel.shape[-1]
        if size > 1:
            x = layers.ZeroPadding2D(size // 2)(x)
        x = layers.Conv2D(len(kernel), size, strides=strides, use_bias=False, name=name)(x)
        return layers.BatchNormalization(epsilon=EPSILON, name=norm)(x)
