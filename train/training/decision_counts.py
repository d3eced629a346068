"""Counts of decisions by class, and the metrics that weight classes equally."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from vision.card import Task


class DecisionCounts:
    """Counts, batch by batch, how often each class occurs, is predicted, and is both.

    Args:
        task: Task of the network. The class of the highest score is predicted, or each class of a score above 0 if the
            task is `multilabel`.
        classes: Number of classes.
    """

    def __init__(self, task: Task, classes: int) -> None:
        self._task = task
        self._actual, self._predicted, self._hits = np.zeros((3, classes), np.int64)

    def add(self, scores: npt.NDArray[np.float32], targets: npt.NDArray[np.float32]) -> None:
        """Add a batch: float32[N, K] class scores before softmax or sigmoid, and float32[N, K] targets of 0 or 1."""
        is_actual = targets > 1 / 2
        if self._task == "multilabel":
            is_predicted = scores > 0
        else:
            is_predicted = np.arange(scores.shape[1]) == scores.argmax(axis=1)[:, None]
        self._actual += is_actual.sum(axis=0)
        self._predicted += is_predicted.sum(axis=0)
        self._hits += (is_actual & is_predicted).sum(axis=0)

    def metrics(self) -> Mapping[str, float]:
        """Return `macro_f1`, and `balanced_accuracy` (the mean recall) or, if the task is `multilabel`, `micro_f1`.

        A mean leaves out the classes for which the metric is not defined: F1 of those that neither occur nor are
        predicted, recall of those that do not occur. Without any other class it is 0.
        """
        totals = self._actual + self._predicted
        macro_f1 = _mean_ratio(2 * self._hits, totals)
        if self._task == "multilabel":
            return {
                "macro_f1": macro_f1,
                "micro_f1": _mean_ratio(2 * self._hits.sum(keepdims=True), totals.sum(keepdims=True)),
            }
        return {"balanced_accuracy": _mean_ratio(self._hits, self._actual), "macro_f1": macro_f1}


def _mean_ratio(numerators: npt.NDArray[np.int64], denominators: npt.NDArray[np.int64]) -> float:
    is_defined = denominators > 0
    return float(np.mean(numerators[is_defined] / denominators[is_defined])) if is_defined.any() else 0.0
