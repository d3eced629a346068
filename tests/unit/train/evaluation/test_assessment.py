"""The summary of an assessment, and what of it is read back."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.assessments import LABELS, of_one_class, of_several_classes
from train.config.training_config import TrainingConfig
from train.errors import TrainError
from train.evaluation.assessment import EVALUATION_FILE, Assessment, answered, read_calibration, summary, write_summary
from train.evaluation.calibrate import Calibration
from train.evaluation.curves import calibration_error
from train.evaluation.evaluate import Evaluation


def test_the_summary_tells_what_was_chosen_and_what_came_of_it():
    assessment = of_one_class()
    measured = summary(assessment)
    assert measured["accuracy"] == assessment.test.accuracy == 0.8
    assert (measured["temperature"], measured["abstain_below"]) == (1.5, 0.8)
    assert measured["calibration_error"] == calibration_error(assessment.test.reliability)
    assert measured["calibration_error_before"] == calibration_error(assessment.uncalibrated.reliability)
    assert measured["calibration_error_before"] != measured["calibration_error"]
    assert measured["further_tests"]["jpeg"]["images"] == 2
    assert "thresholds" not in measured


def test_the_summary_of_several_classes_has_their_thresholds():
    assessment = of_several_classes()
    measured = summary(assessment)
    assert measured["thresholds"] == list(assessment.calibration.thresholds)
    assert measured["binary_accuracy"] == np.mean(assessment.test.decided == assessment.test.targets)
    assert "abstain_below" not in measured
    assert "further_tests" not in measured


def test_without_its_temperature_a_network_is_less_or_more_sure():
    assessment = of_one_class()
    assert (assessment.uncalibrated.probabilities.max(axis=1) > assessment.test.probabilities.max(axis=1)).all()
    np.testing.assert_array_equal(assessment.uncalibrated.answers, assessment.test.answers)


@pytest.mark.parametrize(
    ("limit", "share", "accuracy"), [(0.0, 1.0, 2 / 3), (0.5, 2 / 3, 1.0), (0.95, 0.0, None), (None, 1.0, 2 / 3)]
)
def test_what_abstaining_comes_to(limit: float | None, share: float, accuracy: float | None):
    chances = np.array([[0.9, 0.1], [0.2, 0.8], [0.45, 0.4]], np.float32)
    test = Evaluation(chances, np.eye(2, dtype=bool)[[0, 1, 1]])
    assessment = Assessment(of_one_class().config, Calibration(abstain_below=limit), {"test": test})
    assert answered(assessment) == {"share": pytest.approx(share), "accuracy": pytest.approx(accuracy)}


def test_what_was_chosen_is_read_back(tmp_path: Path):
    assert read_calibration(tmp_path) is None
    for assessment in (of_several_classes(), of_one_class()):
        write_summary(tmp_path, assessment)
        assert read_calibration(tmp_path) == assessment.calibration


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"temperature": "warm"}', '{"temperature": 1, "thresholds": 3}'])
def test_a_damaged_evaluation_is_told_with_what_to_do(tmp_path: Path, content: str):
    (tmp_path / EVALUATION_FILE).write_text(content)
    with pytest.raises(TrainError, match=r"cannot be used.*python -m train evaluate"):
        read_calibration(tmp_path)


def test_a_config_names_how_often_answers_shall_be_right():
    config = of_one_class().config
    assert config.answered_accuracy == 0.99
    with pytest.raises(ValueError, match="answered_accuracy"):
        TrainingConfig.model_validate(config.model_dump() | {"answered_accuracy": 1.5})


def test_labels_of_the_made_up_answers_are_awkward():
    assert any("<" in label for label in LABELS)
