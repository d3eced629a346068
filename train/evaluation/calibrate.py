"""Calibration of a trained network on the validation images: temperature and thresholds.

Trained networks are overconfident or, if trained with smoothed labels, underconfident. Dividing the class scores by
one number, the temperature, makes the probabilities match the accuracy on average and never changes a ranking.
Thresholds are then chosen from the calibrated probabilities: one per class for multi-label models, and for multiclass
models the probability below which it is better to abstain.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from train.evaluation.curves import rank
from train.evaluation.evaluate import Evaluation
from vision.card import Activation, Task
from vision.postprocess import to_probabilities

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
STEPS = 50
"""Bisection steps over 1 / temperature; enough to reach the resolution of float64."""

ACTIVATIONS: Mapping[Task, Activation] = {"multiclass": "softmax", "multilabel": "sigmoid"}

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was chosen for one trained network.

    Attributes:
        temperature: Above 0; class scores are divided by it.
        thresholds: For multi-label models: the probability from which each class counts as predicted.
        abstain_below: For multiclass models: the probability below which it is better to abstain. None if no
            threshold reaches the required accuracy.
    """

    temperature: float = 1.0
    thresholds: tuple[float, ...] | None = None
    abstain_below: float | None = None


def calibrate(raw: Evaluation, task: Task, answered_accuracy: float) -> Calibration:
    """Choose the temperature, then the thresholds.

    Args:
        raw: The validation images, evaluated with the network as trained; its thresholds are ignored.
        task: Task of the network.
        answered_accuracy: Required fraction of correct predictions among those at or above `abstain_below`.
    """
    temperature = fit_temperature(raw.probabilities, raw.targets, task)
    scaled = dataclasses.replace(raw, probabilities=apply_temperature(raw.probabilities, temperature, task))
    if task == "multilabel":
        pairs = zip(scaled.probabilities.T, scaled.targets.T, strict=True)
        return Calibration(temperature, thresholds=tuple(best_threshold(*pair) for pair in pairs))
    return Calibration(temperature, abstain_below=abstain_threshold(scaled, answered_accuracy))


def apply_temperature(
    probabilities: npt.NDArray[np.float32], temperature: float, task: Task
) -> npt.NDArray[np.float32]:
    """Return the float32[N, K] probabilities that result if all class scores are divided by `temperature`."""
    return to_probabilities(_to_scores(probabilities, task) / temperature, ACTIVATIONS[task])


def fit_temperature(probabilities: npt.NDArray[np.float32], targets: npt.NDArray[np.bool_], task: Task) -> float:
    """Return the temperature of least cross-entropy.

    Source: Guo et al., https://arxiv.org/abs/1706.04599, section 4.2. The targets are not 0 and 1 but smoothed by
    Laplace's rule of succession, as in Platt, Probabilistic Outputs for Support Vector Machines (1999), section 2.2.
    With few images, all classified correctly, targets of 0 and 1 would make the network as certain as the range allows.

    The cross-entropy is convex in 1 / temperature, so bisection on the sign of its slope finds the minimum.

    Args:
        probabilities: float32[N, K] at temperature 1.
        targets: bool[N, K].
        task: Task of the network.
    """
    scores, expected = _to_scores(probabilities, task), _smooth(targets, task)
    low, high = 1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE
    for _ in range(STEPS):
        middle = (low + high) / 2
        if np.sum((_activate(scores * middle, task) - expected) * scores) > 0:
            high = middle
        else:
            low = middle
    return float(2 / (low + high))


def best_threshold(scores: npt.NDArray[np.float32], targets: npt.NDArray[np.bool_]) -> float:
    """Return the threshold of highest F1; ties go to the one nearest to 0.5. Without a positive image, return 0.5.

    Args:
        scores: float32[N], the probabilities of one class.
        targets: bool[N], whether each image is of that class.
    """
    if not targets.any():
        return 0.5
    ranking = rank(scores, targets)
    f1 = 2 * ranking.correct / (ranking.passed + targets.sum())
    candidates = [ranking.midpoint_below(int(index)) for index in np.flatnonzero(f1 == f1.max())]
    return min(candidates, key=lambda threshold: abs(threshold - 0.5))


def abstain_threshold(evaluation: Evaluation, answered_accuracy: float) -> float | None:
    """Return the lowest threshold at which that fraction of the predictions is correct; None if there is none.

    Return 0 if all predictions together reach it.
    """
    ranking = rank(evaluation.probabilities.max(axis=1), evaluation.correct)
    candidates = np.flatnonzero(ranking.precision >= answered_accuracy)
    if not len(candidates):
        return None
    lowest = int(candidates[-1])
    return 0.0 if lowest == len(ranking.thresholds) - 1 else ranking.midpoint_below(lowest)


def _to_scores(probabilities: npt.NDArray[np.float32], task: Task) -> Floats:
    """Return class scores with these probabilities; for softmax they are unique only up to a constant."""
    limits = np.finfo(np.float32)
    clipped = np.clip(probabilities.astype(np.float64), limits.tiny, 1 - limits.epsneg)
    return np.asarray(np.log(clipped) - np.log1p(-clipped) if task == "multilabel" else np.log(clipped), np.float64)


def _activate(scores: Floats, task: Task) -> Floats:
    if task == "multilabel":
        return np.asarray(0.5 * (1 + np.tanh(scores / 2)))
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _smooth(targets: npt.NDArray[np.bool_], task: Task) -> Floats:
    """Smooth targets by Laplace's rule of succession: the expectation for one more image of the same kind."""
    images, classes = targets.shape
    if task == "multilabel":
        positives = targets.sum(axis=0)
        return np.asarray(
            np.where(targets, (positives + 1) / (positives + 2), 1 / (images - positives + 2)), np.float64
        )
    return np.asarray(np.where(targets, (images + 1) / (images + classes), 1 / (images + classes)), np.float64)
