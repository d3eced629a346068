"""Model output -> probabilities -> ranked labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vision.card import Activation, Card

ROUNDING = 1e-3
"""How far a probability may lie outside of 0..1 by rounding; float16 rounds a sum of probabilities by about as much."""
SUM_TOLERANCE = 0.05
"""How far the probabilities of classes that exclude each other may miss a sum of 1."""
ROUNDING_PER_SCORE = 1 / 512
"""What rounding may add to that for each class: a network in 8-bit integers returns multiples of 1/256."""
BINARY = 2
"""Number of labels that one score distinguishes."""


class NotProbabilitiesError(ValueError):
    """Scores without an activation that are not probabilities.

    Attributes:
        are_in_range: Whether all are in 0..1, so that labels which do not exclude each other are another explanation.
    """

    def __init__(self, reason: str, *, are_in_range: bool) -> None:
        super().__init__(reason)
        self.are_in_range = are_in_range


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class with its score.

    Attributes:
        label: Label of the class in the model card.
        class_id: Index of the label in the card.
        score: Probability, 0..1: the shortest decimal that stands for the same float32.
    """

    label: str
    class_id: int
    score: float


def class_probabilities(raw: npt.ArrayLike, card: Card, *, image: str = "an image") -> npt.NDArray[np.float32]:
    """Return one probability per label of a card.

    One score of a multiclass model with two labels is the probability of the second label, as a single sigmoid unit
    returns it; the first one has the rest.

    Args:
        raw: float[...], what a model returned for one image: one score per label in any shape, or the one of two.
        card: Card of the model.
        image: The image, in messages.

    Returns:
        float32[K], in 0..1.

    Raises:
        NotProbabilitiesError: There is no activation, and a score lies outside of 0..1, or the scores of classes that
            exclude each other do not add up to 1.
        ValueError: Their number is not that of the labels, one score has the activation softmax, or `to_probabilities`
            rejects the scores for another reason.
    """
    activation, labels = card.output.activation, len(card.labels)
    raw = np.asarray(raw).reshape(-1)
    is_binary = raw.size == 1 and labels == BINARY and card.task == "multiclass"
    if raw.size and not is_binary and raw.size != labels:
        count = "one score" if raw.size == 1 else f"{raw.size} scores"
        raise ValueError(f"the model returned {count}, the card has {labels} labels")
    if raw.size == 1 and activation == "softmax":
        raise ValueError("the model returned one score, of which softmax is always 1")
    scores = to_probabilities(raw, activation)
    if card.task != "multiclass":
        return scores
    if is_binary:
        return np.concatenate([1 - scores, scores])
    if activation == "none":
        _require_sum(scores, image)
    return scores


def activation_of_logits(card: Card, scores: int) -> Activation:
    """Return the activation that makes probabilities of so many logits for an image."""
    return "softmax" if card.task == "multiclass" and scores > 1 else "sigmoid"


def to_probabilities(raw: npt.ArrayLike, activation: Activation) -> npt.NDArray[np.float32]:
    """Apply the activation that a model leaves out, in float32 and without overflow.

    Args:
        raw: float[..., C], a row of scores per image.
        activation: ``none`` if the scores are probabilities already, ``softmax`` for logits of classes that exclude
            each other, ``sigmoid`` for logits of independent classes.

    Returns:
        float32[..., C], in 0..1.

    Raises:
        NotProbabilitiesError: There is no activation, and a score is not a probability.
        ValueError: There are no scores, they are not floating-point numbers, or one is NaN or infinite.
    """
    scores = np.asarray(raw)
    if scores.dtype.kind != "f":
        raise ValueError(f"the model returned scores of type {scores.dtype.name}, expected floating-point numbers")
    if activation == "none" and scores.dtype == np.float32:  # as most models answer
        return _clip_rounding(scores)
    with np.errstate(over="ignore"):  # an overflow to infinity is rejected, or becomes exp(-inf) = 0
        return _activate(np.asarray(scores, np.float32), activation)


def _activate(scores: npt.NDArray[np.float32], activation: Activation) -> npt.NDArray[np.float32]:
    if activation == "none":
        return _clip_rounding(scores)
    _require_finite(scores)
    if activation == "softmax":
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))  # at most exp(0)
        scores = np.asarray(weights / weights.sum(axis=-1, keepdims=True), np.float32)
    else:
        decayed = np.exp(-np.abs(scores))  # at most exp(0) for either sign
        scores = np.asarray(np.where(scores >= 0, 1, decayed) / (1 + decayed), np.float32)
    return scores


