"""Foreign models, and the networks that `train.export` can write of them.

A model is read (`from_keras`, `from_saved_model`, `train.importers.onnx_model`), what it ends in is found (`classify`),
and the result is frozen at a temperature (`ForeignClassifier.complete`).
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from train.data.examples import Predict
from train.export.frozen_network import (
    IMAGE,
    PROBABILITIES,
    FrozenNetwork,
    Tensor,
    complete_outputs,
    freeze,
    freeze_function,
    to_probabilities,
    trace_model,
)
from train.export.golden import TOLERANCE
from train.export.graph_input import normalise
from train.export.precision import FULL_PRECISION, ExportPrecision
from train.importers.activation import Choice, choose_activation, find_ending
from train.importers.cards import ImportModelError, ModelTensor, check_card
from train.importers.checks import check_probes
from vision.card import Activation, Card, InputSpec, OutputSpec
from vision.model_io import (
    UnusableModelError,
    choose_output,
    fit_output,
    require_one_input,
)
from vision.postprocess import activation_of_logits

DEFAULT_SIGNATURE = "serving_default"
INITIALISER = "__saved_model_init_op"
"""A signature that TensorFlow adds to SavedModels; it takes no image."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class ForeignModel:
    """A model as another program left it.

    Attributes:
        outputs: The function from images to the outputs that `train.export.frozen_network.complete_outputs` takes, in a
            graph: its `PROBABILITIES` are what the model returns, scores or probabilities.
        run: The function from inputs as the model takes them, float[N, ...], to what it returns, outside of a graph.
        row: Shape of the input for one image.
        framework: Name and version of the framework that computes `run`; empty if it is not the model's own.
        parameters: Number of weights, if known.
        tolerance: How far a probability of `run` may be from the graph's by rounding.
    """

    outputs: Callable[[Tensor], Mapping[str, Tensor]]
    run: Callable[[Array], Array]
    row: tuple[int, ...]
    framework: str = ""
    parameters: int | None = None
    tolerance: float = TOLERANCE


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


