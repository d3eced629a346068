"""Build networks with their published weights for the thousand classes of ImageNet."""

from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias

import keras
import numpy as np
from keras import layers

from train.config.networks import EfficientNetLiteName
from train.importers.torch_networks import network_from_torch
from train.networks.application import BGR_NETWORKS, NORMALISATION
from train.networks.build import POOL
from train.networks.efficientnet_lite import MEAN, SCALINGS, STD
from train.networks.efficientnet_lite_weights import published_checkpoint
from train.networks.squeezenet import squeezenet_features
from train.networks.weights_file import WeightsError
from train.weights.checkpoints import read_checkpoint
from train.weights.onnx_file import read_onnx
from train.weights.protobuf_file import read_caffe
from train.weights.tensors import WeightsFileError
from vision.card import Card, InputSpec

ApplicationName: TypeAlias = Literal["MobileNetV2", "ResNet50", "InceptionV3", "DenseNet121"]
SIDES: Mapping[ApplicationName, int] = {"MobileNetV2": 224, "ResNet50": 224, "InceptionV3": 299, "DenseNet121": 224}
SQUEEZENET_SIDE = 224
EFFICIENTNET_LITE_ORIGIN = "https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite"
DATA = {"title": "ImageNet, ILSVRC 2012", "licence": "non-commercial research and education"}


def imagenet_classes() -> dict[str, str]:
    """Return the name of each class by its WordNet id, in the order of the ids, which most networks use."""
    names = {wordnet_id: names.split(",")[0] for wordnet_id, names in _read_names("imagenet_classes.txt")}
    return names | dict(_read_names("imagenet_plain_names.txt"))


def imagenet_labels() -> tuple[str, ...]:
    """Return the name of each class in the order of the WordNet ids."""
    return tuple(imagenet_classes().values())


def _read_names(file: str) -> Iterator[tuple[str, str]]:
    """Yield WordNet ids and what stands after them."""
    for line in resources.files("train.importers").joinpath(file).read_text("utf-8").splitlines():
        if not line.startswith("#"):
            wordnet_id, names = line.split(maxsplit=1)
            yield wordnet_id, names


def build_application(name: ApplicationName, weights: Path | None) -> tuple[keras.Model, Card]:
    """Build a network of `keras.applications` with all of its classes.

    Args:
        name: Name of the network in `keras.applications`.
        weights: File of weights as published by Keras; None downloads it into ~/.keras.

    Raises:
        WeightsError: The weights cannot be read or downloaded, or belong to another network.
    """
    if weights and not weights.exists():
        raise WeightsError(f"{weights} does not exist; expected a file with the weights of {name}")
    try:
        model = getattr(keras.applications, name)(weights=str(weights) if weights else "imagenet")
    except Exception as error:  # keras.utils.get_file raises plain Exception
        if weights:
            raise WeightsError(f"{weights}: expected the weights of {name} as published by Keras: {error}") from error
        raise WeightsError(
            f"the weights of {name} could not be downloaded: {error}; pass a file with them: --weights FILE"
        ) from error
    mean, std = NORMALISATION[name]
    step = -1 if name in BGR_NETWORKS else 1
    spec = InputSpec(
        height=SIDES[name],
        width=SIDES[name],
        color="BGR" if name in BGR_NETWORKS else "RGB",
        dtype="float32",
        resize="center_crop",
        interpolation="bilinear",  # as in training; "area" costs MobileNetV2 two percentage points of accuracy
        mean=mean[::step],
        std=std[::step],
    )
    return model, _card("imagenet", name, spec, "Apache-2.0, https://keras.io/api/applications")


def build_squeezenet(path: Path) -> tuple[keras.Model, Card]:
    """Build SqueezeNet 1.1 with published weights.

    The last convolution returns one map per class, which passes a ReLU and is averaged.

    Args:
        path: The published file of Caffe, `.caffemodel`, or ONNX.

    Raises:
        WeightsFileError: The file cannot be read, or contains the weights of another network.
    """
    tensors = read_caffe(path) if path.suffix == ".caffemodel" else read_onnx(path)
    image = keras.Input((SQUEEZENET_SIDE, SQUEEZENET_SIDE, 3), name="image")
    x = layers.Conv2D(len(imagenet_labels()), 1, activation="relu", name="conv10")(squeezenet_features(image))
    scores = layers.GlobalAveragePooling2D(name=POOL)(x)
    model = keras.Model(image, layers.Softmax(name="probabilities")(scores), name="squeezenet")
    for layer in model.layers:
        if layer.weights:
            published = layer.name.replace("_", "/", 1)
            try:
                kernel, bias = tensors[f"{published}.weight"], tensors[f"{published}.bias"]
                kernel = kernel.transpose(2, 3, 1, 0)
                layer.set_weights([kernel[:, :, ::-1] if layer.name == "conv1" else kernel, bias.astype(np.float32)])
            except (KeyError, ValueError) as error:
                raise WeightsFileError(f"{path}: expected the weights of SqueezeNet 1.1: {error!r}") from error
    spec = InputSpec(
        height=SQUEEZENET_SIDE, width=SQUEEZENET_SIDE, dtype="float32", resize="center_crop", interpolation="bilinear"
    )
    return model, _card("squeezenet", "SqueezeNet 1.1", spec, "BSD-2-Clause, https://github.com/forresti/SqueezeNet")


def build_efficientnet_lite(name: EfficientNetLiteName, side: int | None = None) -> tuple[keras.Model, Card]:
    """Build an EfficientNet-Lite with all of its classes and the weights of the installed package.

    Args:
        name: Name of the network.
        side: Height and width of its images; None for those that it was trained with.

    Raises:
        WeightsError: The package is not installed.
        WeightsFileError: Its file cannot be read.
    """
    network = network_from_torch(read_checkpoint(published_checkpoint(name)))
    probabilities = layers.Softmax(name="probabilities")(network.output)
    model = keras.Model(network.input, probabilities, name=network.name)
    side = side or SCALINGS[name].side
    spec = InputSpec(
        height=side,
        width=side,
        dtype="float32",
        resize="center_crop",
        interpolation="bilinear",
        mean=(MEAN,) * 3,
        std=(STD,) * 3,
    )
    architecture = f"EfficientNet-Lite{name[-1]}"
    return model, _card("imagenet", architecture, spec, f"Apache-2.0, {EFFICIENTNET_LITE_ORIGIN}")


def _card(name: str, architecture: str, spec: InputSpec, licence: str) -> Card:
    return Card(
        name=name,
        title=f"ImageNet, {architecture}",
        description="Recognises a thousand kinds of animals, plants and things in photos.",
        labels=imagenet_labels(),
        input=spec,
        provenance={
            "architecture": architecture,
            "data": DATA,
            "licence": licence,
            "synsets": list(imagenet_classes()),
        },
    )