def is_confident(card: Card, best_score: float, confidence: float | None = None) -> bool | None:
    """Return whether a model is sure of its best class; None if its card does not say from where on it is.

    Args:
        card: Card of the model.
        best_score: Score of the best class.
        confidence: Value of the output `output.confidence`, if the card names one; it is compared instead of the score.
    """
    if card.abstain_below is None:
        return None
    return bool(np.float32(best_score if confidence is None else confidence) >= np.float32(card.abstain_below))


def top_k(scores: npt.NDArray[np.float32], labels: Sequence[str], k: int) -> list[ClassScore]:
    """Return the `k` highest scores in descending order, ties by lower index; all if there are fewer.

    Args:
        scores: float32[C].
        labels: C labels.
        k: At least 1.

    Raises:
        ValueError: The numbers of labels and scores differ, a score is NaN or infinite, or k is below 1.
    """
    if k < 1:
        raise ValueError(f"top_k must be at least 1, found {k}")
    _require_one_each(scores, labels)
    candidates = np.arange(len(scores))
    if k < len(scores):
        kth_highest = np.partition(scores, len(scores) - k)[len(scores) - k]
        candidates = np.flatnonzero(scores >= kth_highest)  # partition alone returns arbitrary ties
    return _rank(scores, labels, candidates)[:k]


def at_or_above(
    scores: npt.NDArray[np.float32], labels: Sequence[str], threshold: float | Sequence[float]
) -> list[ClassScore]:
    """Return the classes whose score reaches the threshold, highest first, ties by lower index.

    Args:
        scores: float32[C].
        labels: C labels.
        threshold: One for all labels, or one per label. It is compared as float32, like the scores, so that a score
            of 0.7 reaches a threshold of 0.7.

    Raises:
        ValueError: The numbers of labels, scores and thresholds differ, or a score is NaN or infinite.
    """
    _require_one_each(scores, labels)
    limits = np.asarray(threshold, np.float32)
    if limits.shape not in {(), scores.shape}:
        raise ValueError(f"expected one threshold or one per label ({len(labels)}), found {limits.size}")
    return _rank(scores, labels, np.flatnonzero(scores >= limits))


def _rank(scores: npt.NDArray[np.float32], labels: Sequence[str], candidates: npt.NDArray[np.intp]) -> list[ClassScore]:
    order = candidates[np.argsort(-scores[candidates], kind="stable")]
    pairs = zip(order.tolist(), scores[order], strict=True)
    return [ClassScore(labels[index], index, float(str(score))) for index, score in pairs]


def _require_one_each(scores: npt.NDArray[np.float32], labels: Sequence[str]) -> None:
    if scores.shape != (len(labels),):
        raise ValueError(f"expected {len(labels)} scores, one per label, found {list(scores.shape)}")
    _require_finite(scores)


def _require_sum(scores: npt.NDArray[np.float32], image: str) -> None:
    total = float(scores.sum())
    if abs(total - 1) > SUM_TOLERANCE + ROUNDING_PER_SCORE * scores.size:
        raise NotProbabilitiesError(f"the scores of {image} add up to {total:.3f}, not to 1", are_in_range=True)


def _clip_rounding(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return probabilities, clipped to 0..1 if they lie outside by rounding only.

    Raises:
        ValueError: There are no scores, one is NaN or infinite, or one is not a probability.
    """
    _require_scores(scores)
    lowest, highest = float(scores.min()), float(scores.max())
    if lowest >= 0 and highest <= 1:  # false for NaN too
        return scores
    _require_finite(scores)
    if lowest < -ROUNDING or highest > 1 + ROUNDING:
        raise NotProbabilitiesError(
            f"the model returned scores from {lowest:.4g} to {highest:.4g}, expected probabilities from 0 to 1",
            are_in_range=False,
        )
    return scores.clip(0, 1)


def _require_scores(scores: npt.NDArray[np.float32]) -> None:
    if scores.size == 0:
        raise ValueError("the model returned no scores")


def _require_finite(scores: npt.NDArray[np.float32]) -> None:
    _require_scores(scores)
    if not np.isfinite(scores).all():
        raise ValueError("the model returned scores that are NaN or infinite")
