"""Likely label errors, found by confident learning (Northcutt et al., https://arxiv.org/abs/1911.00068)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from cleanlab.filter import find_label_issues
from cleanlab.multilabel_classification.filter import find_label_issues as find_multilabel_issues
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, cross_val_predict
from sklearn.multiclass import OneVsRestClassifier

from train.data.examples import Example
from train.errors import TrainError

FOLDS = 5
RANKING = "self_confidence"
"""Order of the errors: by the probability of the given classes."""
MIN_PROBABILITY = 0.5
"""Of each suggested class of an image that may have any number of them."""


@dataclass(frozen=True, slots=True)
class LabelError:
    """An image whose label is likely to be wrong.

    Attributes:
        index: Position of the image.
        suggested: The classes that images like it have.
        probabilities: float64[K], by a classifier that was not trained with this image.
    """

    index: int
    suggested: tuple[int, ...]
    probabilities: npt.NDArray[np.float64]


def find_label_errors(
    features: npt.NDArray[np.float32],
    targets: npt.NDArray[np.float32],
    groups: npt.NDArray[np.int64],
    *,
    multilabel: bool,
    seed: int,
) -> list[LabelError]:
    """Find likely label errors, the most certain ones first.

    The probabilities of each image come from a linear classifier of the features of the other folds. A network that was
    trained with a wrong label may have learnt it, so that a frozen network's features show more errors.

    Args:
        features: float32[N, F].
        targets: float32[N, K], 1 for each class of an image, else 0.
        groups: int64[N], equal for images that look alike, which are then in the same fold.
        multilabel: Whether an image has any number of classes rather than one.
        seed: Seed of the folds.

    Raises:
        TrainError: A class has too few images.
    """
    folds = min(FOLDS, _smallest_class(targets, groups))
    if folds < 2:  # noqa: PLR2004  # one to train with, one to check
        raise TrainError("label errors: expected at least two different images of each class, found one")
    classifier = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    if multilabel:
        decisions = targets.astype(np.int64)
        probabilities = cross_val_predict(
            OneVsRestClassifier(classifier),
            features,
            decisions,
            groups=groups,
            cv=GroupKFold(folds, shuffle=True, random_state=seed),
            method="predict_proba",
        )
        given = [np.flatnonzero(row).tolist() for row in decisions]
        indices = find_multilabel_issues(given, probabilities, return_indices_ranked_by=RANKING, n_jobs=1)
    else:
        classes = targets.argmax(axis=1)
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        probabilities = cross_val_predict(
            classifier, features, classes, groups=groups, cv=splitter, method="predict_proba"
        )
        indices = find_label_issues(classes, probabilities, return_indices_ranked_by=RANKING, n_jobs=1)
    return [
        LabelError(int(index), _suggest(probabilities[index], multilabel=multilabel), probabilities[index])
        for index in indices
    ]


def _smallest_class(targets: npt.NDArray[np.float32], groups: npt.NDArray[np.int64]) -> int:
    """Return the number of different images of the class that has the fewest."""
    return min(len(np.unique(groups[column > 0])) for column in targets.T)


def _suggest(probabilities: npt.NDArray[np.float64], *, multilabel: bool) -> tuple[int, ...]:
    if multilabel:
        return tuple(np.flatnonzero(probabilities >= MIN_PROBABILITY).tolist())
    return (int(probabilities.argmax()),)


def number_groups(examples: Sequence[Example], groups: Sequence[Sequence[Example]]) -> npt.NDArray[np.int64]:
    """Return int64[N], a number for each image, the same for images of one group.

    Args:
        examples: N images.
        groups: Disjoint groups of some of them.
    """
    numbers = {id(example): number for number, group in enumerate(groups, len(examples)) for example in group}
    return np.array([numbers.get(id(example), index) for index, example in enumerate(examples)])
