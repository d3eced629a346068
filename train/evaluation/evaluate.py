"""How good a model is on labelled images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from train.data.examples import Inputs, Predict
from train.evaluation.curves import Bin, average_precision, calibration_error, reliability
from vision.card import Card

BATCH = 256
TOP = 5


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a model said about each image, and what is right.

    Attributes:
        probabilities: float32[N, K].
        targets: bool[N, K], whether an image is of a class.
        thresholds: float32[K], from which probability on a class is taken to be there; None where exactly one
            is, the likeliest.
    """

    probabilities: npt.NDArray[np.float32]
    targets: npt.NDArray[np.bool_]
    thresholds: npt.NDArray[np.float32] | None = None

    @property
    def labels(self) -> npt.NDArray[np.intp]:
        """The right class of each image, where exactly one is: intp[N]."""
        labels: npt.NDArray[np.intp] = self.targets.argmax(axis=1)
        return labels

    @property
    def answers(self) -> npt.NDArray[np.intp]:
        """The class of highest probability for each image; ties by lower number: intp[N]."""
        answers: npt.NDArray[np.intp] = self.probabilities.argmax(axis=1)
        return answers

    @property
    def decided(self) -> npt.NDArray[np.bool_]:
        """Which classes each image is said to be of: bool[N, K]."""
        if self.thresholds is not None:
            return np.asarray(self.probabilities >= self.thresholds)
        return np.asarray(np.arange(self.probabilities.shape[1]) == self.answers[:, None])

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whether each image is said to be of the classes that it is of, no more and no fewer: bool[N]."""
        return np.asarray((self.decided == self.targets).all(axis=1))

    @property
    def accuracy(self) -> float:
        """Fraction of images that are right."""
        return float(np.mean(self.right))

    @property
    def confusion(self) -> npt.NDArray[np.int64]:
        """How many images of class i (row) were answered with class j (column), where one is right: int64[K, K]."""
        classes = self.probabilities.shape[1]
        pairs = self.labels * classes + self.answers
        return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)

    @property
    def reliability(self) -> list[Bin]:
        """How often answers of each probability are right: of the likeliest class, or of each class by itself."""
        if self.thresholds is not None:
            return reliability(self.probabilities.ravel(), self.targets.ravel())
        return reliability(self.probabilities.max(axis=1), self.right)

    def within_top(self, count: int) -> float:
        """Return the fraction of images whose right class is among the `count` likeliest."""
        of_right = self.probabilities[np.arange(len(self.labels)), self.labels]
        return float(np.mean((self.probabilities > of_right[:, None]).sum(axis=1) < count))


def thresholds_of(card: Card) -> npt.NDArray[np.float32] | None:
    """Return a model's thresholds as `Evaluation` has them."""
    if card.task == "multiclass":
        return None
    return np.array(np.broadcast_to(card.threshold, len(card.labels)), np.float32)


def evaluate(predict: Predict, inputs: Inputs, thresholds: npt.ArrayLike | None = None) -> Evaluation:
    """Ask the model about every image, in batches.

    Args:
        predict: The model.
        inputs: At least one image.
        thresholds: See `Evaluation`; one number stands for all classes.
    """
    starts = range(0, len(inputs.images), BATCH)
    parts = [predict(inputs.images[start : start + BATCH]) for start in starts]
    targets = inputs.targets.astype(bool)
    limits = None if thresholds is None else np.array(np.broadcast_to(thresholds, targets.shape[1]), np.float32)
    return Evaluation(np.concatenate(parts), targets, limits)


def figures(evaluation: Evaluation, labels: Sequence[str]) -> dict[str, Any]:
    """Summarise as JSON values.

    Always: `images`, `accuracy` (all of an image right), `calibration_error`, and `per_class`. Where one class is
    right: `top_5_accuracy` if there are more classes, and `confusion`. Where any number is: `binary_accuracy`
    (over all decisions, one per image and class), `micro_f1` (over all decisions alike) and `macro_f1` (the mean
    of the classes'). A ratio without a denominator (a class that never occurs, or is never answered) is None.
    """
    per_class = _per_class(evaluation, labels)
    found = {
        "images": len(evaluation.targets),
        "accuracy": evaluation.accuracy,
        "calibration_error": calibration_error(evaluation.reliability),
    }
    if evaluation.thresholds is not None:
        return found | _over_decisions(evaluation, per_class) | {"per_class": per_class}
    if len(labels) > TOP:
        found[f"top_{TOP}_accuracy"] = evaluation.within_top(TOP)
    return found | {"per_class": per_class, "confusion": evaluation.confusion.tolist()}


def _per_class(evaluation: Evaluation, labels: Sequence[str]) -> list[dict[str, Any]]:
    decided, targets = evaluation.decided, evaluation.targets
    right, answered, occurs = (decided & targets).sum(axis=0), decided.sum(axis=0), targets.sum(axis=0)
    return [
        {
            "class": label,
            "images": int(occurs[k]),
            "precision": _ratio(right[k], answered[k]),
            "recall": _ratio(right[k], occurs[k]),
            "f1": _ratio(2 * right[k], occurs[k] + answered[k]),
            "average_precision": average_precision(evaluation.probabilities[:, k], targets[:, k]),
        }
        for k, label in enumerate(labels)
    ]


def _over_decisions(evaluation: Evaluation, per_class: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    decided, targets = evaluation.decided, evaluation.targets
    scores = [values["f1"] for values in per_class if values["f1"] is not None]
    return {
        "binary_accuracy": float(np.mean(decided == targets)),
        "micro_f1": _ratio(2 * (decided & targets).sum(), decided.sum() + targets.sum()),
        "macro_f1": float(np.mean(scores)) if scores else None,
    }


def _ratio(numerator: np.int64, denominator: np.int64) -> float | None:
    return float(numerator / denominator) if denominator else None
