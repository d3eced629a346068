"""Model output -> probabilities -> ranked labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vision.card import Activation


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One label with its score.

    Attributes:
        label: From the model card.
        class_id: Index into the card's labels.
        score: Probability, 0..1.
    """

    label: str
    class_id: int
    score: float


@np.errstate(over="ignore")  # what overflows to infinity is refused, or becomes exp(-inf) = 0
def probabilities(raw: npt.ArrayLike, activation: Activation) -> npt.NDArray[np.float32]:
    """Apply what is left to apply to a model's output, in float32 and without overflow.

    Args:
        raw: float[..., C], a row of scores per picture.
        activation: ``none``: they are probabilities already. ``softmax``: logits of which one class is right.
            ``sigmoid``: a logit per class.

    Returns:
        float32[..., C].

    Raises:
        ValueError: A score is NaN or infinite, or there is none.
    """
    scores = np.asarray(raw, np.float32)
    _require_finite(scores)
    if activation == "softmax":
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))  # at most exp(0)
        scores = np.asarray(weights / weights.sum(axis=-1, keepdims=True), np.float32)
    elif activation == "sigmoid":
        decayed = np.exp(-np.abs(scores))  # at most exp(0), on either side
        scores = np.asarray(np.where(scores >= 0, 1, decayed) / (1 + decayed), np.float32)
    return scores


def top_k(scores: npt.NDArray[np.float32], labels: Sequence[str], k: int) -> list[ClassScore]:
    """Rank the `k` highest scores, ties by lower index; all of them where there are fewer.

    Args:
        scores: float32[C].
        labels: C labels.
        k: At least 1.

    Raises:
        ValueError: Labels and scores differ in number, a score is NaN or infinite, or k is below 1.
    """
    if k < 1:
        raise ValueError(f"top_k has to be at least 1, found {k}")
    _require_one_each(scores, labels)
    candidates = np.arange(len(scores))
    if k < len(scores):
        smallest = np.partition(scores, len(scores) - k)[len(scores) - k]
        candidates = np.flatnonzero(scores >= smallest)  # partition alone would choose among ties at will
    return _ranked(scores, labels, candidates)[:k]


def at_or_above(
    scores: npt.NDArray[np.float32], labels: Sequence[str], threshold: float | Sequence[float]
) -> list[ClassScore]:
    """Rank the labels whose score reaches the threshold, ties by lower index.

    Args:
        scores: float32[C].
        labels: C labels.
        threshold: One for all, or one per label. It is compared as float32, as the scores are, so that a
            score of 0.7 reaches a threshold of 0.7.

    Raises:
        ValueError: Labels, scores and thresholds differ in number, or a score is NaN or infinite.
    """
    _require_one_each(scores, labels)
    limits = np.asarray(threshold, np.float32)
    if limits.shape not in {(), scores.shape}:
        raise ValueError(f"expected one threshold or {len(labels)}, found {limits.size}")
    return _ranked(scores, labels, np.flatnonzero(scores >= limits))


def _ranked(
    scores: npt.NDArray[np.float32], labels: Sequence[str], candidates: npt.NDArray[np.intp]
) -> list[ClassScore]:
    order = candidates[np.argsort(-scores[candidates], kind="stable")]
    return [ClassScore(labels[index], int(index), float(scores[index])) for index in order]


def _require_one_each(scores: npt.NDArray[np.float32], labels: Sequence[str]) -> None:
    if scores.shape != (len(labels),):
        raise ValueError(f"expected {len(labels)} scores, one per label, found {list(scores.shape)}")
    _require_finite(scores)


def _require_finite(scores: npt.NDArray[np.float32]) -> None:
    if scores.size == 0:
        raise ValueError("the model gave no scores")
    if not np.isfinite(scores).all():
        raise ValueError("the model gave scores that are NaN or infinite")
