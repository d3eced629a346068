"""Layers that compute what PyTorch's layers compute, each built from its weights and under their name."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import keras
import tensorflow as tf
from keras import layers

from train.networks.build import HEAD
from train.weights.tensors import Array, Tensors, WeightsFileError
from train.weights.torch_layers import set_torch_weights

Padding: TypeAlias = Literal["symmetric", "same"]
"""Whether convolutions pad both sides alike, as PyTorch's do, or as TensorFlow's `same`, as networks from there do."""


class GroupedConv2D(layers.Conv2D):  # type: ignore[misc]  # Keras publishes no types
    """A convolution by groups of channels with TensorFlow's own operation.

    Keras computes it with XLA, which cannot be saved in a SavedModel or converted to TensorFlow Lite.
    """

    def convolution_op(self, inputs: keras.KerasTensor, kernel: keras.KerasTensor) -> keras.KerasTensor:
        """Return the convolution of inputs float32[N, H, W, C] without the bias."""
        return tf.nn.conv2d(inputs, kernel, self.strides, self.padding.upper())


class TorchBuilder:
    """Builds the layers of a network; sizes, groups and biases follow from the tensors.

    Args:
        tensors: Weights by PyTorch's names.
        network: What the network is, for messages: `a ResNet`.
        epsilon: Of normalisation.
        padding: How convolutions pad.
    """

    def __init__(self, tensors: Tensors, network: str, epsilon: float, padding: Padding = "symmetric") -> None:
        self._tensors = tensors
        self._network = network
        self._epsilon = epsilon
        self._padding = padding

    def image(self, first: str) -> keras.KerasTensor:
        """Return the input of a network whose first convolution has a name."""
        return keras.Input((None, None, self.kernel(first).shape[1]), name="image")

    def kernel(self, name: str) -> Array:
        """Return the kernel [out, in, h, w] of a convolution.

        Raises:
            WeightsFileError: There is none, or it is not square.
        """
        kernel = self._tensors.get(f"{name}.weight")
        if kernel is None or kernel.ndim != len("OIHW") or kernel.shape[2] != kernel.shape[3]:
            raise WeightsFileError(f"expected a square convolution kernel with the name {name}.weight")
        return kernel

    def conv(self, x: keras.KerasTensor, name: str, strides: int = 1) -> keras.KerasTensor:
        """Convolve. A kernel of even size takes patches: it does not overlap, and nothing is padded."""
        kernel = self.kernel(name)
        filters, depth, size, _ = kernel.shape
        groups, rest = divmod(x.shape[-1], depth)
        if rest or filters % groups:
            raise WeightsFileError(f"{name}.weight, {kernel.shape}, does not take {x.shape[-1]} channels")
        pads_same = size % 2 == 1 and (strides == 1 or self._padding == "same")
        if size % 2 == 1 and size > 1 and not pads_same:
            x = layers.ZeroPadding2D(size // 2)(x)
        options = {
            "strides": strides,
            "padding": "same" if pads_same else "valid",
            "use_bias": f"{name}.bias" in self._tensors,
            "name": name,
        }
        if groups > 1 and filters == groups == x.shape[-1]:
            return layers.DepthwiseConv2D(size, depthwise_initializer="zeros", **options)(x)
        layer = GroupedConv2D if groups > 1 else layers.Conv2D
        return layer(filters, size, groups=groups, kernel_initializer="zeros", **options)(x)

    def batchnorm(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """Normalise by the statistics of the training."""
        return layers.BatchNormalization(epsilon=self._epsilon, name=name)(x)

    def layernorm(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """Normalise the channels of each position."""
        return layers.LayerNormalization(epsilon=self._epsilon, name=name)(x)

    def conv_batchnorm(self, x: keras.KerasTensor, conv: str, norm: str, strides: int = 1) -> keras.KerasTensor:
        """Convolve, then normalise."""
        return self.batchnorm(self.conv(x, conv, strides), norm)

    def dense(self, x: keras.KerasTensor, name: str, layer_name: str | None = None) -> keras.KerasTensor:
        """Map the channels of each position linearly.

        Args:
            x: float32[..., C].
            name: PyTorch's name of a linear layer or a 1x1 convolution.
            layer_name: Name of the layer in Keras, if it differs.

        Raises:
            WeightsFileError: There is no such layer.
        """
        weight = self._tensors.get(f"{name}.weight")
        if weight is None:
            raise WeightsFileError(f"expected the weights of {self._network} with the layer {name}.weight")
        use_bias = f"{name}.bias" in self._tensors
        layer = layers.Dense(len(weight), use_bias=use_bias, kernel_initializer="zeros", name=layer_name or name)
        return layer(x)

    def squeeze_excite(
        self, x: keras.KerasTensor, names: Sequence[str], activation: str, gate: str
    ) -> keras.KerasTensor:
        """Scale each channel by what two 1x1 convolutions make of the averages of all channels."""
        reduce, expand = names
        averages = layers.GlobalAveragePooling2D(keepdims=True)(x)
        averages = layers.Activation(activation)(self.conv(averages, reduce))
        return layers.Multiply()([x, layers.Activation(gate)(self.conv(averages, expand))])

    def classifier(self, image: keras.KerasTensor, average: keras.KerasTensor, head: str, name: str) -> keras.Model:
        """Return the whole network, with all weights set.

        Args:
            image: Input of the network.
            average: float32[N, F], the features' average over the image or what is made of it.
            head: PyTorch's name of the last layer.
            name: Name of the network.

        Returns:
            A model from `image` to float32[N, K] class scores (logits), whose last layer is called `HEAD`.

        Raises:
            WeightsFileError: A tensor is missing, is left over, or has another shape.
        """
        model = keras.Model(image, self.dense(average, head, HEAD), name=name)
        set_torch_weights(model, self._tensors, lambda layer: head if layer == HEAD else layer, self._network)
        return model
