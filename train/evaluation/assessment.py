"""Metrics of a calibrated network, as `train.verification.assess` computes them from the network itself."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from train.config.training_config import TrainingConfig
from train.data.examples import TEST
from train.errors import TrainError
from train.evaluation.calibrate import Calibration, at_temperature
from train.evaluation.curves import calibration_error
from train.evaluation.evaluate import Evaluation, figures

EVALUATION_FILE = "evaluation.json"
"""In a run's folder."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """What is known of a calibrated network.

    Attributes:
        config: What it was trained with.
        calibration: Chosen on the validation images.
        sets: The test images under `TEST`, first, and the data set's further tests by their names.
    """

    config: TrainingConfig
    calibration: Calibration
    sets: Mapping[str, Evaluation]

    @property
    def test(self) -> Evaluation:
        """The data set's own test images."""
        return self.sets[TEST]

    @property
    def uncalibrated(self) -> Evaluation:
        """The test images, as the network was before its temperature was set; for comparison."""
        test, task = self.test, self.config.task
        raw = at_temperature(test.probabilities, 1 / self.calibration.temperature, task)
        return Evaluation(raw, test.targets, test.thresholds)


def summary(assessment: Assessment) -> dict[str, Any]:
    """Summarise as JSON values: the figures of the test images, what was chosen, and the further tests."""
    labels, calibration = assessment.config.labels, assessment.calibration
    found = figures(assessment.test, labels) | {
        "calibration_error_before": calibration_error(assessment.uncalibrated.reliability),
        "temperature": calibration.temperature,
    }
    if calibration.thresholds is not None:
        found["thresholds"] = list(calibration.thresholds)
    if calibration.abstain_below is not None:
        found |= {"abstain_below": calibration.abstain_below, "answered": answered(assessment)}
    further = {name: figures(each, labels) for name, each in assessment.sets.items() if name != TEST}
    return found | ({"further_tests": further} if further else {})


def answered(assessment: Assessment) -> dict[str, float | None]:
    """Tell of the test images which `share` gets an answer at the abstain threshold, and its `accuracy`."""
    limit = assessment.calibration.abstain_below or 0.0
    given = assessment.test.probabilities.max(axis=1) >= np.float32(limit)
    right = float(np.mean(assessment.test.right[given])) if given.any() else None
    return {"share": float(np.mean(given)), "accuracy": right}


def write_summary(run: Path, assessment: Assessment) -> None:
    """Write what `summary` returns into a run's folder, in place of an earlier one.

    Raises:
        OSError: It cannot be written.
    """
    text = json.dumps(summary(assessment), indent=1, ensure_ascii=False)
    (run / EVALUATION_FILE).write_text(f"{text}\n", encoding="utf-8")


def read_calibration(run: Path) -> Calibration | None:
    """Return what a run's last evaluation chose; None if there was none.

    Raises:
        TrainError: The file is not what `write_summary` writes.
        OSError: It cannot be read.
    """
    path = run / EVALUATION_FILE
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        thresholds = tuple(map(float, found["thresholds"])) if "thresholds" in found else None
        return Calibration(float(found["temperature"]), thresholds, found.get("abstain_below"))
    except (ValueError, KeyError, TypeError) as error:
        raise TrainError(f"{path} cannot be used: {error!r}; write it anew: python -m train evaluate {run}") from error
