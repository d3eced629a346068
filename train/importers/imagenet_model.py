"""The committed model `imagenet`: how it is made from published weights, and what was measured of it.

Temperature and metrics come from labelled photos that are not part of the repository. They are stored in `RECIPE`, so
that the model can be made again without the photos. Int8 is calibrated on generated pictures for the same reason.
"""

import csv
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from train.config.networks import EfficientNetLiteName
from train.data.examples import TEST, Example, Inputs, Predict, to_inputs
from train.data.generated_pictures import generate_pictures
from train.errors import TrainError
from train.evaluation.assessment import compute_coverage
from train.evaluation.calibrate import apply_temperature
from train.evaluation.cards import round_metrics
from train.evaluation.curves import calibration_error
from train.evaluation.evaluate import Evaluation, evaluate
from train.export.forms import Forms, Samples, measure_forms
from train.export.frozen_network import FrozenNetwork
from train.export.tflite_conversion import convert_int8
from vision.card import Card, InputSpec

RECIPE = Path(__file__).with_suffix(".json")
TITLE = "A thousand things in photos"
CALIBRATION_PICTURES = 400
LABELS = "labels.csv"
"""Table of a folder of labelled photos: `file`, relative to the folder or in a subfolder, and `index`, the class."""
TEMPERATURES = np.linspace(0.3, 1.5, 121)
FOLDS = 10
TOP = 5


class SamplesError(TrainError):
    """A folder of labelled photos cannot be used."""


@dataclasses.dataclass(frozen=True, slots=True)
class Recipe:
    """What was chosen and measured.

    Attributes:
        network: The network.
        side: Height and width of its images.
        temperature: Its class scores are divided by it.
        abstain_below: Probability below which the best class is not sure.
        metrics: Metrics of the card.
    """

    network: EfficientNetLiteName
    side: int
    temperature: float
    abstain_below: float
    metrics: Mapping[str, Any]

    def write(self) -> None:
        """Store the recipe."""
        RECIPE.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n", encoding="utf-8")

    def complete(self, card: Card) -> Card:
        """Return the card of the served version."""
        metrics = {**self.metrics, "temperature": self.temperature}
        return dataclasses.replace(card, title=TITLE, abstain_below=self.abstain_below, metrics=metrics)


def read_recipe() -> Recipe:
    """Return the stored recipe."""
    return Recipe(**json.loads(RECIPE.read_text(encoding="utf-8")))


def make_forms(network: FrozenNetwork, spec: InputSpec) -> Forms:
    """Return a network as SavedModel and in int8, calibrated on generated pictures.

    Raises:
        TfliteError: The network cannot be converted.
    """
    pictures = generate_pictures(CALIBRATION_PICTURES, spec.height, spec.width)
    return Forms(network, convert_int8(network, spec, pictures).model)


def read_samples(folder: Path, card: Card) -> Inputs:
    """Read a folder of labelled photos.

    Raises:
        SamplesError: The folder or its table cannot be read.
        DataError: A photo cannot be decoded.
    """
    try:
        with (folder / LABELS).open(encoding="utf-8", newline="") as file:
            examples = [
                Example(next(folder.rglob(row["file"])), (int(row["index"]),), row["file"])
                for row in csv.DictReader(file)
            ]
    except (OSError, KeyError, ValueError, StopIteration) as error:
        raise SamplesError(
            f"{folder}: expected photos and a table {LABELS} with the columns file and index ({error!r})"
        ) from error
    for example in examples:
        if example.classes[0] not in range(len(card.labels)):
            raise SamplesError(
                f"{folder / LABELS}: expected an index of 0 to {len(card.labels) - 1}, received {example.classes[0]}"
                f" for {example.name}"
            )
    return to_inputs(examples, card.input, len(card.labels))


def fit_temperature(predict: Predict, inputs: Inputs) -> float:
    """Return the temperature of `TEMPERATURES` with the least cross-entropy.

    `train.evaluation.calibrate.fit_temperature` is for more images than classes.

    Args:
        predict: The network at temperature 1.
        inputs: Labelled photos.
    """
    return _best_temperature(evaluate(predict, inputs))


def measure(forms: Forms, inputs: Inputs, abstain_below: float) -> dict[str, Any]:
    """Return the metrics of a card, of the form that is served and of each form.

    Args:
        forms: The forms, at their final temperature.
        inputs: Labelled photos.
        abstain_below: As in `Recipe`.
    """
    measurement = measure_forms(forms, {TEST: Samples(inputs)})
    served = measurement.evaluations[TEST]
    metrics = {
        "accuracy": served.accuracy,
        "images": len(inputs.images),
        "top_5_accuracy": served.top_k_accuracy(TOP),
        "calibration_error": calibration_error(served.reliability),
        "cross_validated_calibration_error": cross_validated_calibration_error(served),
        "answered": compute_coverage(served, abstain_below),
    }
    rounded: dict[str, Any] = round_metrics({**metrics, **measurement.metrics})
    return rounded


def cross_validated_calibration_error(evaluation: Evaluation) -> float:
    """Return the calibration error if the temperature of each fold of the images is fitted on the other folds."""
    folds = np.random.default_rng(0).permutation(len(evaluation.targets)) % FOLDS
    probabilities = np.empty_like(evaluation.probabilities)
    for fold in range(FOLDS):
        temperature = _best_temperature(_select(evaluation, folds != fold))
        probabilities[folds == fold] = apply_temperature(
            evaluation.probabilities[folds == fold], temperature, "multiclass"
        )
    return calibration_error(dataclasses.replace(evaluation, probabilities=probabilities).reliability)


def _best_temperature(evaluation: Evaluation) -> float:
    def cross_entropy(temperature: float) -> float:
        probabilities = apply_temperature(evaluation.probabilities, temperature, "multiclass")
        return float(-np.log(probabilities[evaluation.targets]).mean())

    return round(float(min(TEMPERATURES, key=cross_entropy)), 2)


def _select(evaluation: Evaluation, chosen: npt.NDArray[np.bool_]) -> Evaluation:
    return dataclasses.replace(
        evaluation, probabilities=evaluation.probabilities[chosen], targets=evaluation.targets[chosen]
    )
