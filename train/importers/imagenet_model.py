"""The committed model `imagenet`: how it is made from published weights, and what was measured of it.

Temperature and metrics come from labelled photos that are not part of the repository. They are stored in `RECIPE`, so
that the model can be made again without the photos. Int8 is calibrated on generated pictures for the same reason.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from train.config.networks import EfficientNetLiteName
from train.data.examples import TEST, Inputs
from train.data.generated_pictures import generate_pictures
from train.evaluation.assessment import compute_coverage
from train.evaluation.calibrate import apply_temperature, fit_temperature
from train.evaluation.cards import round_metrics
from train.evaluation.curves import calibration_error
from train.export.forms import Forms, Samples, measure_forms
from train.export.frozen_network import FrozenNetwork
from train.export.tflite_conversion import convert_int8
from vision.card import Card, InputSpec

RECIPE = Path(__file__).with_suffix(".json")
TITLE = "A thousand things in photos"
CALIBRATION_PICTURES = 400
LABELS = "labels.csv"
"""The table in a folder of labelled photos; see `train.importers.labelled.read_labelled`."""
TOP = 5


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


def measure(forms: Forms, inputs: Inputs, recipe: Recipe) -> dict[str, Any]:
    """Return the metrics of a card, of the form that is served and of each form.

    Args:
        forms: The forms, at their final temperature.
        inputs: Labelled photos.
        recipe: Its temperature, fitted on the same photos, and its threshold are those of the forms.
    """
    measurement = measure_forms(forms, {TEST: Samples(inputs)})
    served = measurement.evaluations[TEST]
    uncalibrated = apply_temperature(served.probabilities, 1 / recipe.temperature, "multiclass")
    fit = fit_temperature(uncalibrated, served.targets, "multiclass")
    metrics = {
        "accuracy": served.accuracy,
        "images": len(inputs.images),
        "top_5_accuracy": served.top_k_accuracy(TOP),
        "calibration_error": calibration_error(served.reliability),
        "cross_validated_calibration_error": fit.calibration_error_after,
        "answered": compute_coverage(served, recipe.abstain_below),
    }
    rounded: dict[str, Any] = round_metrics({**metrics, **measurement.metrics})
    return rounded
