"""Assessments of imaginary networks with invented predictions, some of them wrong."""

import numpy as np

from tests.support.stack import ROOT
from train.config.training_config import load_config
from train.evaluation.assessment import Assessment
from train.evaluation.calibrate import Calibration, TemperatureFit
from train.evaluation.evaluate import Evaluation

LABELS = ("cat", "dog & co", "<b>bird</b>")
WRONG_EVERY = 5
FIT = TemperatureFit(1.5, 0.9, 0.7, 0.2, 0.1, images=300)


def multiclass_assessment(images: int = 60) -> Assessment:
    """Return an assessment with one class per image; every fifth prediction is wrong, none in the set `jpeg`."""
    labels = np.arange(images) % len(LABELS)
    predictions = np.where(np.arange(images) % WRONG_EVERY == 0, (labels + 1) % len(LABELS), labels)
    confidence = 0.5 + 0.45 * np.random.default_rng(0).random((images, 1))
    eye = np.eye(len(LABELS))
    probabilities = (eye[predictions] * confidence + (1 - eye[predictions]) * (1 - confidence) / 2).astype(np.float32)
    test = Evaluation(probabilities, eye[labels].astype(bool))
    all_correct = Evaluation(eye[:2].astype(np.float32), eye[:2].astype(bool))
    return _assessment("multiclass", Calibration(1.5, abstain_below=0.8, fit=FIT), {"test": test, "jpeg": all_correct})


def multilabel_assessment(images: int = 40) -> Assessment:
    """Return an assessment with zero to two of three classes per image, and a threshold per class."""
    rng = np.random.default_rng(1)
    targets = rng.random((images, len(LABELS))) < (0.5, 0.3, 0.2)
    probabilities = np.clip(targets * 0.5 + 0.55 * rng.random(targets.shape), 0, 1).astype(np.float32)
    limits = np.array([0.5, 0.45, 0.6], np.float32)
    calibration = Calibration(0.8, thresholds=tuple(limits.tolist()))
    return _assessment("multilabel", calibration, {"test": Evaluation(probabilities, targets, limits)})


def _assessment(task: str, calibration: Calibration, sets: dict[str, Evaluation]) -> Assessment:
    config = load_config(ROOT / "train/configs/digits.yaml")
    changes = {"name": "pets", "title": "Pets & <others>", "labels": LABELS, "task": task}
    return Assessment(config.model_copy(update=changes), calibration, sets)
