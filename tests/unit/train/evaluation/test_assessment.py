"""The summary of an assessment, and the calibration read back from its file."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.assessments import multiclass_assessment, multilabel_assessment
from train.config.training_config import TrainingConfig
from train.errors import TrainError
from train.evaluation.assessment import (
    EVALUATION_FILE,
    Assessment,
    card_calibration,
    compute_coverage,
    read_calibration,
    summarise,
    write_summary,
)
from train.evaluation.curves import calibration_error
from train.evaluation.evaluate import Evaluation
from vision.card import Card


def test_the_summary_contains_the_calibration_and_its_effect():
    assessment = multiclass_assessment()

    summary = summarise(assessment)

    assert summary["accuracy"] == assessment.test.accuracy == 0.8
    assert (summary["temperature"], summary["abstain_below"]) == (1.5, 0.8)
    assert summary["calibration_error"] == calibration_error(assessment.test.reliability)
    assert summary["calibration_error_before"] == calibration_error(assessment.uncalibrated.reliability)
    assert summary["calibration_error_before"] != summary["calibration_error"]
    assert summary["log_loss_before"] == assessment.uncalibrated.log_loss != summary["log_loss"]
    assert summary["validation"] == {
        "images": 300,
        "log_loss_before": 0.9,
        "log_loss_after": 0.7,
        "calibration_error_before": 0.2,
        "calibration_error_after": 0.1,
    }
    assert summary["further_tests"]["jpeg"]["images"] == 2
    assert "warnings" not in summary
    assert "thresholds" not in summary


def test_the_summary_of_a_multilabel_model_contains_its_thresholds():
    assessment = multilabel_assessment()

    summary = summarise(assessment)

    assert summary["thresholds"] == list(assessment.calibration.thresholds)
    assert summary["binary_accuracy"] == np.mean(assessment.test.decisions == assessment.test.targets)
    assert "abstain_below" not in summary
    assert "further_tests" not in summary


def test_a_temperature_above_1_lowers_confidence_and_keeps_the_top_classes():
    assessment = multiclass_assessment()

    uncalibrated = assessment.uncalibrated

    assert (uncalibrated.probabilities.max(axis=1) > assessment.test.probabilities.max(axis=1)).all()
    np.testing.assert_array_equal(uncalibrated.top_classes, assessment.test.top_classes)


@pytest.mark.parametrize(("threshold", "share", "accuracy"), [(0.0, 1.0, 2 / 3), (0.5, 2 / 3, 1.0), (0.95, 0.0, None)])
def test_coverage_is_the_share_above_the_threshold_and_its_accuracy(
    threshold: float, share: float, accuracy: float | None
):
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.45, 0.4]], np.float32)
    evaluation = Evaluation(probabilities, np.eye(2, dtype=bool)[[0, 1, 1]])

    assert compute_coverage(evaluation, threshold) == {
        "share": pytest.approx(share),
        "accuracy": pytest.approx(accuracy),
    }


@pytest.mark.parametrize("assessment", [multiclass_assessment(), multilabel_assessment()], ids=["one", "several"])
def test_a_written_calibration_is_read_back(tmp_path: Path, assessment: Assessment):
    write_summary(tmp_path, assessment)

    assert read_calibration(tmp_path) == assessment.calibration


@pytest.mark.parametrize("assessment", [multiclass_assessment(), multilabel_assessment()], ids=["one", "several"])
def test_the_calibration_of_a_card_is_read_back(assessment: Assessment):
    summary = summarise(assessment)
    thresholds = {} if assessment.calibration.thresholds is None else {"threshold": assessment.calibration.thresholds}
    card = Card(
        name="pets",
        labels=assessment.config.labels,
        input=assessment.config.input,
        task=assessment.config.task,
        abstain_below=assessment.calibration.abstain_below,
        metrics={name: summary[name] for name in ("temperature", "validation") if name in summary},
        **thresholds,
    )

    assert card_calibration(card) == assessment.calibration


def test_a_run_that_was_not_evaluated_has_no_calibration(tmp_path: Path):
    assert read_calibration(tmp_path) is None


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"temperature": "warm"}', '{"temperature": 1, "thresholds": 3}'])
def test_a_damaged_evaluation_file_is_refused_with_the_command_that_rewrites_it(tmp_path: Path, content: str):
    (tmp_path / EVALUATION_FILE).write_text(content)

    with pytest.raises(TrainError, match=r"cannot be used.*python -m train evaluate"):
        read_calibration(tmp_path)


def test_the_required_accuracy_is_a_fraction_of_at_most_1():
    config = multiclass_assessment().config

    assert TrainingConfig.model_fields["answered_accuracy"].default == 0.99
    with pytest.raises(ValueError, match="answered_accuracy"):
        TrainingConfig.model_validate(config.model_dump() | {"answered_accuracy": 1.5})
