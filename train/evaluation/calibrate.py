"""What is chosen on the validation images once a network is trained: temperature and thresholds.

A network trained to be sure is surer than it is right, or with smoothed labels less sure. Dividing its class
scores by one number, the temperature, sets the probabilities right on average and changes no ranking. What
a probability is worth being known, thresholds can be chosen: per class where an image may be of several, and
where it is of one, the threshold below which it is better to say nothing.
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

COLDEST, HOTTEST = 0.05, 20.0
STEPS = 50
"""Halvings of the range of 1 / temperature: below what float64 tells apart."""

ACTIVATIONS: Mapping[Task, Activation] = {"multiclass": "softmax", "multilabel": "sigmoid"}

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the answers of one trained network are worth.

    Attributes:
        temperature: Above 0; class scores are divided by it.
        thresholds: Where an image may be of several classes: from which probability on each is taken to be there.
        abstain_below: Where it is of one: below which probability it is better to say nothing. None where no
            threshold reaches the accuracy wanted.
    """

    temperature: float = 1.0
    thresholds: tuple[float, ...] | None = None
    abstain_below: float | None = None


def calibrate(raw: Evaluation, task: Task, answered_accuracy: float) -> Calibration:
    """Choose the temperature, and after it the thresholds.

    Args:
        raw: The validation images, by the network as it was trained; its thresholds do not count.
        task: Of the network.
        answered_accuracy: Which fraction of the answers that are not withheld shall be right.
    """
    temperature = fit_temperature(raw.probabilities, raw.targets, task)
    warmed = dataclasses.replace(raw, probabilities=at_temperature(raw.probabilities, temperature, task))
    if task == "multilabel":
        pairs = zip(warmed.probabilities.T, warmed.targets.T, strict=True)
        return Calibration(temperature, thresholds=tuple(best_threshold(*pair) for pair in pairs))
    return Calibration(temperature, abstain_below=abstain_threshold(warmed, answered_accuracy))


def at_temperature(probabilities: npt.NDArray[np.float32], temperature: float, task: Task) -> npt.NDArray[np.float32]:
    """Return float32[N, K] as it would be with all class scores divided by `temperature`."""
    return to_probabilities(_scores(probabilities, task) / temperature, ACTIVATIONS[task])


def fit_temperature(probabilities: npt.NDArray[np.float32], targets: npt.NDArray[np.bool_], task: Task) -> float:
    """Return the temperature of least cross-entropy.

    Source: Guo et al., https://arxiv.org/abs/1706.04599, section 4.2; and as in Platt, Probabilistic Outputs
    for Support Vector Machines (1999), section 2.2, the targets are not 0 and 1, but what Laplace's rule of
    succession expects of images not seen. With few images and all of them right, 0 and 1 would make the
    network as sure as numbers go.

    The cross-entropy is convex in 1 / temperature, so halving the range by the sign of the slope finds the least.

    Args:
        probabilities: float32[N, K] at temperature 1.
        targets: bool[N, K].
        task: Of the network.
    """
    scores, wanted = _scores(probabilities, task), _expected(targets, task)
    low, high = 1 / HOTTEST, 1 / COLDEST
    for _ in range(STEPS):
        middle = (low + high) / 2
        if np.sum((_activated(scores * middle, task) - wanted) * scores) > 0:
            high = middle
        else:
            low = middle
    return float(2 / (low + high))


def best_threshold(scores: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> float:
    """Return the threshold of highest F1, of equal ones that nearest to 0.5; 0.5 where nothing is right.

    Args:
        scores: float32[N], of one class.
        right: bool[N], whether an image is of it.
    """
    if not right.any():
        return 0.5
    ranking = rank(scores, right)
    f1 = 2 * ranking.right / (ranking.passed + right.sum())
    best = [ranking.between(int(place)) for place in np.flatnonzero(f1 == f1.max())]
    return min(best, key=lambda threshold: abs(threshold - 0.5))


def abstain_threshold(evaluation: Evaluation, answered_accuracy: float) -> float | None:
    """Return the lowest threshold at which that fraction of the answers is right; None if there is none.

    It is 0 where all answers together are right so often.
    """
    ranking = rank(evaluation.probabilities.max(axis=1), evaluation.right)
    reached = np.flatnonzero(ranking.precision >= answered_accuracy)
    if not len(reached):
        return None
    lowest = int(reached[-1])
    return 0.0 if lowest == len(ranking.thresholds) - 1 else ranking.between(lowest)


def _scores(probabilities: npt.NDArray[np.float32], task: Task) -> Floats:
    """Return class scores that give these probabilities; of softmax one of many, all different by a constant."""
    numbers = np.finfo(np.float32)
    chances = np.clip(probabilities.astype(np.float64), numbers.tiny, 1 - numbers.epsneg)
    return np.asarray(np.log(chances) - np.log1p(-chances) if task == "multilabel" else np.log(chances), np.float64)


def _activated(scores: Floats, task: Task) -> Floats:
    if task == "multilabel":
        return np.asarray(0.5 * (1 + np.tanh(scores / 2)))
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _expected(targets: npt.NDArray[np.bool_], task: Task) -> Floats:
    """Return what to expect of a further image that is, and one that is not, of a class."""
    images, classes = targets.shape
    if task == "multilabel":
        there = targets.sum(axis=0)
        return np.asarray(np.where(targets, (there + 1) / (there + 2), 1 / (images - there + 2)), np.float64)
    return np.asarray(np.where(targets, (images + 1) / (images + classes), 1 / (images + classes)), np.float64)
