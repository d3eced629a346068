"""Feature extractors of `keras.applications`, with their published weights."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from train.config.networks import Application
from train.errors import TrainError

TO_UNIT_RANGE = (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)
"""Maps 0..255 to -1..1."""
NORMALISATION = {
    "MobileNetV2": TO_UNIT_RANGE,
    "InceptionV3": TO_UNIT_RANGE,
    "ResNet50": ((123.68, 116.779, 103.939), (1.0, 1.0, 1.0)),
    "DenseNet121": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
}
"""Mean and standard deviation of red, green and blue for each network, from keras.applications.imagenet_utils."""
BGR_NETWORKS = ("ResNet50",)
"""Published for BGR; reversing the channels of their first kernel once replaces reversing every image."""
LAST_LAYER = "predictions"
"""Name of the last layer in all these networks."""


class WeightsError(TrainError):
    """Weights that are unavailable, or belong to another network."""


def application_features(image: keras.KerasTensor, config: Application) -> keras.KerasTensor:
    """Map RGB float32[N, H, W, 3] of 0..255 to the last features float32[N, h, w, F]."""
    normalised = normalisation(config.name)(image)
    return _build_application(config.name, weights=None, include_top=False, input_tensor=normalised).output


def normalisation(name: str) -> keras.layers.Layer:
    """Create the layer that scales RGB of 0..255 to the range a network was trained with."""
    mean, std = map(np.array, NORMALISATION[name])
    return layers.Rescaling((1 / std).tolist(), offset=(-mean / std).tolist())


def load_published(network: keras.Model, head: str, config: Application, path: Path | None = None) -> None:
    """Load the initial weights of a network that was built with `application_features`.

    Args:
        network: The network; its layer `head` stays unchanged.
        head: Name of its last layer with weights.
        config: Configuration of the network.
        path: File of weights to load instead of the configuration's.

    Raises:
        WeightsError: The weights cannot be read or downloaded, or belong to another network.
    """
    source = path or config.weights
    if source == "none":
        return
    published = _load_network(config.name, source)
    targets = [layer for layer in network.layers if layer.weights and layer.name != head]
    origins = [layer for layer in published.layers if layer.weights and layer.name != LAST_LAYER]
    for target, origin in zip(targets, origins, strict=True):
        target.set_weights(origin.get_weights())
    if config.name in BGR_NETWORKS:
        kernel, *rest = origins[0].get_weights()
        targets[0].set_weights([kernel[:, :, ::-1], *rest])


def _load_network(name: str, source: Path | str) -> keras.Model:
    if isinstance(source, Path):
        if not source.exists():
            raise WeightsError(f"{source} does not exist; expected a file with weights of {name}")
        return _load_file(name, source)
    try:
        return _build_application(name, weights=source, include_top=False, input_shape=(224, 224, 3))
    except Exception as error:  # keras.utils.get_file raises plain Exception
        raise WeightsError(
            f"the weights of {name} could not be downloaded; pass a file with --weights ({error})"
        ) from error


def _load_file(name: str, path: Path) -> keras.Model:
    for include_top in (False, True):
        try:
            return _build_application(name, weights=str(path), include_top=include_top)
        except (OSError, ValueError) as error:
            reason = error
    raise WeightsError(f"{path}: expected weights of {name} as published by Keras ({reason})")


def _build_application(name: str, **options: Any) -> keras.Model:
    return getattr(keras.applications, name)(**options)
