"""The weights that a network starts from."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import keras

from train.config.networks import Application, EfficientNetLite, NetworkConfig
from train.config.run_names import CONFIG_FILE, MODEL_FILE
from train.config.training_config import load_config
from train.errors import TrainError
from train.networks.application import load_published, published_file
from train.networks.build import HEAD
from train.networks.efficientnet_lite_weights import load_efficientnet_lite, published_checkpoint
from train.networks.weights_file import WeightsError, check_file


def load_initial_weights(
    network: keras.Model, config: NetworkConfig, path: Path | None = None, labels: Sequence[str] = ()
) -> None:
    """Load the initial weights that a configuration names, or those of a file.

    The last layer keeps its own, unless the file is the trained network of an earlier run with the same labels.

    Args:
        network: A network as `train.networks.build.build_model` builds it.
        config: Configuration of the network.
        path: File to load instead of the configuration's weights.
        labels: Labels of the network's outputs.

    Raises:
        WeightsError: The weights are unavailable, or belong to another network.
        WeightsFileError: A checkpoint cannot be read, or belongs to another network.
        TrainError: The network is of a kind without published weights, but another file was passed.
    """
    source = path or getattr(config, "weights", None)
    if isinstance(source, Path) and source.suffix == Path(MODEL_FILE).suffix:
        check_file(source, config.kind, getattr(config, "weights_sha256", None))
        _load_run(network, source, config.kind, labels)
        return
    match config:
        case Application():
            load_published(network, HEAD, config, path)
        case EfficientNetLite():
            load_efficientnet_lite(network, config, path)
        case _ if path:
            raise TrainError(
                f"model.kind: {config.kind} has no published weights; remove --weights, or name the {MODEL_FILE}"
                " of an earlier run"
            )


def find_weights_file(config: NetworkConfig, path: Path | None = None) -> Path | None:
    """Return the file of the initial weights, once they are loaded; None if the network starts from random ones.

    Args:
        config: Configuration of the network.
        path: File that replaces the configuration's weights.

    Raises:
        WeightsError: The package with the weights is not installed.
    """
    source = path or getattr(config, "weights", None)
    if source != "imagenet":
        return source if isinstance(source, Path) else None
    match config:
        case Application():
            return published_file(config.name)
        case EfficientNetLite():
            return published_checkpoint(config.kind)
    return None


def _load_run(network: keras.Model, path: Path, kind: str, labels: Sequence[str]) -> None:
    """Load the weights of a network that a run has trained."""
    try:
        trained = keras.models.load_model(path, compile=False)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:  # TypeError: of a custom layer
        raise WeightsError(f"{path} is damaged, or is not the trained network of a run: {error}") from error
    targets, origins = ([layer for layer in model.layers if layer.weights] for model in (network, trained))
    if len(targets) != len(origins):
        raise WeightsError(
            f"{path}: expected the trained network of a run with model.kind {kind}; it has {len(origins)} layers with"
            f" weights instead of {len(targets)}"
        )
    config = path.with_name(CONFIG_FILE)
    is_of_labels = config.is_file() and load_config(config).labels == tuple(labels)
    for target, origin in zip(targets, origins, strict=True):
        if target.name == HEAD and not is_of_labels:
            continue
        values, shapes = origin.get_weights(), [tuple(weight.shape) for weight in target.weights]
        if [array.shape for array in values] == shapes:
            target.set_weights(values)
        else:
            raise WeightsError(
                f"{path}: expected the trained network of a run with model.kind {kind}; its layer {origin.name} has"
                f" weights of {[array.shape for array in values]} instead of {shapes}"
            )