@dataclass(frozen=True, slots=True)
class ForeignClassifier:
    """A foreign model of which is known how probabilities are made.

    Attributes:
        model: The model.
        card: Its card.
        scores: Function in a graph like `model.outputs`, whose `PROBABILITIES` are the scores that
            `choice.activation` makes probabilities of.
        choice: How probabilities are made.
    """

    model: ForeignModel
    card: Card
    scores: Callable[[Tensor], Mapping[str, Tensor]]
    choice: Choice

    def predict(self, images: npt.NDArray[np.uint8], temperature: float = 1.0) -> npt.NDArray[np.float32]:
        """Return the probabilities of the graph, before any rounding: uint8[N, H, W, C] to float32[N, K]."""
        scores, activation = self.scores(tf.constant(images))[PROBABILITIES], self.choice.activation
        if temperature != 1:
            scores, activation = _to_logits(scores, activation, self.card)
        return self._activate(scores / temperature, activation)

    def answer(self, inputs: Array) -> npt.NDArray[np.float32]:
        """Return the probabilities that the original model gives to inputs as it takes them: float32[N, K]."""
        return self._activate(self.model.run(inputs), self.choice.added)

    def original(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the probabilities of the original model: uint8[N, H, W, C] to float32[N, K]."""
        return self.answer(_normalise(images, self.card.input).reshape(-1, *self.model.row))

    def complete(self, precision: ExportPrecision = FULL_PRECISION, temperature: float = 1.0) -> ImportedModel:
        """Freeze the model with its activation.

        Args:
            precision: Precision of the imported network.
            temperature: Number that all class scores are divided by.
        """
        labels, activation = len(self.card.labels), self.choice.activation

        def call(image: Tensor) -> Mapping[str, Tensor]:
            outputs = self.scores(image)
            if temperature == 1:
                return complete_outputs(outputs, activation, labels)
            scores, needed = _to_logits(outputs[PROBABILITIES], activation, self.card)
            return complete_outputs({**outputs, PROBABILITIES: scores / temperature}, needed, labels)

        def original(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            # A temperature needs scores: probabilities near 0 and 1 are rounded, and the model may return only these.
            is_exact = temperature == 1 and self.model.tolerance <= TOLERANCE
            return self.original(images) if is_exact else self.predict(images, temperature)

        return ImportedModel(freeze_function(call, self.card.input, precision), original)

    def _activate(self, scores: Tensor, activation: Activation) -> npt.NDArray[np.float32]:
        return np.asarray(to_probabilities(tf.convert_to_tensor(scores), activation, len(self.card.labels)))


def import_keras(
    model: keras.Model, card: Card, precision: ExportPrecision = FULL_PRECISION, temperature: float = 1.0
) -> ImportedModel:
    """Import a Keras classifier; see `from_keras` and `ForeignClassifier.complete`."""
    return classify(from_keras(model, card), card).complete(precision, temperature)


def from_keras(
    model: keras.Model, card: Card, framework: str = "", original: keras.Model | None = None
) -> ForeignModel:
    """Return a Keras classifier as a foreign model.

    Args:
        model: A model with one input and one output.
        card: Card of the model.
        framework: As in `ForeignModel`.
        original: The model that `ForeignModel.run` computes, on the same input; None for `model` itself.

    Raises:
        ImportModelError: The card does not match the model.
    """
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ImportModelError(
            f"the model has the inputs {model.inputs} and the outputs {model.outputs}; expected one of each"
        )
    row = check_card(
        ModelTensor("float32", model.inputs[0].shape), ModelTensor("float32", model.outputs[0].shape), card
    )

    reference = original or model

    def run(inputs: Array) -> Array:
        return np.asarray(reference(inputs.astype(np.float32), training=False))

    return ForeignModel(trace_model(model, card.input), run, row, framework, model.count_params())


def from_saved_model(path: Path, card: Card, signature: str | None = None) -> ForeignModel:
    """Return a SavedModel as a foreign model.

    Args:
        path: Directory of the SavedModel.
        card: Card of the model; `output.name` selects one of several outputs if their shapes and names do not tell.
        signature: Name of the signature that classifies; None for `serving_default` or the only one.

    Raises:
        ImportModelError: The SavedModel cannot be loaded, has no such signature, or does not match the card.
    """
    try:
        loaded = tf.saved_model.load(str(path))
    except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
        raise ImportModelError(f"{path}: expected a SavedModel: {error}") from error
    signature_name = _choose_signature(path, loaded.signatures, signature)
    function = loaded.signatures[signature_name]
    inputs = {name: ModelTensor.of(spec) for name, spec in function.structured_input_signature[1].items()}
    outputs = {name: ModelTensor.of(spec) for name, spec in function.structured_outputs.items()}
    try:
        name = require_one_input(inputs)
        output = choose_output(outputs, card)
    except UnusableModelError as error:
        raise ImportModelError(f"{path}: {error}") from error
    row = check_card(inputs[name], outputs[output], card)
    dtype = function.structured_input_signature[1][name].dtype
    score_shape = fit_output(card, outputs[output])
    if score_shape is None or None in score_shape:  # only a call tells
        score_shape = function(**{name: tf.zeros([1, *row], dtype)})[output].shape[1:]

    def serve(pixels: Tensor) -> Tensor:
        return loaded.signatures[signature_name](**{name: pixels})[
            output
        ]  # a function alone does not keep its variables

    def call(image: Tensor) -> Mapping[str, Tensor]:
        pixels = tf.reshape(tf.cast(normalise(image, card.input), dtype), [-1, *row])
        return {PROBABILITIES: tf.ensure_shape(serve(pixels), (None, *score_shape))}

    def run(pixels: Array) -> Array:
        return np.asarray(serve(tf.cast(tf.constant(pixels), dtype)))

    return ForeignModel(call, run, row, f"TensorFlow {tf.__version__}")


def _choose_signature(path: Path, signatures: Mapping[str, Any], name: str | None) -> str:
    names = sorted(set(signatures) - {INITIALISER})
    signature = name or (names[0] if len(names) == 1 else DEFAULT_SIGNATURE)
    if signature in names:
        return signature
    listed = ", ".join(names)
    if not names:
        raise ImportModelError(f"{path}: the SavedModel has no signature; save it again with one, such as {signature}")
    raise ImportModelError(f"{path} has no signature {signature}; name one that it has by --signature: {listed}")


def classify(model: ForeignModel, card: Card) -> ForeignClassifier:
    """Find out what a model ends in, and which activation makes probabilities of its outputs.

    Args:
        model: The model.
        card: Its card.

    Raises:
        train.importers.activation.ActivationError: The card contradicts what was found.
    """
    spec = card.input
    image = tf.TensorSpec((None, spec.height, spec.width, spec.channels), tf.uint8, name=IMAGE)
    live = tf.function(model.outputs, input_signature=[image], autograph=False).get_concrete_function()
    frozen = freeze(live)
    tensors = dict(zip(sorted(live.structured_outputs), frozen.outputs, strict=True))
    ending = find_ending(tensors[PROBABILITIES])

    def are_probabilities() -> bool:
        plain = dataclasses.replace(card, output=OutputSpec(name=card.output.name))
        try:
            check_probes(lambda images: frozen(tf.constant(images))[output_index].numpy(), plain)
        except ValueError:
            return False
        return True

    output_index = sorted(live.structured_outputs).index(PROBABILITIES)
    count = int(np.prod(tensors[PROBABILITIES].shape[1:]))
    choice = choose_activation(ending, card, count, are_probabilities)
    if choice.activation != choice.added:  # the network ends in it: probabilities are made of what comes before
        shape = ending.scores.shape
        if shape.rank is None or None in shape[1:]:
            choice = dataclasses.replace(choice, activation="none")
        else:
            tensors[PROBABILITIES] = ending.scores
    fetches = {name: tensor.name for name, tensor in tensors.items()}
    return ForeignClassifier(model, card, frozen.prune(frozen.inputs[0].name, fetches), choice)


def _to_logits(scores: Tensor, activation: Activation, card: Card) -> tuple[Tensor, Activation]:
    """Return class scores, and the activation that makes probabilities of them, also if they are probabilities."""
    if activation != "none":
        return scores, activation
    limits = np.finfo(np.float32)
    probabilities = tf.clip_by_value(tf.cast(scores, tf.float32), limits.tiny, 1 - limits.epsneg)
    logarithms, needed = tf.math.log(probabilities), activation_of_logits(card, int(np.prod(scores.shape[1:])))
    return (logarithms if needed == "softmax" else logarithms - tf.math.log1p(-probabilities)), needed


def _normalise(images: npt.NDArray[np.uint8], spec: InputSpec) -> npt.NDArray[Any]:
    """Normalise in numpy, independently of the graph that the result is compared with."""
    pixels: npt.NDArray[Any] = images
    if spec.dtype == "float32":
        pixels = (images - np.array(spec.mean or 0.0, np.float32)) / np.array(spec.std or 1.0, np.float32)
        pixels = pixels.astype(np.float32)
    return pixels.transpose(0, 3, 1, 2) if spec.layout == "NCHW" else pixels
