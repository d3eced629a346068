"""Whether two models differ by more than chance, judged on the same test images."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from train.evaluation.predictions import ImageResult

SIGNIFICANT = 0.05
"""A difference that chance makes as often as this is not one."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of two models on the same images.

    Attributes:
        first: Value of the first model.
        second: Value of the second model.
        standard_error: Of `second - first`.
        p_value: Probability of at least this difference if both models are equally good.
        better: Number of the better model, 1 or 2; None if no difference can be shown.
    """

    first: float
    second: float
    standard_error: float
    p_value: float
    better: int | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the test images that both were evaluated on.

    Attributes:
        images: Number of these images, at least 1.
        accuracy: Compared by McNemar's exact test.
        log_loss: Compared by the mean difference of an image and its standard error.
    """

    images: int
    accuracy: Difference
    log_loss: Difference


def compare_results(first: Mapping[str, ImageResult], second: Mapping[str, ImageResult]) -> Comparison | None:
    """Compare two models by the results of each image, named by its SHA-256; None if no image is in both."""
    common = sorted(first.keys() & second.keys())
    if not common:
        return None
    before, after = (np.array([results[name] for name in common], float) for results in (first, second))
    differences = after - before
    errors = differences.std(axis=0, ddof=1) / math.sqrt(len(common)) if len(common) > 1 else np.full(2, math.inf)
    gained, lost = (int(np.count_nonzero(differences[:, 0] == sign)) for sign in (1, -1))
    p_values = mcnemar(gained, lost), _p_value(float(differences[:, 1].mean()), float(errors[1]))
    accuracy, log_loss = (
        _judge(*map(float, values), higher_is_better=higher)
        for *values, higher in zip(
            before.mean(axis=0), after.mean(axis=0), errors, p_values, (True, False), strict=True
        )
    )
    return Comparison(len(common), accuracy, log_loss)


def mcnemar(gained: int, lost: int) -> float:
    """Return the p-value of McNemar's exact test, two-sided.

    Source: McNemar, Note on the Sampling Error of the Difference Between Correlated Proportions (1947); the number of
    images that only one model classifies correctly follows a binomial distribution if both are equally good.

    Args:
        gained: Number of images that only the second model classifies correctly.
        lost: Number of images that only the first model classifies correctly.
    """
    discordant = gained + lost
    tail = sum(math.comb(discordant, count) for count in range(min(gained, lost) + 1))
    return min(1.0, float(2 * tail / 2**discordant))


def _p_value(difference: float, standard_error: float) -> float:
    if difference == 0:
        return 1.0
    return math.erfc(abs(difference) / standard_error / math.sqrt(2)) if standard_error else 0.0


def _judge(first: float, second: float, error: float, p_value: float, *, higher_is_better: bool) -> Difference:
    better = None
    if p_value < SIGNIFICANT:
        better = 2 if (second > first) == higher_is_better else 1
    return Difference(first, second, error, p_value, better)
