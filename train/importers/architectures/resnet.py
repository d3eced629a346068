"""Build residual networks from PyTorch weights, in the layouts of torchvision and timm and in the one common for CIFAR.

Layout, depth, width and groups follow from the names and shapes of the tensors, so that ResNet, Wide ResNet, ResNeXt
and timm's ResNet-D are one network. Sources: https://github.com/pytorch/vision, torchvision/models/resnet.py;
https://github.com/huggingface/pytorch-image-models, timm/models/resnet.py; for CIFAR, with a 3x3 stem and no pooling,
https://github.com/kuangliu/pytorch-cifar, models/resnet.py. fastai puts layers of its own after the last stage:
https://github.com/fastai/fastai, fastai/vision/learner.py.
"""

import re

import keras
from keras import layers

from train.importers.architectures.heads import fit_head, fold_norm
from train.importers.architectures.torch_builder import TorchBuilder
from train.networks.build import POOL
from train.weights.tensors import Tensors, WeightsFileError

NETWORK = "a ResNet"
EPSILON = 1e-5
"""PyTorch's default for batch normalisation; that of Keras differs."""
CIFAR_STEM_SIZE = 3
STAGES = 4
DEEP_STEM = (("conv1.0", "conv1.1"), ("conv1.3", "conv1.4"), ("conv1.6", "bn1"))
"""Convolutions of the stem of a ResNet-D, and what normalises after them."""
CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
"""Numbers of the parts of a ResNet in a `torch.nn.Sequential` of its children; what comes later is a program's own."""
HIDDEN = "fc.4"
"""First linear layer of fastai's last layers: two pools of which it takes both, and two linear layers each after a
normalisation, with a ReLU between them."""
FASTAI_LAYERS = ("fc.2.running_mean", f"{HIDDEN}.weight", "fc.6.running_mean", "fc.8.weight")
ALIASES = {"linear": "fc", "shortcut": "downsample"}
"""Names in the CIFAR layout, and torchvision's names for the same parts."""
WIDTH = 64
"""Channels of the 3x3 convolutions in the first stage of a ResNet that is neither wide nor grouped."""


def resnet_from_torch(tensors: Tensors) -> keras.Model:
    """Build the ResNet that the tensors belong to, with their values as weights.

    Args:
        tensors: Weights by PyTorch's names.

    Returns:
        A model from float32[N, H, W, C], normalised as in training, to float32[N, K] class scores. It ends in the
        layers `POOL` and `HEAD`, with fastai's further layers between them if the tensors have these.

    Raises:
        WeightsFileError: The tensors belong to another kind of network.
    """
    weights = _fit_head({_torchvision_name(name): array for name, array in _name_children(tensors).items()})
    stem = DEEP_STEM[0][0] if f"{DEEP_STEM[0][0]}.weight" in weights else "conv1"
    for name in (f"{stem}.weight", "layer1.0.conv1.weight", "fc.weight"):
        if name not in weights:
            raise WeightsFileError(f"expected the weights of {NETWORK}, but there is no tensor {name}")
    return _ResNet(weights, stem).build()


def _name_children(tensors: Tensors) -> Tensors:
    """Return tensors by the names of a ResNet's parts if they have those of its children in a sequence.

    A second sequence may follow, as fastai writes them: `0.4.0.conv1.weight` and `1.8.weight`.
    """
    if any(name.startswith("0.4.0.conv1.") for name in tensors):
        tensors = {re.sub(r"^0\.|^1(?=\.)", _name_sequence, name): array for name, array in tensors.items()}
    if not any(name.startswith("4.0.conv1.") for name in tensors):
        return tensors
    return {re.sub(r"^\d+", _name_child, name): array for name, array in tensors.items()}


def _name_sequence(start: re.Match[str]) -> str:
    return "" if start[0] == "0." else "fc"


def _name_child(number: re.Match[str]) -> str:
    return CHILDREN.get(number[0], f"fc.{number[0]}")


def _torchvision_name(name: str) -> str:
    return ".".join(ALIASES.get(part, part) for part in name.split("."))


