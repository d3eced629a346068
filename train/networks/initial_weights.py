"""The weights that a network starts from."""

from pathlib import Path

import keras

from train.config.networks import Application, EfficientNetLite, NetworkConfig
from train.errors import TrainError
from train.networks.application import load_published
from train.networks.build import HEAD
from train.networks.efficientnet_lite_weights import load_efficientnet_lite


def load_initial_weights(network: keras.Model, config: NetworkConfig, path: Path | None = None) -> None:
    """Load the initial weights that a configuration names, or those of a file, into all layers but the last.

    Args:
        network: A network as `train.networks.build.build_model` builds it.
        config: Configuration of the network.
        path: File to load instead of the configuration's weights.

    Raises:
        WeightsError: The weights are unavailable, or belong to another network.
        WeightsFileError: A checkpoint cannot be read, or belongs to another network.
        TrainError: The network is of a kind without published weights, but a file was passed.
    """
    match config:
        case Application():
            load_published(network, HEAD, config, path)
        case EfficientNetLite():
            load_efficientnet_lite(network, config, path)
        case _ if path:
            raise TrainError(f"model.kind: {config.kind} has no published weights; remove --weights")
