"""Networks with the weights that they were published with, for ImageNet's thousand classes."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias

import keras
import numpy as np
from keras import layers

from train.importers.protobuf_file import read_caffe, read_onnx
from train.importers.tensors import WeightsFileError
from train.networks.application import BGR_NETWORKS, NORMALISATION, WeightsError
from train.networks.build import POOL
from train.networks.squeezenet import squeezenet_features
from vision.card import Card, InputSpec

ApplicationName: TypeAlias = Literal["MobileNetV2", "ResNet50", "InceptionV3", "DenseNet121"]
SIDES: Mapping[ApplicationName, int] = {"MobileNetV2": 224, "ResNet50": 224, "InceptionV3": 299, "DenseNet121": 224}
SQUEEZENET_SIDE = 224
DATA = {"title": "ImageNet, ILSVRC 2012", "licence": "non-commercial research and education"}


def imagenet_labels() -> tuple[str, ...]:
    """Return the first name of each class, in the order of their WordNet ids, which is that of most networks."""
    lines = resources.files("train.importers").joinpath("imagenet_classes.txt").read_text("utf-8").splitlines()
    return tuple(line.split(maxsplit=1)[1].split(",")[0] for line in lines if not line.startswith("#"))


def application(name: ApplicationName, weights: Path | None) -> tuple[keras.Model, Card]:
    """Build a network of `keras.applications` with its thousand classes.

    Args:
        name: Which.
        weights: A file as Keras publishes it; by default that is downloaded into ~/.keras.

    Raises:
        WeightsError: The weights cannot be had, or are of another network.
    """
    if weights and not weights.exists():
        raise WeightsError(f"{weights} does not exist; expected a file of weights of {name}")
    try:
        model = getattr(keras.applications, name)(weights=str(weights) if weights else "imagenet")
    except Exception as error:  # keras.utils.get_file raises no other
        source = weights or f"the weights of {name} could not be downloaded; name a file of them with --weights"
        raise WeightsError(f"{source}: expected weights of {name} as Keras publishes them ({error})") from error
    mean, std = NORMALISATION[name]
    turn = -1 if name in BGR_NETWORKS else 1
    spec = InputSpec(
        height=SIDES[name],
        width=SIDES[name],
        color="BGR" if name in BGR_NETWORKS else "RGB",
        dtype="float32",
        resize="center_crop",
        interpolation="bilinear",  # as the networks were trained; "area" costs MobileNetV2 two points
        mean=mean[::turn],
        std=std[::turn],
    )
    return model, _card("imagenet", name, spec, "Apache-2.0, https://keras.io/api/applications")


def squeezenet(path: Path) -> tuple[keras.Model, Card]:
    """Build SqueezeNet 1.1 with published weights.

    Its last convolution makes one map for each class, which is cut off below zero and averaged.

    Args:
        path: A file of Caffe, `.caffemodel`, or of ONNX, with the names of the original.

    Raises:
        WeightsFileError: It cannot be read, or is of another network.
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


def _card(name: str, architecture: str, spec: InputSpec, licence: str) -> Card:
    return Card(
        name=name,
        title=f"ImageNet, {architecture}",
        description="Tells which of a thousand kinds of animal, plant or thing a photo shows.",
        labels=imagenet_labels(),
        input=spec,
        provenance={"architecture": architecture, "data": DATA, "licence": licence},
    )
