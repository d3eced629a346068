"""A model that others made, and the card that tells what it takes and gives, become a network of ours."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from train.data.examples import MAX_PIXELS, Example, Predict
from train.errors import TrainError
from train.export.frozen_network import ACTIVATIONS, PROBABILITIES, Network, Tensor, freeze, network_of
from train.export.graph_input import normalised
from train.export.precision import FULL_PRECISION, ExportPrecision
from vision.card import Card, CardError, InputSpec, OutputSpec
from vision.decode import ImageError
from vision.preprocess import load

SIGNATURE = "serving_default"


class ImportModelError(TrainError):
    """A model, a card or pictures that cannot be used; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A model from elsewhere, ready for `train.export.export.export_network`.

    Attributes:
        network: What will answer.
        original: The model as it came, on the same input: uint8[N, H, W, C] to float32[N, K] probabilities.
    """

    network: Network
    original: Predict


def read_card(path: Path) -> Card:
    """Read the card that was written by hand for a model from elsewhere.

    Raises:
        ImportModelError: It cannot be read, or says something that cannot be used.
    """
    try:
        return Card.from_json(path.read_bytes())
    except OSError as error:
        raise ImportModelError(f"{path}: {error.strerror}") from error
    except CardError as error:
        raise ImportModelError(f"{path}: {error}") from error


def served_card(card: Card, provenance: Mapping[str, Any]) -> Card:
    """Return the card of a model whose normalisation and activation have become part of it."""
    plain = dataclasses.replace(card.input, dtype="uint8", layout="NHWC", mean=(), std=())
    told = {**card.provenance, **provenance}
    return dataclasses.replace(card, input=plain, output=OutputSpec(name=PROBABILITIES), provenance=told)


def import_keras(model: keras.Model, card: Card, precision: ExportPrecision = FULL_PRECISION) -> Imported:
    """Take over a Keras classifier.

    Args:
        model: With one input and one output.
        card: What it takes and gives.
        precision: What shall be done to its weights.

    Raises:
        ImportModelError: The card does not fit it.
    """
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ImportModelError(f"expected one input and one output, found {model.inputs} and {model.outputs}")
    spec, activation = card.input, card.output.activation
    check_fit(model.inputs[0].shape, model.outputs[0].shape, card)

    def original(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return _activated(model(_numbers(images, spec).astype(np.float32), training=False), card)

    return Imported(network_of(model, spec, precision, activation), original)


def import_saved_model(path: Path, card: Card, precision: ExportPrecision = FULL_PRECISION) -> Imported:
    """Take over a SavedModel; which of its outputs counts, `card` says, unless there is only one.

    Args:
        path: Its directory.
        card: What its signature `serving_default` takes and gives.
        precision: What shall be done to its weights.

    Raises:
        ImportModelError: It cannot be loaded, or the card does not fit it.
    """
    try:
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures[SIGNATURE]
    except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
        raise ImportModelError(f"{path}: expected a SavedModel with a signature {SIGNATURE}: {error}") from error
    inputs, outputs = signature.structured_input_signature[1], signature.structured_outputs
    output = next(iter(outputs)) if len(outputs) == 1 else card.output.name
    if len(inputs) != 1 or output not in outputs:
        raise ImportModelError(
            f"{path}: expected one input, and one output or one named {output!r} (the card's output.name);"
            f" found {sorted(inputs)} and {sorted(outputs)}"
        )
    ((name, taken),) = inputs.items()
    check_fit(taken.shape, outputs[output].shape, card)

    def call(image: Tensor) -> Mapping[str, Tensor]:
        answer = signature(**{name: tf.cast(normalised(image, card.input), taken.dtype)})[output]
        return {PROBABILITIES: ACTIVATIONS[card.output.activation](tf.cast(answer, tf.float32))}

    def original(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        numbers = tf.cast(tf.constant(_numbers(images, card.input)), taken.dtype)
        return _activated(signature(**{name: numbers})[output], card)

    return Imported(freeze(call, card.input, precision), original)


def check_fit(taken: Sequence[int | None], given: Sequence[int | None], card: Card) -> None:
    """Compare what a model takes and gives with its card.

    Args:
        taken: Shape of its input.
        given: Shape of its output.
        card: Of the model.

    Raises:
        ImportModelError: They do not fit together.
    """
    expected = (None, *card.input.shape)
    if len(taken) != len(expected) or any(a != b for a, b in zip(taken, expected, strict=True) if a and b):
        raise ImportModelError(f"the card's input is {list(expected)}, the model takes {list(taken)}")
    if len(given) != len("NK") or given[1] not in {None, len(card.labels)}:
        raise ImportModelError(f"the card has {len(card.labels)} labels, the model gives {list(given)}")


def unlabelled(pictures: Sequence[Path], card: Card, network: Network) -> list[Example]:
    """Make examples of pictures that nobody has labelled; what the network says stands for what they show.

    Raises:
        ImportModelError: There is none, or one cannot be decoded.
    """
    if not pictures:
        raise ImportModelError("expected at least one picture for the golden images, found none")
    made = []
    for path in pictures:
        try:
            image = load(path.read_bytes(), card.input, max_pixels=MAX_PIXELS)
        except (OSError, ImageError) as error:
            raise ImportModelError(f"{path}: {error}") from error
        scores = network.predict(np.asarray(image, np.uint8)[None])[0]
        limits = np.array(card.threshold, np.float32)
        classes = np.flatnonzero(scores >= limits) if card.task == "multilabel" else [scores.argmax()]
        made.append(Example(path, tuple(map(int, classes)), path.name))
    return made


def _numbers(images: npt.NDArray[np.uint8], spec: InputSpec) -> npt.NDArray[Any]:
    """Normalise in numpy, to compare with what the graph makes."""
    numbers: npt.NDArray[Any] = images
    if spec.dtype == "float32":
        numbers = (images - np.array(spec.mean or 0.0, np.float32)) / np.array(spec.std or 1.0, np.float32)
    return numbers.transpose(0, 3, 1, 2) if spec.layout == "NCHW" else numbers


def _activated(answer: Tensor, card: Card) -> npt.NDArray[np.float32]:
    return np.asarray(ACTIVATIONS[card.output.activation](tf.cast(answer, tf.float32)), np.float32)
