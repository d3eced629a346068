"""The forms in which a version holds its network: always a SavedModel and, if that pays, TensorFlow Lite.

TensorFlow Serving serves `model.tflite` of a version if it is started with `--prefer_tflite_model`, and the SavedModel
otherwise.
"""

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from train.data.examples import Inputs, Predict
from train.errors import TrainError
from train.evaluation.curves import calibration_error
from train.evaluation.evaluate import Evaluation, evaluate
from train.export.frozen_network import FrozenNetwork
from train.export.precision import Form, TfliteOptions
from train.export.tflite_conversion import Int8Conversion, convert_float32, convert_int8
from train.export.tflite_model import Images, TfliteModel
from vision.card import InputSpec

CALIBRATION_IMAGES = 300
"""Number of images from which the ranges of activations are taken; more change nothing and take longer."""
LISTED_LAYERS = 5
TIMED_IMAGES = 20
TIMED_ROUNDS = 3


class QuantizationLossError(TrainError):
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


def choose_forms(network: FrozenNetwork, spec: InputSpec, samples: Samples, options: TfliteOptions) -> Forms:
    """Convert a network to TensorFlow Lite if the options ask for it, and judge the result.

    Args:
        network: The network, which computes in float32.
        spec: Input of the network.
        samples: Images of the kind that will be classified.
        options: What is wanted.

    Raises:
        QuantizationLossError: Int8 was asked for and loses more than `options.max_loss`.
        TfliteError: The network cannot be converted.
    """
    if options.mode == "none":
        return Forms(network)
    if options.mode == "float32":
        return Forms(network, convert_float32(network, spec), "TensorFlow Lite in float32, as asked for")
    images = samples.inputs.images
    step = max(1, len(images) // CALIBRATION_IMAGES)
    conversion = convert_int8(network, spec, images[::step][:CALIBRATION_IMAGES])
    forms = Forms(network, conversion.model)
    reference, int8 = evaluate_forms(forms, samples).values()
    loss = accuracy_loss(reference, int8, samples)
    if loss > options.max_loss:
        problem = f"int8 costs {loss:.2f} points of accuracy; at most {options.max_loss:g} are accepted"
        if options.mode == "int8":
            raise QuantizationLossError(f"{problem}.\n{_list_layers(conversion)}")
        return Forms(network, None, f"SavedModel only: {problem}")
    before_ms, after_ms = (cpu_ms(predict, images) for predict in forms.predictors.values())
    cost = f"{after_ms:.2f} ms of CPU time an image instead of {before_ms:.2f}"
    if options.mode == "auto" and after_ms >= before_ms:
        return Forms(network, None, f"SavedModel only: int8 takes {cost}")
    return dataclasses.replace(
        forms, decision=f"SavedModel and TensorFlow Lite in int8: {cost}, {loss:.2f} points of accuracy less"
    )


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


def form_metrics(forms: Forms, samples: Samples, evaluations: Mapping[Form, Evaluation]) -> dict[str, Any]:
    """Return the members `form` and `forms` of a card's metrics.

    Args:
        forms: The forms.
        samples: The evaluated images.
        evaluations: As `evaluate_forms` returns them.
    """
    reference = evaluations["saved_model"]
    members: dict[Form, dict[str, float]] = {}
    for form, evaluation in evaluations.items():
        values = {"cpu_ms": cpu_ms(forms.predictors[form], samples.inputs.images)}
        if samples.are_labelled:
            values |= {
                "accuracy": evaluation.accuracy,
                "calibration_error": calibration_error(evaluation.reliability),
            }
        members[form] = values | (_agreement(reference, evaluation) if form != "saved_model" else {})
    return {"form": forms.served, "forms": members}


def _agreement(reference: Evaluation, other: Evaluation) -> dict[str, float]:
    differences = np.abs(reference.probabilities - other.probabilities)
    return {
        "same_class": float((reference.decisions == other.decisions).all(axis=1).mean()),
        "largest_difference": float(differences.max()),
        "mean_difference": float(differences.mean()),
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


def _list_layers(conversion: Int8Conversion) -> str:
    lines = [f"  {error.layer}: {error.steps:.1f}" for error in conversion.layer_errors()[:LISTED_LAYERS]]
    return "\n".join(
        ["The layers that lose most (error in steps of their int8 scale; rounding alone makes 0.29):", *lines]
    )
