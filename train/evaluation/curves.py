"""Metrics over all thresholds and probabilities, as plain functions: precision, calibration, coverage."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

BINS = 15
"""As in Guo et al., On Calibration of Modern Neural Networks, https://arxiv.org/abs/1706.04599."""
Z_95 = 1.959964
"""Quantile of the normal distribution for a two-sided confidence of 95 %."""

Floats: TypeAlias = npt.NDArray[np.floating[Any]]
Booleans: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions of about the same probability.

    Attributes:
        count: Number of predictions, at least one.
        confidence: Mean probability of the predictions, 0..1.
        accuracy: Fraction of the predictions that are correct.
    """

    count: int
    confidence: float
    accuracy: float


def reliability_bins(confidences: Floats, correct: Booleans, bins: int = BINS) -> list[Bin]:
    """Sort predictions by probability into bins of equal width, and drop empty bins.

    Args:
        confidences: float[M], 0..1.
        correct: bool[M], whether each prediction is correct.
        bins: Number of bins between 0 and 1.
    """
    indices = np.minimum((confidences * bins).astype(np.intp), bins - 1)
    members = [indices == index for index in np.unique(indices)]
    return [
        Bin(int(member.sum()), float(np.mean(confidences[member], dtype=float)), float(correct[member].mean()))
        for member in members
    ]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Return the expected calibration error: the mean gap between confidence and accuracy, weighted by bin size.

    Source: Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning, AAAI 2015.
    """
    predictions = sum(item.count for item in bins)
    return sum(item.count * abs(item.confidence - item.accuracy) for item in bins) / predictions


def log_losses(
    probabilities: npt.NDArray[np.float32], targets: Booleans, *, multilabel: bool
) -> npt.NDArray[np.float64]:
    """Return the cross-entropy of each decision, in nats: float64[N, 1] or, for multi-label models, float64[N, K].

    Args:
        probabilities: float32[N, K].
        targets: bool[N, K], the true classes of each image.
        multilabel: Whether each class is a decision of its own.
    """
    clipped = clip_probabilities(probabilities)
    if multilabel:
        return np.asarray(-np.log(np.where(targets, clipped, 1 - clipped)), np.float64)
    return np.asarray(-np.log(clipped[targets])[:, None], np.float64)


def clip_probabilities(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return probabilities of which neither the logarithm nor that of the opposite is infinite."""
    limits = np.finfo(np.float32)
    return np.clip(probabilities.astype(np.float64), limits.tiny, 1 - limits.epsneg)


@dataclass(frozen=True, slots=True)
class Ranking:
    """What passes each distinct threshold, from the highest threshold to the lowest.

    Attributes:
        thresholds: float[T], the distinct scores.
        passed: int[T], the number of scores at or above the threshold.
        correct: int[T], the number of correct predictions among them.
    """

    thresholds: Floats
    passed: npt.NDArray[np.int64]
    correct: npt.NDArray[np.int64]

    @property
    def precision(self) -> npt.NDArray[np.float64]:
        """The fraction of correct predictions among those that pass: float64[T]."""
        return np.asarray(self.correct / self.passed, np.float64)

    def midpoint_below(self, index: int) -> float:
        """Return the threshold midway between the score at `index` and the next lower one, or 0 below the last.

        No score is near that value, so a rounding difference cannot change which scores pass.
        """
        lower = self.thresholds[index + 1] if index + 1 < len(self.thresholds) else 0.0
        return float((float(self.thresholds[index]) + float(lower)) / 2)


def rank(scores: Floats, correct: Booleans) -> Ranking:
    """Count the scores, and the correct predictions, at or above each threshold.

    Args:
        scores: float[M], at least one.
        correct: bool[M], whether each prediction is correct.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last_of_equal = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    counts = np.cumsum(correct[order], dtype=np.int64)
    return Ranking(ranked[last_of_equal], last_of_equal + 1, counts[last_of_equal])


def average_precision(scores: Floats, correct: Booleans) -> float | None:
    """Return the mean precision, weighted by the recall that each threshold adds; None if nothing is correct.

    Source: Manning et al., Introduction to Information Retrieval (2008), section 8.4, without interpolation.
    """
    if not correct.any():
        return None
    ranking = rank(scores, correct)
    increments = np.diff(ranking.correct, prepend=0)
    return float(ranking.precision @ increments / correct.sum())


def wilson_interval(fraction: float, images: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a measured fraction.

    Source: Wilson, Probable Inference, the Law of Succession, and Statistical Inference (1927).

    Args:
        fraction: The measured fraction, 0..1.
        images: Number of images that it was measured on, at least 1.
    """
    center = (fraction + Z_95**2 / (2 * images)) / (1 + Z_95**2 / images)
    half = Z_95 / (1 + Z_95**2 / images) * math.sqrt(fraction * (1 - fraction) / images + (Z_95 / (2 * images)) ** 2)
    return max(0.0, center - half), min(1.0, center + half)
