"""Metrics of a model on labelled images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from train.data.batching import predict_in_batches
from train.data.examples import Inputs, Predict
from train.evaluation.curves import Bin, average_precision, calibration_error, log_losses, reliability_bins
from vision.card import Card

TOP = 5


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The predictions of a model for a set of images, and the true classes.

    Attributes:
        probabilities: float32[N, K].
        targets: bool[N, K], the true classes of each image.
        thresholds: float32[K], the probability from which a class counts as predicted, for multi-label models. None
            for multiclass models, which predict the class of highest probability.
    """

    probabilities: npt.NDArray[np.float32]
    targets: npt.NDArray[np.bool_]
    thresholds: npt.NDArray[np.float32] | None = None

    @property
    def true_classes(self) -> npt.NDArray[np.intp]:
        """The true class of each image, for multiclass models: intp[N]."""
        classes: npt.NDArray[np.intp] = self.targets.argmax(axis=1)
        return classes

    @property
    def top_classes(self) -> npt.NDArray[np.intp]:
        """The class of highest probability for each image; ties go to the lower number: intp[N]."""
        classes: npt.NDArray[np.intp] = self.probabilities.argmax(axis=1)
        return classes

    @property
    def decisions(self) -> npt.NDArray[np.bool_]:
        """The predicted classes of each image: bool[N, K]."""
        return decide(self.probabilities, self.thresholds)

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether the predicted classes of each image are exactly the true ones: bool[N]."""
        return np.asarray((self.decisions == self.targets).all(axis=1))

    @property
    def accuracy(self) -> float:
        """The fraction of images whose predicted classes are exactly the true ones."""
        return float(np.mean(self.correct))

    @property
    def confusion(self) -> npt.NDArray[np.int64]:
        """The number of images by true class (row) and predicted class (column), for multiclass models: int64[K, K]."""
        classes = self.probabilities.shape[1]
        pairs = self.true_classes * classes + self.top_classes
        return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)

    @property
    def reliability(self) -> list[Bin]:
        """Accuracy by confidence: of the top class for multiclass models, of every decision for multi-label models."""
        if self.thresholds is not None:
            return reliability_bins(self.probabilities.ravel(), self.targets.ravel())
        return reliability_bins(self.probabilities.max(axis=1), self.correct)

    @property
    def log_loss(self) -> float:
        """The mean cross-entropy in nats: per image for multiclass models, per decision for multi-label models."""
        losses = log_losses(self.probabilities, self.targets, multilabel=self.thresholds is not None)
        return float(losses.mean())

    def top_k_accuracy(self, k: int) -> float:
        """Return the fraction of images whose true class is among the `k` classes of highest probability."""
        scores = self.probabilities[np.arange(len(self.true_classes)), self.true_classes]
        return float(np.mean((self.probabilities > scores[:, None]).sum(axis=1) < k))


def decide(probabilities: npt.NDArray[np.float32], thresholds: npt.NDArray[np.float32] | None) -> npt.NDArray[np.bool_]:
    """Return the predicted classes of each image, bool[N, K], by the rules of `Evaluation`."""
    if thresholds is not None:
        return np.asarray(probabilities >= thresholds)
    return np.asarray(np.arange(probabilities.shape[1]) == probabilities.argmax(axis=1)[:, None])


def card_thresholds(card: Card) -> npt.NDArray[np.float32] | None:
    """Return the thresholds of a model in the form of `Evaluation.thresholds`."""
    if card.task == "multiclass":
        return None
    return np.array(np.broadcast_to(card.threshold, len(card.labels)), np.float32)


def evaluate(predict: Predict, inputs: Inputs, thresholds: npt.ArrayLike | None = None) -> Evaluation:
    """Run a model on every image, in batches.

    Args:
        predict: The model.
        inputs: At least one image.
        thresholds: As in `Evaluation`; a single number applies to all classes.
    """
    targets = inputs.targets.astype(bool)
    limits = None if thresholds is None else np.array(np.broadcast_to(thresholds, targets.shape[1]), np.float32)
    return Evaluation(predict_in_batches(predict, inputs.images), targets, limits)


def compute_metrics(evaluation: Evaluation, labels: Sequence[str]) -> dict[str, Any]:
    """Return the metrics of an evaluation as JSON values.

    Always present: `images`, `accuracy` (all classes of an image correct), `macro_f1` (mean over the classes),
    `calibration_error`, `log_loss` and `per_class`. Multiclass models add `balanced_accuracy` (mean recall of the
    classes), `confusion` and, with more than five classes, `top_5_accuracy`. Multi-label models add `binary_accuracy`
    (over all decisions, one per image and class) and `micro_f1` (over all decisions). A ratio is None if its
    denominator is 0, as for a class that is never predicted, and is left out of means.
    """
    per_class = _per_class_metrics(evaluation, labels)
    metrics: dict[str, Any] = {
        "images": len(evaluation.targets),
        "accuracy": evaluation.accuracy,
        "macro_f1": _mean(per_class, "f1"),
        "calibration_error": calibration_error(evaluation.reliability),
        "log_loss": evaluation.log_loss,
    }
    if evaluation.thresholds is not None:
        return metrics | _multilabel_metrics(evaluation) | {"per_class": per_class}
    metrics["balanced_accuracy"] = _mean(per_class, "recall")
    if len(labels) > TOP:
        metrics[f"top_{TOP}_accuracy"] = evaluation.top_k_accuracy(TOP)
    return metrics | {"per_class": per_class, "confusion": evaluation.confusion.tolist()}


def _per_class_metrics(evaluation: Evaluation, labels: Sequence[str]) -> list[dict[str, Any]]:
    decisions, targets = evaluation.decisions, evaluation.targets
    hits, predicted, actual = (decisions & targets).sum(axis=0), decisions.sum(axis=0), targets.sum(axis=0)
    return [
        {
            "class": label,
            "images": int(actual[k]),
            "precision": _ratio(hits[k], predicted[k]),
            "recall": _ratio(hits[k], actual[k]),
            "f1": _ratio(2 * hits[k], actual[k] + predicted[k]),
            "average_precision": average_precision(evaluation.probabilities[:, k], targets[:, k]),
        }
        for k, label in enumerate(labels)
    ]


def _multilabel_metrics(evaluation: Evaluation) -> dict[str, float | None]:
    decisions, targets = evaluation.decisions, evaluation.targets
    return {
        "binary_accuracy": float(np.mean(decisions == targets)),
        "micro_f1": _ratio(2 * (decisions & targets).sum(), decisions.sum() + targets.sum()),
    }


def _mean(per_class: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [metrics[name] for metrics in per_class if metrics[name] is not None]
    return float(np.mean(values)) if values else None


def _ratio(numerator: np.int64, denominator: np.int64) -> float | None:
    return float(numerator / denominator) if denominator else None
