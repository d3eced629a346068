"""Feature extractors of `keras.applications`, with their published weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from train.config.networks import Application, ApplicationName
from train.networks.weights_file import WeightsError, check_file

TO_UNIT_RANGE = (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)
"""Maps 0..255 to -1..1."""
OF_IMAGENET = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Mean and standard deviation of ImageNet's pixels."""
NORMALISATION: Mapping[ApplicationName, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "MobileNetV2": TO_UNIT_RANGE,
    "MobileNetV3Small": TO_UNIT_RANGE,
    "MobileNetV3Large": TO_UNIT_RANGE,
    "EfficientNetV2B0": OF_IMAGENET,
    "EfficientNetV2B1": OF_IMAGENET,
    "EfficientNetV2B2": OF_IMAGENET,
    "EfficientNetV2B3": OF_IMAGENET,
    "EfficientNetV2S": ((128.0, 128.0, 128.0), (128.0, 128.0, 128.0)),
    "ConvNeXtTiny": OF_IMAGENET,
    "InceptionV3": TO_UNIT_RANGE,
    "ResNet50": ((123.68, 116.779, 103.939), (1.0, 1.0, 1.0)),
    "DenseNet121": OF_IMAGENET,
}
"""Mean and standard deviation of red, green and blue for each network, from keras.applications."""
NORMALISING_NETWORKS = ("MobileNetV3", "EfficientNetV2", "ConvNeXt")
"""Beginnings of the names of networks that normalise pixels themselves unless Keras is told not to."""
PUBLISHED_FILES: Mapping[ApplicationName, str] = {
    "MobileNetV2": "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    "MobileNetV3Small": "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
    "MobileNetV3Large": "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
    "EfficientNetV2B0": "efficientnetv2-b0_notop.h5",
    "EfficientNetV2B1": "efficientnetv2-b1_notop.h5",
    "EfficientNetV2B2": "efficientnetv2-b2_notop.h5",
    "EfficientNetV2B3": "efficientnetv2-b3_notop.h5",
    "EfficientNetV2S": "efficientnetv2-s_notop.h5",
    "ConvNeXtTiny": "convnext_tiny_notop.h5",
    "ResNet50": "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "InceptionV3": "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "DenseNet121": "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
}
"""Files in which keras.applications keeps what it downloads."""
BGR_NETWORKS = ("ResNet50",)
"""Published for BGR; reversing the channels of their first kernel once replaces reversing every image."""


def application_features(image: keras.KerasTensor, config: Application) -> keras.KerasTensor:
    """Map RGB float32[N, H, W, 3] of 0..255 to the last features float32[N, h, w, F].

    ConvNeXt normalises its features (LayerNormalization) at each position here, before their average instead of after
    it, so that class scores stay sums over positions.
    """
    normalised = normalisation(config.name)(image)
    network = _build_application(config.name, weights=None, include_top=False, input_tensor=normalised)
    if any(map(_is_grouped, network.layers)):
        network = keras.models.clone_model(network, input_tensors=image, clone_function=_clone_layer)
    return network.output


def normalisation(name: ApplicationName) -> keras.layers.Layer:
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
    published = _load_network(config, source)
    targets = [layer for layer in network.layers if layer.weights and layer.name != head]
    origins = [layer for layer in published.layers if layer.weights][: len(targets)]  # without its last layers
    for target, origin in zip(targets, origins, strict=True):
        shapes = (weight.shape for weight in target.weights)
        target.set_weights([values.reshape(shape) for values, shape in zip(origin.get_weights(), shapes, strict=True)])
    if config.name in BGR_NETWORKS:
        kernel, *rest = origins[0].get_weights()
        targets[0].set_weights([kernel[:, :, ::-1], *rest])


def published_file(name: ApplicationName) -> Path | None:
    """Return the file of the published weights that Keras has downloaded; None if it has not, or to another name."""
    file = PUBLISHED_FILES[name]
    try:
        return Path(keras.utils.get_file(file, origin=file, cache_subdir="models"))
    except ValueError:  # from the attempt to download it from this origin, which is not a URL
        return None


def _load_network(config: Application, source: Path | str) -> keras.Model:
    if isinstance(source, Path):
        check_file(source, config.name, config.weights_sha256)
        return _load_file(config.name, source)
    try:
        return _build_application(config.name, weights=source, include_top=False, input_shape=(224, 224, 3))
    except Exception as error:  # keras.utils.get_file raises plain Exception
        raise WeightsError(
            f"the weights of {config.name} could not be downloaded; pass a file with --weights ({error})"
        ) from error


def _load_file(name: ApplicationName, path: Path) -> keras.Model:
    for include_top in (False, True):
        try:
            return _build_application(name, weights=str(path), include_top=include_top)
        except (OSError, ValueError) as error:
            reason = error
    raise WeightsError(f"{path}: expected weights of {name} as published by Keras ({reason})")


def _build_application(name: ApplicationName, **options: Any) -> keras.Model:
    if name.startswith(NORMALISING_NETWORKS):
        options["include_preprocessing"] = False
    return getattr(keras.applications, name)(**options)


def _clone_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Return a new layer of the same kind; a depthwise convolution instead of one with a group for each channel.

    On processors TensorFlow computes groups by XLA, which TensorFlow Lite cannot convert.
    """
    if _is_grouped(layer):
        return layers.DepthwiseConv2D(layer.kernel_size, padding=layer.padding, name=layer.name)
    return type(layer).from_config(layer.get_config())


def _is_grouped(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, layers.Conv2D) and layer.groups > 1
