"""Turn a foreign model and its card into a network that `train.export` can write."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from train.data.examples import Example, Predict
from train.data.image_loading import load
from train.errors import TrainError
from train.export.frozen_network import (
    PROBABILITIES,
    FrozenNetwork,
    Tensor,
    freeze_function,
    freeze_model,
    to_probabilities,
)
from train.export.graph_input import normalise
from train.export.precision import FULL_PRECISION, ExportPrecision
from vision.card import Card, CardError, InputSpec, OutputSpec
from vision.decode import ImageError
from vision.model_io import (
    STRING,
    Shape,
    UnusableModelError,
    choose_output,
    fit_input,
    fit_output,
    require_one_input,
    to_text,
)
from vision.postprocess import NotProbabilitiesError, activation_of_logits, class_probabilities
from vision.preprocess import preprocess
from vision.probes import NAMES, check_probabilities, probe

SIGNATURE = "serving_default"


class ImportModelError(TrainError):
    """A model, card or image cannot be used; the message says which one and why."""


class _Tensor(NamedTuple):
    """A `vision.model_io.Tensor`."""

    dtype: str
    shape: Shape

    @classmethod
    def of(cls, spec: Tensor) -> Self:
        shape = spec.shape
        return cls(spec.dtype.name, None if shape.rank is None else tuple(shape.as_list()))


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
    row = check_card(_Tensor("float32", model.inputs[0].shape), _Tensor("float32", model.outputs[0].shape), card)

    def original(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        pixels = _normalise(images, spec).astype(np.float32).reshape(-1, *row)
        return _activate(model(pixels, training=False), card)

    return ImportedModel(freeze_model(model, spec, precision, activation, len(card.labels)), original)


def import_saved_model(path: Path, card: Card, precision: ExportPrecision = FULL_PRECISION) -> ImportedModel:
    """Import a SavedModel by its signature `serving_default`.

    Args:
        path: Directory of the SavedModel.
        card: Card of the model; `output.name` selects one of several outputs if their shapes and names do not tell.
        precision: Precision of the imported network.

    Raises:
        ImportModelError: The SavedModel cannot be loaded, or the card does not match it.
    """
    try:
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures[SIGNATURE]
    except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
        raise ImportModelError(f"{path}: expected a SavedModel with the signature {SIGNATURE}: {error}") from error
    inputs = {name: _Tensor.of(spec) for name, spec in signature.structured_input_signature[1].items()}
    outputs = {name: _Tensor.of(spec) for name, spec in signature.structured_outputs.items()}
    try:
        name = require_one_input(inputs)
        output = choose_output(outputs, card)
    except UnusableModelError as error:
        raise ImportModelError(f"{path}: {error}") from error
    row = check_card(inputs[name], outputs[output], card)
    dtype = signature.structured_input_signature[1][name].dtype
    score_shape = fit_output(card, outputs[output])
    if score_shape is None or None in score_shape:  # only a call tells
        score_shape = signature(**{name: tf.zeros([1, *row], dtype)})[output].shape[1:]

    def call(image: Tensor) -> Mapping[str, Tensor]:
        pixels = tf.reshape(tf.cast(normalise(image, card.input), dtype), [-1, *row])
        scores = tf.ensure_shape(signature(**{name: pixels})[output], (None, *score_shape))
        return {PROBABILITIES: to_probabilities(scores, card.output.activation, len(card.labels))}

    def original(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        pixels = tf.cast(tf.constant(_normalise(images, card.input).reshape(-1, *row)), dtype)
        return _activate(signature(**{name: pixels})[output], card)

    return ImportedModel(freeze_function(call, card.input, precision), original)


def check_card(model_input: Tensor, model_output: Tensor, card: Card) -> tuple[int, ...]:
    """Compare the tensors of a model with its card, and return the shape in which it takes the pixels of one image.

    Args:
        model_input: The model's input, a `vision.model_io.Tensor`.
        model_output: The model's output.
        card: Card of the model.

    Raises:
        ImportModelError: They do not match.
    """
    try:
        encoder = fit_input(card, model_input, allow_pixels_as_floats=True)
        fit_output(card, model_output)
    except UnusableModelError as error:
        raise ImportModelError(f"the model cannot be used: {error}") from error
    if encoder.dtype == STRING or (model_input.shape or (None,))[0] is not None:
        raise ImportModelError(
            f"the model takes {to_text(model_input)}; a version that describes itself takes pixels in batches of any "
            "size. Serve this model as it is, with its card in NAME/card.json, or export it again."
        )
    return encoder.shape


def check_scores(network: FrozenNetwork, card: Card) -> None:
    """Check the scores of the images in `vision.probes`, as the gateway does before a version answers.

    Args:
        network: The imported network.
        card: The card of its version, as `served_card` returns it.

    Raises:
        ImportModelError: They are not probabilities.
    """
    for name in NAMES:
        image = preprocess(probe(name, card.input.height, card.input.width), card.input)
        scores = network.predict(np.asarray(image, np.uint8)[None])
        with _import_errors(card, scores):
            check_probabilities(scores, card, name)


def pseudo_label(paths: Sequence[Path], card: Card, network: FrozenNetwork) -> list[Example]:
    """Label images with the predictions of a network, for golden images whose true classes are unknown.

    Raises:
        ImportModelError: An image cannot be decoded, or its scores are not probabilities.
    """
    examples = []
    for path in paths:
        try:
            image = load(path.read_bytes(), card.input)
        except (OSError, ImageError) as error:
            raise ImportModelError(f"{path}: {error}") from error
        scores = _predict(network, np.asarray(image, np.uint8), card, path.name)
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
    return np.asarray(to_probabilities(tf.convert_to_tensor(scores), card.output.activation, len(card.labels)))


def _predict(network: FrozenNetwork, image: npt.NDArray[np.uint8], card: Card, name: str) -> npt.NDArray[np.float32]:
    scores = network.predict(image[None])
    with _import_errors(card, scores):
        return class_probabilities(scores, card, image=name)


@contextmanager
def _import_errors(card: Card, scores: npt.NDArray[np.float32]) -> Iterator[None]:
    """Turn the errors of scores that cannot be used into an `ImportModelError` that says what to do."""
    try:
        yield
    except NotProbabilitiesError as error:
        otherwise = " or, if several labels may be right, task to multilabel" if error.are_in_range else ""
        raise ImportModelError(
            f"the model cannot be used: {error}; if they are logits, set output.activation in its card to "
            f"{activation_of_logits(card, scores.size)}{otherwise}"
        ) from error
    except ValueError as error:
        raise ImportModelError(f"the model cannot be used: {error}") from error
