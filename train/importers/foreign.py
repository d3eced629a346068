"""Turn a foreign model and its card into a network that `train.export` can write."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from train.data.examples import Example, Predict
from train.data.image_loading import load
from train.errors import TrainError
from train.export.frozen_network import (
    ACTIVATIONS,
    PROBABILITIES,
    FrozenNetwork,
    Tensor,
    freeze_function,
    freeze_model,
)
from train.export.graph_input import normalise
from train.export.precision import FULL_PRECISION, ExportPrecision
from vision.card import Card, CardError, InputSpec, OutputSpec
from vision.decode import ImageError

SIGNATURE = "serving_default"


class ImportModelError(TrainError):
    """A model, card or image cannot be used; the message says which one and why."""


@dataclass(frozen=True, slots=True)
class ImportedModel:
    """A foreign model, ready for `train.export.export.export_network`.

    Attributes:
        network: The network to export.
        original: The original model on the same input, for comparison: uint8[N, H, W, C] to float32[N, K]
            probabilities.
    """

    network: FrozenNetwork
    original: Predict


def read_card(path: Path) -> Card:
    """Read a hand-written card of a foreign model.

    Raises:
        ImportModelError: The card cannot be read, or a value in it is invalid.
    """
    try:
        return Card.from_json(path.read_bytes())
    except OSError as error:
        raise ImportModelError(f"{path}: {error.strerror}") from error
    except CardError as error:
        raise ImportModelError(f"{path}: {error}") from error


def served_card(card: Card, provenance: Mapping[str, Any]) -> Card:
    """Return the card of the exported network, which contains the normalisation and the activation.

    Args:
        card: Card of the foreign model.
        provenance: Further members for the provenance.
    """
    plain = dataclasses.replace(card.input, dtype="uint8", layout="NHWC", mean=(), std=())
    return dataclasses.replace(
        card,
        input=plain,
        output=OutputSpec(name=PROBABILITIES),
        provenance={**card.provenance, **provenance},
    )


def import_keras(model: keras.Model, card: Card, precision: ExportPrecision = FULL_PRECISION) -> ImportedModel:
    """Import a Keras classifier.

    Args:
        model: A model with one input and one output.
        card: Card of the model.
        precision: Precision of the imported network.

    Raises:
        ImportModelError: The card does not match the model.
    """
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ImportModelError(
            f"the model has the inputs {model.inputs} and the outputs {model.outputs}; expected one of each"
        )
    spec, activation = card.input, card.output.activation
    check_card(model.inputs[0].shape, model.outputs[0].shape, card)

    def original(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return _activate(model(_normalise(images, spec).astype(np.float32), training=False), card)

    return ImportedModel(freeze_model(model, spec, precision, activation), original)


def import_saved_model(path: Path, card: Card, precision: ExportPrecision = FULL_PRECISION) -> ImportedModel:
    """Import a SavedModel by its signature `serving_default`.

    Args:
        path: Directory of the SavedModel.
        card: Card of the model; `output.name` selects one of several outputs.
        precision: Precision of the imported network.

    Raises:
        ImportModelError: The SavedModel cannot be loaded, or the card does not match it.
    """
    try:
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures[SIGNATURE]
    except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
        raise ImportModelError(f"{path}: expected a SavedModel with the signature {SIGNATURE}: {error}") from error
    inputs, outputs = signature.structured_input_signature[1], signature.structured_outputs
    output = next(iter(outputs)) if len(outputs) == 1 else card.output.name
    if len(inputs) != 1 or output not in outputs:
        raise ImportModelError(
            f"{path}: expected one input, and one output or one named {output!r} (the card's output.name);"
            f" the signature has the inputs {sorted(inputs)} and the outputs {sorted(outputs)}"
        )
    ((name, input_spec),) = inputs.items()
    check_card(input_spec.shape, outputs[output].shape, card)

    def call(image: Tensor) -> Mapping[str, Tensor]:
        scores = signature(**{name: tf.cast(normalise(image, card.input), input_spec.dtype)})[output]
        return {PROBABILITIES: ACTIVATIONS[card.output.activation](tf.cast(scores, tf.float32))}

    def original(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        pixels = tf.cast(tf.constant(_normalise(images, card.input)), input_spec.dtype)
        return _activate(signature(**{name: pixels})[output], card)

    return ImportedModel(freeze_function(call, card.input, precision), original)


def check_card(input_shape: Sequence[int | None], output_shape: Sequence[int | None], card: Card) -> None:
    """Compare the shapes of a model with its card.

    Args:
        input_shape: Shape of the model's input.
        output_shape: Shape of the model's output.
        card: Card of the model.

    Raises:
        ImportModelError: A shape does not match the card.
    """
    expected = (None, *card.input.shape)
    mismatch = len(input_shape) != len(expected) or any(
        actual != size for actual, size in zip(input_shape, expected, strict=True) if actual and size
    )
    if mismatch:
        raise ImportModelError(f"the card's input is {list(expected)}, the model accepts {list(input_shape)}")
    if len(output_shape) != len("NK") or output_shape[1] not in {None, len(card.labels)}:
        raise ImportModelError(f"the card has {len(card.labels)} labels, the model returns {list(output_shape)}")


def pseudo_label(paths: Sequence[Path], card: Card, network: FrozenNetwork) -> list[Example]:
    """Label images with the predictions of a network, for golden images whose true classes are unknown.

    Raises:
        ImportModelError: `paths` is empty, or an image cannot be decoded.
    """
    if not paths:
        raise ImportModelError("expected at least one image for the golden images, found none")
    examples = []
    for path in paths:
        try:
            image = load(path.read_bytes(), card.input)
        except (OSError, ImageError) as error:
            raise ImportModelError(f"{path}: {error}") from error
        scores = network.predict(np.asarray(image, np.uint8)[None])[0]
        thresholds = np.array(card.threshold, np.float32)
        classes = np.flatnonzero(scores >= thresholds) if card.task == "multilabel" else [scores.argmax()]
        examples.append(Example(path, tuple(map(int, classes)), path.name))
    return examples


def _normalise(images: npt.NDArray[np.uint8], spec: InputSpec) -> npt.NDArray[Any]:
    """Normalise in numpy, independently of the graph that the result is compared with."""
    pixels: npt.NDArray[Any] = images
    if spec.dtype == "float32":
        pixels = (images - np.array(spec.mean or 0.0, np.float32)) / np.array(spec.std or 1.0, np.float32)
    return pixels.transpose(0, 3, 1, 2) if spec.layout == "NCHW" else pixels


def _activate(scores: Tensor, card: Card) -> npt.NDArray[np.float32]:
    return np.asarray(ACTIVATIONS[card.output.activation](tf.cast(scores, tf.float32)), np.float32)
