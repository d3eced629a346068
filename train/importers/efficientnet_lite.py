"""Build EfficientNet-Lite with its last layer from PyTorch weights."""

import keras
from keras import layers

from train.networks.build import HEAD, POOL
from train.networks.efficientnet_lite import efficientnet_lite_features
from train.networks.efficientnet_lite_weights import NETWORK, find_name, torch_name
from train.weights.tensors import Tensors, WeightsFileError
from train.weights.torch_layers import set_torch_weights


def efficientnet_lite_from_torch(tensors: Tensors) -> keras.Model:
    """Build the EfficientNet-Lite that the tensors belong to, with their values as weights.

    Args:
        tensors: Weights by the names of https://github.com/lukemelas/EfficientNet-PyTorch.

    Returns:
        A model from float32[N, H, W, 3], normalised as in training, to float32[N, K] probabilities. It ends in the
        layers `POOL` and `HEAD` and a softmax.

    Raises:
        WeightsFileError: The tensors belong to another network.
    """
    name, head = find_name(tensors), tensors.get(f"{torch_name(HEAD)}.weight")
    if head is None:
        raise WeightsFileError(f"expected the weights of {NETWORK} with its last layer, {torch_name(HEAD)}.weight")
    image = keras.Input((None, None, 3), name="image")
    x = layers.GlobalAveragePooling2D(name=POOL)(efficientnet_lite_features(image, name))
    scores = layers.Dense(len(head), name=HEAD)(x)
    model = keras.Model(image, layers.Softmax(name="probabilities")(scores), name="classifier")
    set_torch_weights(model, tensors, torch_name, NETWORK)
    return model
