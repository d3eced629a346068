"""Networks of `keras.applications` as what comes before the last layers, with the weights they were published with."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from train.config.networks import Application
from train.errors import TrainError

WITHIN_ONE = (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)
NORMALISATION = {
    "MobileNetV2": WITHIN_ONE,
    "InceptionV3": WITHIN_ONE,
    "ResNet50": ((123.68, 116.779, 103.939), (1.0, 1.0, 1.0)),
    "DenseNet121": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
}
"""What each takes from red, green and blue, and then divides them by; keras.applications.imagenet_utils."""
TAKE_BGR = ("ResNet50",)
"""As published; here their first kernel is turned instead of every image."""
LAST_LAYER = "predictions"
"""Its name in all of them."""


class WeightsError(TrainError):
    """Weights that cannot be had, or are of another network."""


def application_features(image: keras.KerasTensor, config: Application) -> keras.KerasTensor:
    """Go from float32[N, H, W, 3] RGB of 0..255 to the last features, float32[N, h, w, F]."""
    normalised = normalisation(config.name)(image)
    return _application(config.name, weights=None, include_top=False, input_tensor=normalised).output


def normalisation(name: str) -> keras.layers.Layer:
    """Make the layer that brings RGB of 0..255 to what a network was trained with."""
    mean, deviation = map(np.array, NORMALISATION[name])
    return layers.Rescaling((1 / deviation).tolist(), offset=(-mean / deviation).tolist())


def load_published(network: keras.Model, head: str, config: Application, path: Path | None = None) -> None:
    """Give a network, made with `application_features`, the weights it starts from.

    Args:
        network: The layer `head` and what has no weights stay as they are.
        head: Name of its last layer with weights.
        config: The network's.
        path: Weights to take in place of the configuration's.

    Raises:
        WeightsError: They cannot be read or downloaded, or are of another network.
    """
    source = path or config.weights
    if source == "none":
        return
    published = _published(config.name, source)
    ours = [layer for layer in network.layers if layer.weights and layer.name != head]
    theirs = [layer for layer in published.layers if layer.weights and layer.name != LAST_LAYER]
    for mine, other in zip(ours, theirs, strict=True):
        mine.set_weights(other.get_weights())
    if config.name in TAKE_BGR:
        kernel, *rest = theirs[0].get_weights()
        ours[0].set_weights([kernel[:, :, ::-1], *rest])


def _published(name: str, source: Path | str) -> keras.Model:
    if isinstance(source, Path):
        if not source.exists():
            raise WeightsError(f"{source} does not exist; expected a file of weights of {name}")
        return _from_file(name, source)
    try:
        return _application(name, weights=source, include_top=False, input_shape=(224, 224, 3))
    except Exception as error:  # keras.utils.get_file raises no other
        raise WeightsError(
            f"the weights of {name} could not be downloaded; name a file of them with --weights ({error})"
        ) from error


def _from_file(name: str, path: Path) -> keras.Model:
    for include_top in (False, True):
        try:
            return _application(name, weights=str(path), include_top=include_top)
        except (OSError, ValueError) as error:
            reason = error
    raise WeightsError(f"{path}: expected weights of {name} as Keras publishes them ({reason})")


def _application(name: str, **options: Any) -> keras.Model:
    return getattr(keras.applications, name)(**options)
