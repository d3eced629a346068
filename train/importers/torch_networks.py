"""Build a network from a PyTorch checkpoint, which contains weights but not what is computed with them."""

from collections.abc import Callable, Mapping

import keras

from train.importers.efficientnet_lite import efficientnet_lite_from_torch
from train.importers.resnet import resnet_from_torch
from train.weights.tensors import Tensors, WeightsFileError

BUILDERS: Mapping[str, Callable[[Tensors], keras.Model]] = {
    "conv1.weight": resnet_from_torch,
    "_conv_stem.weight": efficientnet_lite_from_torch,
}
"""The name of the first kernel of each kind of network, and what builds it."""


def network_from_torch(tensors: Tensors) -> keras.Model:
    """Build the network that the tensors belong to, with their values as weights.

    Raises:
        WeightsFileError: The tensors belong to a network of an unknown kind, or do not match one of a known kind.
    """
    for first, build in BUILDERS.items():
        if first in tensors:
            return build(tensors)
    raise WeightsFileError(
        "expected the weights of a ResNet or an EfficientNet-Lite, but there is no tensor " + " or ".join(BUILDERS)
    )