def _fit_head(weights: Tensors) -> Tensors:
    features = weights.get("layer4.0.bn3.weight", weights.get("layer4.0.bn2.weight", ()))
    if not all(name in weights for name in FASTAI_LAYERS) or len(weights[FASTAI_LAYERS[0]]) != 2 * len(features):
        return fit_head(weights, "fc")
    return fit_head(fold_norm(weights, "fc.2", HIDDEN), "fc", body=(HIDDEN,), may_have_gaps=True)


class _ResNet:
    def __init__(self, weights: Tensors, stem: str) -> None:
        self._weights = weights
        self._stem = stem
        self._layers = TorchBuilder(weights, NETWORK, EPSILON)
        self._has_bottlenecks = "layer1.0.conv3.weight" in weights

    def build(self) -> keras.Model:
        image = self._layers.image(self._stem)
        x = self._build_stem(image)
        for stage in range(1, STAGES + 1):
            for block in range(self._count_blocks(stage)):
                x = self._build_block(x, f"layer{stage}.{block}", strides=2 if stage > 1 and block == 0 else 1)
        average = layers.GlobalAveragePooling2D(name=POOL)(x)
        if f"{HIDDEN}.weight" in self._weights:
            pools = layers.Concatenate()([layers.GlobalMaxPooling2D()(x), average])
            average = layers.ReLU()(self._layers.dense(pools, HIDDEN))
        return self._layers.classifier(image, average, "fc", self._name())

    def _build_stem(self, x: keras.KerasTensor) -> keras.KerasTensor:
        if self._stem == "conv1":
            is_small = self._layers.kernel("conv1").shape[-1] == CIFAR_STEM_SIZE
            x = layers.ReLU()(self._layers.conv_batchnorm(x, "conv1", "bn1", strides=1 if is_small else 2))
            if is_small:
                return x
        else:
            for index, (conv, norm) in enumerate(DEEP_STEM):
                x = layers.ReLU()(self._layers.conv_batchnorm(x, conv, norm, strides=1 if index else 2))
        return layers.MaxPooling2D(3, strides=2)(layers.ZeroPadding2D(1)(x))  # zeros change no maximum after ReLU

    def _build_block(self, x: keras.KerasTensor, name: str, strides: int) -> keras.KerasTensor:
        count = 3 if self._has_bottlenecks else 2
        strided_index = 2 if self._has_bottlenecks else 1  # the 3x3 convolution of a bottleneck, the first of two
        residual = x
        for index in range(1, count + 1):
            residual = self._layers.conv_batchnorm(
                residual, f"{name}.conv{index}", f"{name}.bn{index}", strides if index == strided_index else 1
            )
            if index < count:
                residual = layers.ReLU()(residual)
        shortcut = self._build_shortcut(x, f"{name}.downsample", strides)
        if shortcut.shape[-1] != residual.shape[-1]:
            raise WeightsFileError(f"the weights of {name} do not match {NETWORK}: there is no {name}.downsample")
        return layers.ReLU()(layers.Add()([shortcut, residual]))

    def _build_shortcut(self, x: keras.KerasTensor, name: str, strides: int) -> keras.KerasTensor:
        """Return what the residual is added to; a ResNet-D averages where others leave pixels out."""
        if f"{name}.0.weight" in self._weights:
            return self._layers.conv_batchnorm(x, f"{name}.0", f"{name}.1", strides)
        if f"{name}.1.weight" in self._weights:
            if strides > 1:
                x = layers.AveragePooling2D(strides, padding="same")(x)
            return self._layers.conv_batchnorm(x, f"{name}.1", f"{name}.2")
        return x

    def _count_blocks(self, stage: int) -> int:
        count = 0
        while f"layer{stage}.{count}.conv1.weight" in self._weights:
            count += 1
        return count

    def _name(self) -> str:
        depth = 2 + sum(map(self._count_blocks, range(1, STAGES + 1))) * (3 if self._has_bottlenecks else 2)
        filters, group_filters = self._layers.kernel("layer1.0.conv2").shape[:2]
        suffix = "d" if self._stem != "conv1" else ""
        if group_filters < filters:
            return f"resnext{depth}{suffix}_{filters // group_filters}x{group_filters}d"
        if self._has_bottlenecks and filters == 2 * WIDTH:
            return f"wide_resnet{depth}{suffix}_2"
        return f"resnet{depth}{suffix}"
