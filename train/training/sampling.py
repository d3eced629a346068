"""The order in which the images of an epoch are drawn, and the weights of their classes."""

import numpy as np
import numpy.typing as npt

from train.config.training_config import TrainingConfig

Targets = npt.NDArray[np.float32]


def epoch_order(targets: Targets, config: TrainingConfig, epoch: int) -> npt.NDArray[np.int64]:
    """Return the indices of the images of an epoch in random order, int64[N]; the same ones for the same epoch.

    With `sampling: balanced` each class has as many of the N places, up to one. Its images are repeated equally often,
    or the number of times differs by one.

    Args:
        targets: float32[N, K], 1 for each class of an image, else 0.
        config: Configuration of the run.
        epoch: Number of the epoch.
    """
    random = np.random.default_rng((config.seed, epoch))
    count, classes = targets.shape
    if config.training.sampling == "shuffle":
        return random.permutation(count)
    members = [np.flatnonzero(column) for column in targets.T]
    places = np.full(classes, count // classes)
    places[random.permutation(classes)[: count % classes]] += 1
    return random.permutation(
        np.concatenate([_repeat(indices, size, random) for indices, size in zip(members, places, strict=True)])
    )


def set_class_weights(config: TrainingConfig, targets: Targets) -> TrainingConfig:
    """Return a configuration in which `class_weights: balanced` is replaced by the weight of each label.

    Args:
        config: Configuration of the run.
        targets: float32[N, K] of the training images.
    """
    if config.training.class_weights != "balanced":
        return config
    count, positives = len(targets), np.maximum(targets.sum(axis=0), 1)
    weights = count / (len(config.labels) * positives)
    if config.task == "multilabel":
        weights = np.maximum(count - positives, 1) / positives
    by_label = dict(zip(config.labels, weights.tolist(), strict=True))
    return config.model_copy(update={"training": config.training.model_copy(update={"class_weights": by_label})})


def _repeat(indices: npt.NDArray[np.int64], size: int, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return `size` of the indices: all of them as often as they fit in, then a random choice of them."""
    repetitions = -(-size // len(indices))
    return np.concatenate([random.permutation(indices) for _ in range(repetitions)])[:size]
