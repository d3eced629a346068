"""Small classifiers, trained on many random splits of a few hundred images: a new last layer on fixed features."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from train.evaluation.calibrate import apply_temperature, fit_temperature
from train.evaluation.curves import calibration_error
from train.evaluation.evaluate import Evaluation

EPOCHS = 60
BATCH = 32
HELD_BACK = 0.15
"""Share of each class in the validation images, and in the test images."""
ROUNDING = 1e-6


class Split(NamedTuple):
    """Predictions of a classifier for the images of one split that it was not trained on."""

    validation: Evaluation
    test: Evaluation


class Effect(NamedTuple):
    """What calibration on the validation images does to the test images, over all splits.

    Attributes:
        log_loss: Mean change of the log loss.
        calibration_error: Mean change of the calibration error.
        worse: Number of splits whose log loss is higher than before.
        temperatures: Temperature of each split.
    """

    log_loss: float
    calibration_error: float
    worse: int
    temperatures: list[float]


def measure_calibration(splits: Iterable[Split]) -> Effect:
    """Calibrate each classifier on its validation images, and compare its test images with those before."""
    changes, temperatures = [], []
    for split in splits:
        fit = fit_temperature(split.validation.probabilities, split.validation.targets, "multiclass")
        calibrated = apply_temperature(split.test.probabilities, fit.temperature, "multiclass")
        before, after = split.test, Evaluation(calibrated, split.test.targets)
        errors = [calibration_error(evaluation.reliability) for evaluation in (before, after)]
        changes.append((after.log_loss - before.log_loss, errors[1] - errors[0]))
        temperatures.append(fit.temperature)
    log_losses, calibration_errors = np.transpose(changes)
    worse = int((log_losses > ROUNDING).sum())
    return Effect(float(log_losses.mean()), float(calibration_errors.mean()), worse, temperatures)


def train_on_splits(
    features: np.ndarray, classes: np.ndarray, splits: int, learning_rate: float, dropout: float
) -> Iterator[Split]:
    """Train a classifier on each split.

    Args:
        features: float32[N, F].
        classes: int[N].
        splits: Number of splits.
        learning_rate: At the start; it falls to 0.
        dropout: Share of the features that are left out in each step.
    """
    scaled = (features - features.mean()) / features.std()
    targets = np.eye(classes.max() + 1, dtype=bool)[classes]
    for seed in range(splits):
        rng = np.random.default_rng(seed)
        train, validation, test = _split(classes, rng)
        weights = _train_head(scaled[train], targets[train], rng, learning_rate, 1 - dropout)
        yield Split(*(Evaluation(_softmax(scaled[part] @ weights), targets[part]) for part in (validation, test)))


def _split(classes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    parts: tuple[list[int], ...] = ([], [], [])
    for number in np.unique(classes):
        indices = rng.permutation(np.flatnonzero(classes == number))
        held_back = round(HELD_BACK * len(indices))
        for part, members in zip(parts, np.split(indices, [-2 * held_back, -held_back]), strict=True):
            part.extend(members)
    return np.array(parts[0]), np.array(parts[1]), np.array(parts[2])


def _train_head(
    features: np.ndarray, targets: np.ndarray, rng: np.random.Generator, learning_rate: float, kept: float
) -> np.ndarray:
    """Return float32[F, K], found by stochastic gradient descent."""
    weights = np.zeros((features.shape[1], targets.shape[1]), np.float32)
    for epoch in range(EPOCHS):
        rate = learning_rate * (1 - epoch / EPOCHS)
        order = rng.permutation(len(features))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            batch = order[start : start + BATCH]
            mask = rng.random((BATCH, features.shape[1]), np.float32) < kept
            values = features[batch] * mask / np.float32(kept)
            errors = _softmax(values @ weights) - targets[batch]
            weights -= (rate / BATCH * values.T @ errors).astype(np.float32)
    return weights


def _softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
