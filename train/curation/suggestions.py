"""Unlabelled images whose labels would teach a network most: it is unsure about them, and they differ.

Source: Zhdanov, Diverse Mini-Batch Active Learning, https://arxiv.org/abs/1901.05954.
"""

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans

CANDIDATES = 10
"""Number of unsure images for each that is chosen."""


def choose_to_label(
    features: npt.NDArray[np.float32], uncertainty: npt.NDArray[np.float32], count: int, seed: int
) -> list[int]:
    """Choose images that the network is unsure about, one of each cluster of similar ones; the least sure first.

    Args:
        features: float32[N, F].
        uncertainty: float32[N], as returned by `measure_uncertainty`.
        count: Number of images to choose; fewer are returned if there are fewer.
        seed: Seed of the clusters.
    """
    order = np.argsort(-uncertainty, kind="stable")
    candidates = order[: CANDIDATES * count]
    if len(candidates) <= count:
        return [int(index) for index in candidates]
    # The weight of an image that the network is sure about must not be zero.
    weights = np.maximum(uncertainty[candidates], np.finfo(np.float32).tiny)
    clusters = KMeans(count, n_init=1, random_state=seed).fit(features[candidates], sample_weight=weights).labels_
    _, first = np.unique(clusters, return_index=True)  # candidates are in order, so the first is the least sure
    return [int(index) for index in candidates[np.sort(first)]]


def measure_uncertainty(probabilities: npt.NDArray[np.float32], *, multilabel: bool) -> npt.NDArray[np.float32]:
    """Return float32[N], how unsure a network is about each image, from 0 to 1.

    One minus the margin between the two most likely classes or, if an image has any number of classes, between having
    a class and not having it, for the class with the smallest margin.

    Args:
        probabilities: float32[N, K].
        multilabel: Whether an image has any number of classes rather than one.
    """
    if multilabel:
        margins = np.abs(2 * probabilities - 1).min(axis=1)
    else:
        ranked = np.sort(probabilities, axis=1)
        margins = ranked[:, -1] - ranked[:, -2]
    return np.asarray(1 - margins)
