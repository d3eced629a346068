"""How good a model is on labelled images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from train.examples import Inputs, Predict

BATCH = 256


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a model said about each image, and what is right.

    Attributes:
        probabilities: float32[N, K].
        labels: int32[N], the right classes.
    """

    probabilities: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]

    @property
    def answers(self) -> npt.NDArray[np.intp]:
        """The class of highest probability for each image; ties by lower number."""
        answers: npt.NDArray[np.intp] = self.probabilities.argmax(axis=1)
        return answers

    @property
    def accuracy(self) -> float:
        """Fraction of images for which the answer is right."""
        return float(np.mean(self.answers == self.labels))

    @property
    def confusion(self) -> npt.NDArray[np.int64]:
        """How many images of class i (row) were answered with class j (column): int64[K, K]."""
        classes = self.probabilities.shape[1]
        pairs = self.labels * classes + self.answers
        return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def evaluate(predict: Predict, inputs: Inputs) -> Evaluation:
    """Ask the model about every image, in batches."""
    starts = range(0, len(inputs.images), BATCH)
    parts = [predict(inputs.images[start : start + BATCH]) for start in starts]
    return Evaluation(np.concatenate(parts), inputs.labels)


def figures(evaluation: Evaluation, labels: Sequence[str]) -> dict[str, Any]:
    """Summarise as JSON values: accuracy, number of images, precision, recall and F1 per class, confusion.

    A ratio without a denominator (a class that never occurs, or is never answered) is None.
    """
    confusion = evaluation.confusion
    right, occurs, answered = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    per_class = {
        label: {
            "images": int(occurs[k]),
            "precision": _ratio(right[k], answered[k]),
            "recall": _ratio(right[k], occurs[k]),
            "f1": _ratio(2 * right[k], occurs[k] + answered[k]),
        }
        for k, label in enumerate(labels)
    }
    return {
        "images": len(evaluation.labels),
        "accuracy": evaluation.accuracy,
        "per_class": per_class,
        "confusion": confusion.tolist(),
    }


def _ratio(numerator: np.int64, denominator: np.int64) -> float | None:
    return float(numerator / denominator) if denominator else None
