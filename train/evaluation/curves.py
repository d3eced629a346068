"""What a threshold or a probability is worth: precision and recall, calibration, coverage; plain functions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

BINS = 15
"""As in Guo et al., On Calibration of Modern Neural Networks, https://arxiv.org/abs/1706.04599."""

Floats: TypeAlias = npt.NDArray[np.floating[Any]]
Truths: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of about the same probability.

    Attributes:
        count: How many; at least one.
        confidence: Their mean probability, 0..1.
        accuracy: Fraction of them that is right.
    """

    count: int
    confidence: float
    accuracy: float


def reliability(confidences: Floats, right: Truths, bins: int = BINS) -> list[Bin]:
    """Sort answers by their probability into bins of equal width, and leave empty ones out.

    Args:
        confidences: float[M], 0..1.
        right: bool[M].
        bins: How many bins 0..1 is cut into.
    """
    places = np.minimum((confidences * bins).astype(np.intp), bins - 1)
    found = []
    for place in np.unique(places):
        here = places == place
        found.append(Bin(int(here.sum()), float(np.mean(confidences[here], dtype=float)), float(right[here].mean())))
    return found


def calibration_error(bins: Sequence[Bin]) -> float:
    """Return the expected calibration error: how far confidence and accuracy of a bin are apart, on average.

    Source: Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning, AAAI 2015.
    """
    images = sum(each.count for each in bins)
    return sum(each.count * abs(each.confidence - each.accuracy) for each in bins) / images


@dataclass(frozen=True, slots=True)
class Ranking:
    """What each threshold that tells scores apart lets through, from the highest threshold to the lowest.

    Attributes:
        thresholds: float[T], each of the scores that occur.
        passed: int[T], how many scores are at or above the threshold.
        right: int[T], how many of those are right.
    """

    thresholds: Floats
    passed: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]

    @property
    def precision(self) -> npt.NDArray[np.float64]:
        """Fraction of what passes that is right: float64[T]."""
        return np.asarray(self.right / self.passed, np.float64)

    def between(self, place: int) -> float:
        """Return a threshold midway between the score at `place` and the next lower one, or 0.

        Scores there are none of: rounding elsewhere cannot turn one over.
        """
        lower = self.thresholds[place + 1] if place + 1 < len(self.thresholds) else 0.0
        return float((float(self.thresholds[place]) + float(lower)) / 2)


def rank(scores: Floats, right: Truths) -> Ranking:
    """Count what each threshold lets through.

    Args:
        scores: float[M], at least one.
        right: bool[M].
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # the last of equal scores
    return Ranking(ranked[last], last + 1, np.cumsum(right[order], dtype=np.int64)[last])


def average_precision(scores: Floats, right: Truths) -> float | None:
    """Return the precision, averaged over the recall that each threshold adds; None where nothing is right.

    Source: Manning et al., Introduction to Information Retrieval (2008), section 8.4, without interpolation.
    """
    if not right.any():
        return None
    ranking = rank(scores, right)
    gained = np.diff(ranking.right, prepend=0)
    return float(ranking.precision @ gained / right.sum())


def interval(right: float, images: int) -> tuple[float, float]:
    """Return between which fractions the true one lies, with a confidence of 95 %.

    Source: Wilson, Probable Inference, the Law of Succession, and Statistical Inference (1927).

    Args:
        right: Fraction found, 0..1.
        images: Among how many, at least 1.
    """
    z = 1.959964
    middle = (right + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z / (1 + z**2 / images) * math.sqrt(right * (1 - right) / images + (z / (2 * images)) ** 2)
    return max(0.0, middle - half), min(1.0, middle + half)
