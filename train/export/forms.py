"""The forms in which a version holds its network: always a SavedModel and, if that pays, TensorFlow Lite.

TensorFlow Serving serves `model.tflite` of a version if it is started with `--prefer_tflite_model`, and the SavedModel
otherwise.
"""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from train.data.examples import Inputs, Predict
from train.evaluation.curves import calibration_error
from train.evaluation.evaluate import Evaluation, evaluate
from train.export.frozen_network import FrozenNetwork
from train.export.memory import release_memory
from train.export.precision import Form, TfliteOptions
from train.export.tflite_conversion import LayerError, convert_float32, convert_int8
from train.export.tflite_file import TfliteError
from train.export.tflite_model import Images, TfliteModel
from vision.card import InputSpec

CALIBRATION_IMAGES = 300
"""Number of images from which the ranges of activations are taken; more change nothing and take longer."""
LISTED_LAYERS = 5
FLOAT_LAYERS_LOSS = 0.2
"""Points of accuracy above which the layers that lose most in int8 are tried in float32."""
MAX_FLOAT_LAYERS = 5
MIN_FLOAT_LAYER_STEPS = 0.5
"""Error of such a layer in steps of its scale; see `train.export.tflite_conversion.LayerError`."""
TIMED_IMAGES = 20
TIMED_ROUNDS = 3


class QuantizationLossError(TfliteError):
    """Int8 costs more accuracy than is allowed; the message names the layers that lose most."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Images with which forms are made and compared.

    Attributes:
        inputs: The images and their classes.
        thresholds: As in `Evaluation`.
        are_labelled: Whether the classes are true, not predicted ones.
    """

    inputs: Inputs
    thresholds: npt.ArrayLike | None = None
    are_labelled: bool = True

    def evaluate(self, predict: Predict) -> Evaluation:
        """Run a form on every image."""
        return evaluate(predict, self.inputs, self.thresholds)


@dataclass(frozen=True, slots=True)
class Forms:
    """The forms of one network.

    Attributes:
        network: The network that becomes the SavedModel.
        tflite: The TensorFlow Lite form, if there is one.
        decision: Why there is one or none, for people.
    """

    network: FrozenNetwork
    tflite: TfliteModel | None = None
    decision: str = "SavedModel only"

    @property
    def served(self) -> Form:
        """The form that is served on processors, to which the metrics of the card apply."""
        return "tflite" if self.tflite else "saved_model"

    @property
    def predictors(self) -> dict[Form, Predict]:
        """The forms as functions."""
        tflite: dict[Form, Predict] = {"tflite": self.tflite.predict} if self.tflite else {}
        return {"saved_model": self.network.predict, **tflite}

    @property
    def predict(self) -> Predict:
        """The function of the form that is served."""
        return self.predictors[self.served]

    @property
    def predict_confidence(self) -> Predict:
        """The function from images to the confidence in the form that is served, if the network has this output."""
        return (self.tflite or self.network).predict_confidence


@dataclass(frozen=True, slots=True)
class FormMeasurement:
    """What was measured of the forms of a network.

    Attributes:
        evaluations: Evaluations of the served form by the name of the set.
        metrics: The members `form` and `forms` of a card's metrics: the form that is served, and for each form the CPU
            time per image, what it got right, and how it agrees with the SavedModel.
    """

    evaluations: Mapping[str, Evaluation]
    metrics: dict[str, Any]


def choose_forms(network: FrozenNetwork, spec: InputSpec, samples: Samples, options: TfliteOptions) -> Forms:
    """Convert a network to TensorFlow Lite if the options ask for it, and judge the result.

    Args:
        network: The network, which computes in float32.
        spec: Input of the network.
        samples: Images of the kind that will be classified.
        options: What is wanted.

    Raises:
        QuantizationLossError: Int8 was asked for and loses more than `options.max_loss`.
        TfliteError: The network cannot be converted, or not be computed in int8.
    """
    if options.mode == "none":
        return Forms(network)
    try:
        if options.mode == "float32":
            return Forms(network, convert_float32(network, spec), "SavedModel and TensorFlow Lite in float32")
        quantization = _quantize(network, spec, samples, options.max_loss)
    except TfliteError as error:
        if options.mode != "auto":
            raise
        return Forms(network, None, f"SavedModel only: {error}")
    tflite, images = quantization.model, samples.inputs.images
    before_ms, after_ms = cpu_ms(network.predict, images), cpu_ms(tflite.predict, images)
    cost = f"{after_ms:.2f} ms of CPU time an image instead of {before_ms:.2f}"
    if options.mode == "auto" and after_ms >= before_ms:
        return Forms(network, None, f"SavedModel only: int8 takes {cost}")
    change = round(-quantization.loss, 2) + 0.0  # not -0.0
    in_float = f", with {', '.join(quantization.float_layers)} in float32" if quantization.float_layers else ""
    decision = f"SavedModel and TensorFlow Lite in int8: {cost}, accuracy {change:+.2f} points{in_float}"
    return Forms(network, tflite, decision)


class _Quantization(NamedTuple):
    """A network in int8, the points of accuracy that it loses, and the layers that compute in float32."""

    model: TfliteModel
    loss: float
    float_layers: tuple[str, ...] = ()


