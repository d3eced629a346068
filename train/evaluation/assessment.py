"""The evaluation of a calibrated network on every test set, its summary as JSON, and the file that stores it."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from train.config.training_config import TrainingConfig
from train.data.examples import TEST
from train.evaluation.calibrate import Calibration, TemperatureFit, apply_temperature
from train.evaluation.cautions import list_warnings
from train.evaluation.curves import calibration_error
from train.evaluation.evaluate import Evaluation, compute_metrics
from train.evaluation.run_files import unusable_file
from vision.card import Card

EVALUATION_FILE = "evaluation.json"
"""File name in the folder of a run."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """The evaluation of a calibrated network; `train.verification.assess` computes it.

    Attributes:
        config: The training configuration of the network.
        calibration: Chosen on the validation images.
        sets: Evaluations by the name of the test set: `TEST` first, then the further test sets of the data.
    """

    config: TrainingConfig
    calibration: Calibration
    sets: Mapping[str, Evaluation]

    @property
    def test(self) -> Evaluation:
        """The evaluation on the data set's own test images."""
        return self.sets[TEST]

    @property
    def uncalibrated(self) -> Evaluation:
        """The evaluation on the same test images before the temperature was applied, for comparison."""
        test, task = self.test, self.config.task
        if self.calibration.temperature == 1:
            return test
        probabilities = apply_temperature(test.probabilities, 1 / self.calibration.temperature, task)
        return Evaluation(probabilities, test.targets, test.thresholds)


def summarise(assessment: Assessment) -> dict[str, Any]:
    """Return the metrics of the test images, the calibration, the metrics of further test sets and warnings, as JSON.

    `validation` is the `TemperatureFit` of the validation images, if it is recorded.
    """
    labels, calibration = assessment.config.labels, assessment.calibration
    summary = compute_metrics(assessment.test, labels) | {
        "calibration_error_before": calibration_error(assessment.uncalibrated.reliability),
        "log_loss_before": assessment.uncalibrated.log_loss,
        "temperature": calibration.temperature,
    }
    if calibration.fit is not None:
        validation = dataclasses.asdict(calibration.fit)
        del validation["temperature"]
        summary["validation"] = validation
    if calibration.thresholds is not None:
        summary["thresholds"] = list(calibration.thresholds)
    if calibration.abstain_below is not None:
        answered = compute_coverage(assessment.test, calibration.abstain_below)
        summary |= {"abstain_below": calibration.abstain_below, "answered": answered}
    further = {
        name: compute_metrics(evaluation, labels) for name, evaluation in assessment.sets.items() if name != TEST
    }
    summary |= {"further_tests": further} if further else {}
    config = assessment.config
    warnings = list_warnings(summary, None if config.confident_share is not None else config.answered_accuracy)
    return summary | ({"warnings": warnings} if warnings else {})


def compute_coverage(evaluation: Evaluation, threshold: float) -> dict[str, float | None]:
    """Return the `share` of images whose highest probability reaches a threshold, and the `accuracy` on those images.

    The accuracy is None if no image reaches the threshold.
    """
    covered = evaluation.probabilities.max(axis=1) >= np.float32(threshold)
    accuracy = float(np.mean(evaluation.correct[covered])) if covered.any() else None
    return {"share": float(np.mean(covered)), "accuracy": accuracy}


def card_calibration(card: Card) -> Calibration:
    """Return the calibration that a card of `train.evaluation.cards` records."""
    multilabel = card.task == "multilabel"
    thresholds = tuple(np.broadcast_to(card.threshold, len(card.labels)).tolist()) if multilabel else None
    abstain_below = None if card.output.confidence else card.abstain_below  # which is then not of a probability
    return Calibration(card.metrics.get("temperature", 1.0), thresholds, abstain_below, _recorded_fit(card.metrics))


def write_summary(run: Path, assessment: Assessment) -> None:
    """Write the result of `summarise` into the folder of a run, replacing any earlier one.

    Raises:
        OSError: The file cannot be written.
    """
    text = json.dumps(summarise(assessment), indent=1, ensure_ascii=False)
    (run / EVALUATION_FILE).write_text(f"{text}\n", encoding="utf-8")


def read_calibration(run: Path) -> Calibration | None:
    """Return the calibration of a run's last evaluation, or None if the run has not been evaluated.

    Raises:
        TrainError: The file does not have the format that `write_summary` writes.
        OSError: The file cannot be read.
    """
    path = run / EVALUATION_FILE
    if not path.exists():
        return None
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        thresholds = tuple(map(float, summary["thresholds"])) if "thresholds" in summary else None
        temperature = float(summary["temperature"])
        return Calibration(temperature, thresholds, summary.get("abstain_below"), _recorded_fit(summary))
    except (ValueError, KeyError, TypeError) as error:
        raise unusable_file(path, error) from error


def _recorded_fit(metrics: Mapping[str, Any]) -> TemperatureFit | None:
    """Return how the temperature was chosen, from metrics as `summarise` returns them; None if they do not say."""
    validation = metrics.get("validation")
    return None if validation is None else TemperatureFit(float(metrics["temperature"]), **validation)
