"""Calibration of a trained network on the validation images: temperature and thresholds.

Trained networks are overconfident or, if trained with smoothed labels, underconfident. Dividing the class scores by
one number, the temperature, makes the probabilities match the accuracy on average and never changes a ranking.
A temperature is kept only if it makes images more likely that it was not fitted on, so calibration does no harm where
there are too few images to learn from. Thresholds are then chosen from the calibrated probabilities: one per class for
multi-label models, and for multiclass models the probability below which it is better to abstain.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from train.evaluation.curves import calibration_error, clip_probabilities, log_losses, rank
from train.evaluation.evaluate import Evaluation
from vision.card import Activation, Task
from vision.postprocess import to_probabilities

TEMPERATURES = np.geomspace(0.05, 20, 121)
"""Temperatures that are compared; the best one is refined by a parabola through it and its neighbours."""
LOG_TEMPERATURE_DEVIATION = 0.25
"""Standard deviation of the normal distribution that log(temperature) is assumed to have before any image is seen. It
keeps a few images, all classified correctly, from making a network as certain as `TEMPERATURES` allow, and counts for
nothing with thousands of images."""
FOLDS = 10

ACTIVATIONS: Mapping[Task, Activation] = {"multiclass": "softmax", "multilabel": "sigmoid"}

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TemperatureFit:
    """A temperature, and what it achieves for images that it was not fitted on.

    Attributes:
        temperature: Above 0; 1 if no other one is better by cross-validation.
        log_loss_before: Mean cross-entropy at temperature 1, in nats per image, or per decision of a multi-label model.
        log_loss_after: The same, cross-validated, at the fitted temperature.
        calibration_error_before: Expected calibration error at temperature 1.
        calibration_error_after: The same, cross-validated, at the fitted temperature.
        images: Number of images.
    """

    temperature: float
    log_loss_before: float
    log_loss_after: float
    calibration_error_before: float
    calibration_error_after: float
    images: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was chosen for one trained network.

    Attributes:
        temperature: Above 0; class scores are divided by it.
        thresholds: For multi-label models: the probability from which each class counts as predicted.
        abstain_below: For multiclass models: the probability below which it is better to abstain. None if no
            threshold reaches the required accuracy, or too few images are above it to tell.
        fit: How the temperature was chosen; None if that is not recorded.
    """

    temperature: float = 1.0
    thresholds: tuple[float, ...] | None = None
    abstain_below: float | None = None
    fit: TemperatureFit | None = None


def calibrate(raw: Evaluation, task: Task, answered_accuracy: float) -> Calibration:
    """Choose the temperature, then the thresholds.

    Args:
        raw: The validation images, evaluated with the network as trained; its thresholds are ignored.
        task: Task of the network.
        answered_accuracy: Required fraction of correct predictions among those at or above `abstain_below`.
    """
    fit = fit_temperature(raw.probabilities, raw.targets, task)
    scaled = dataclasses.replace(raw, probabilities=apply_temperature(raw.probabilities, fit.temperature, task))
    if task == "multilabel":
        pairs = zip(scaled.probabilities.T, scaled.targets.T, strict=True)
        return Calibration(fit.temperature, thresholds=tuple(best_threshold(*pair) for pair in pairs), fit=fit)
    threshold = abstain_threshold(scaled, answered_accuracy)
    if threshold is not None:
        answered = np.count_nonzero(scaled.probabilities.max(axis=1) >= np.float32(threshold))
        if answered < min_answered(answered_accuracy):
            threshold = None
    return Calibration(fit.temperature, abstain_below=threshold, fit=fit)


def min_answered(answered_accuracy: float) -> float:
    """Return how many answered images it takes to support an accuracy: 100 for 0.99, no number for 1.

    With fewer images, a single mistake among them would already be too many, so that there is none proves little.
    """
    return math.ceil(round(1 / (1 - answered_accuracy), 6)) if answered_accuracy < 1 else math.inf


def apply_temperature(
    probabilities: npt.NDArray[np.float32], temperature: float, task: Task
) -> npt.NDArray[np.float32]:
    """Return the float32[N, K] probabilities that result if all class scores are divided by `temperature`."""
    return _activate(_to_scores(probabilities, task) / temperature, task)


def fit_temperature(
    probabilities: npt.NDArray[np.float32], targets: npt.NDArray[np.bool_], task: Task
) -> TemperatureFit:
    """Return the most likely temperature or, if cross-validation finds that it gains nothing, 1.

    Source: Guo et al., https://arxiv.org/abs/1706.04599, section 4.2, with a prior distribution of the temperature.

    Args:
        probabilities: float32[N, K] at temperature 1.
        targets: bool[N, K].
        task: Task of the network.
    """
    scores = _to_scores(probabilities, task)
    losses = np.stack(
        [_log_losses(_activate(scores / value, task), targets, task).sum(axis=1) for value in TEMPERATURES]
    )
    folds = _assign_folds(targets)
    held_out = np.empty_like(probabilities)
    for fold in np.unique(folds):
        part = folds == fold
        held_out[part] = _activate(scores[part] / _most_likely_temperature(losses[:, ~part]), task)
    before, after = (float(_log_losses(values, targets, task).mean()) for values in (probabilities, held_out))
    if after < before:
        temperature = _most_likely_temperature(losses)
    else:
        temperature, after, held_out = 1.0, before, probabilities
    error_before, error_after = (_calibration_error(values, targets, task) for values in (probabilities, held_out))
    return TemperatureFit(temperature, before, after, error_before, error_after, len(targets))


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
    clipped = clip_probabilities(probabilities)
    return np.asarray(np.log(clipped) - np.log1p(-clipped) if task == "multilabel" else np.log(clipped), np.float64)


def _activate(scores: Floats, task: Task) -> npt.NDArray[np.float32]:
    return to_probabilities(scores, ACTIVATIONS[task])


def _log_losses(probabilities: npt.NDArray[np.float32], targets: npt.NDArray[np.bool_], task: Task) -> Floats:
    return log_losses(probabilities, targets, multilabel=task == "multilabel")


def _calibration_error(probabilities: npt.NDArray[np.float32], targets: npt.NDArray[np.bool_], task: Task) -> float:
    thresholds = np.full(targets.shape[1], 0.5, np.float32) if task == "multilabel" else None
    return calibration_error(Evaluation(probabilities, targets, thresholds).reliability)


def _assign_folds(targets: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Return a number below `FOLDS` for each image; images of the same classes get all numbers equally often."""
    folds = np.empty(len(targets), np.intp)
    folds[np.lexsort(targets.T)] = np.arange(len(targets)) % FOLDS
    return folds


def _most_likely_temperature(losses: Floats) -> float:
    """Return the temperature that is most likely, given images and the prior distribution.

    Args:
        losses: float64[len(TEMPERATURES), N], the cross-entropy of each image at each temperature.
    """
    logarithms = np.log(TEMPERATURES)
    totals = losses.sum(axis=1) + logarithms**2 / (2 * LOG_TEMPERATURE_DEVIATION**2)
    best = int(totals.argmin())
    if best in {0, len(totals) - 1}:
        return float(TEMPERATURES[best])
    lower, middle, upper = totals[best - 1 : best + 2]
    shift = (lower - upper) / (2 * (lower - 2 * middle + upper))
    return float(np.exp(logarithms[best] + shift * (logarithms[1] - logarithms[0])))