def _quantize(network: FrozenNetwork, spec: InputSpec, samples: Samples, max_loss: float) -> _Quantization:
    """Return the network in int8; if that costs accuracy, with the worst layers in float32, if these are to blame."""
    calibration = calibration_images(samples)
    conversion = convert_int8(network, spec, calibration)
    reference = samples.evaluate(network.predict)
    quantization = _measure_loss(conversion.model, reference, samples)
    errors = conversion.layer_errors() if quantization.loss > min(FLOAT_LAYERS_LOSS, max_loss) else []
    del conversion
    release_memory()
    worst = [error for error in errors[:MAX_FLOAT_LAYERS] if error.steps > MIN_FLOAT_LAYER_STEPS]
    if worst:
        with contextlib.suppress(TfliteError):  # what int8 alone gives is then the best
            tensors = [error.tensor for error in worst]
            model = convert_int8(network, spec, calibration, tensors).model
            mixed = _measure_loss(model, reference, samples, tuple(error.layer for error in worst))
            quantization = min(quantization, mixed, key=lambda candidate: candidate.loss)
        release_memory()
    if quantization.loss > max_loss:
        raise QuantizationLossError(_describe_loss(quantization.loss, max_loss, samples, errors[:LISTED_LAYERS]))
    return quantization


def _measure_loss(
    model: TfliteModel, reference: Evaluation, samples: Samples, float_layers: tuple[str, ...] = ()
) -> _Quantization:
    try:
        int8 = samples.evaluate(model.predict)
    except RuntimeError as error:  # XNNPACK refuses ratios of scales that it cannot multiply by
        raise TfliteError(f"TensorFlow Lite cannot compute the network in int8: {error}") from error
    return _Quantization(model, accuracy_loss(reference, int8, samples), float_layers)


def _describe_loss(loss: float, max_loss: float, samples: Samples, layers: Sequence[LayerError]) -> str:
    images = len(samples.inputs.images)
    basis = f"measured on {images} images" if samples.are_labelled else f"estimated from {images} images without labels"
    message = (
        f"int8 costs {loss:.2f} points of accuracy, {basis}; at most {max_loss:g} are accepted. Accept it with a larger"
        " --max-loss, do without int8 by --tflite float32 or none, or give more validation images (--pictures, for an"
        " import), which calibrate and measure it better."
    )
    if not layers:
        return message
    return (
        f"{message} The layers that lose most, with their error in steps of their int8 scale (rounding alone makes"
        " 0.29):\n" + "\n".join(f"  {error.layer}: {error.steps:.1f}" for error in layers)
    )


def calibration_images(samples: Samples) -> Images:
    """Return at most `CALIBRATION_IMAGES` of the images, evenly spread."""
    images = samples.inputs.images
    return images[:: -(-len(images) // CALIBRATION_IMAGES)]


def evaluate_forms(forms: Forms, samples: Samples) -> dict[Form, Evaluation]:
    """Run every form on every image; the SavedModel comes first."""
    return {form: samples.evaluate(predict) for form, predict in forms.predictors.items()}


def accuracy_loss(reference: Evaluation, other: Evaluation, samples: Samples) -> float:
    """Return how many points of accuracy a form loses against the reference; negative if it gains.

    Without true classes, this is the loss to expect if the probabilities of the reference are right; for multi-label
    models it is that of single decisions.

    Args:
        reference: Evaluation of the network in float32.
        other: Evaluation of the other form.
        samples: The evaluated images.
    """
    if samples.are_labelled:
        return 100 * (reference.accuracy - other.accuracy)
    scores, multilabel = reference.probabilities, reference.thresholds is not None
    before, after = (
        np.where(form.decisions, scores, 1 - scores).mean() if multilabel else scores[form.decisions].mean()
        for form in (reference, other)
    )
    return 100 * float(before - after)


def measure_forms(forms: Forms, sets: Mapping[str, Samples]) -> FormMeasurement:
    """Run every form on every set, and compare each with the SavedModel.

    Args:
        forms: The forms.
        sets: Images by the name of the set. The metrics of a form are those of the first set, and its further members
            those of the other sets.
    """
    evaluations = {name: evaluate_forms(forms, samples) for name, samples in sets.items()}
    first, *further = sets
    members = {
        form: {
            "cpu_ms": cpu_ms(predict, sets[first].inputs.images),
            **_set_metrics(sets[first], evaluations[first], form),
            **{name: _set_metrics(sets[name], evaluations[name], form) for name in further},
        }
        for form, predict in forms.predictors.items()
    }
    served = {name: forms_of_set[forms.served] for name, forms_of_set in evaluations.items()}
    return FormMeasurement(served, {"form": forms.served, "forms": members})


def _set_metrics(samples: Samples, evaluations: Mapping[Form, Evaluation], form: Form) -> dict[str, Any]:
    evaluation = evaluations[form]
    metrics: dict[str, Any] = {"images": len(samples.inputs.images)}
    if samples.are_labelled:
        metrics |= {
            "accuracy": evaluation.accuracy,
            "calibration_error": calibration_error(evaluation.reliability),
        }
    return metrics | ({} if form == "saved_model" else _agreement(evaluations["saved_model"], evaluation))


def _agreement(reference: Evaluation, other: Evaluation) -> dict[str, float]:
    differences = np.abs(reference.probabilities - other.probabilities)
    return {
        "same_class": float((reference.decisions == other.decisions).all(axis=1).mean()),
        "largest_difference": float(differences.max()),
        "mean_difference": float(differences.mean()),
        "mean_difference_of_largest": float(
            np.abs(reference.probabilities.max(axis=1) - other.probabilities.max(axis=1)).mean()
        ),
    }


def cpu_ms(predict: Predict, images: Images) -> float:
    """Return the CPU time of this process per image, in milliseconds, if each call has one image.

    Args:
        predict: A form.
        images: uint8[N, H, W, C], of which some are used.
    """
    timed = images[:TIMED_IMAGES]
    predict(timed[:1])  # allocates memory
    rounds = []
    for _ in range(TIMED_ROUNDS):
        start_s = time.process_time()
        for image in timed:
            predict(image[None])
        rounds.append((time.process_time() - start_s) / len(timed) * 1000)
    return min(rounds)
