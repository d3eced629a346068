"""Loss functions, with a weight for each class."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from train.config.training_config import TrainingConfig

FOCAL_GAMMA = 2.0
"""From section 4.1 of https://arxiv.org/abs/1708.02002."""


class ClassificationLoss:
    """The loss of a configuration: a mean over images or, if the task is multilabel, over decisions.

    Args:
        config: Configuration of the run; its `class_weights` are None or a mapping, see
            `train.training.sampling.set_class_weights`.
    """

    def __init__(self, config: TrainingConfig) -> None:
        training = config.training
        options: dict[str, Any] = {"from_logits": True, "label_smoothing": training.label_smoothing}
        self._by_decision = config.task == "multilabel"
        self._weights = None
        if isinstance(training.class_weights, Mapping):
            self._weights = np.array([training.class_weights.get(label, 1.0) for label in config.labels], np.float32)
        if training.loss == "focal":
            options["gamma"] = FOCAL_GAMMA
            focal = keras.losses.BinaryFocalCrossentropy, keras.losses.CategoricalFocalCrossentropy
            self._loss = focal[0](**options) if self._by_decision else focal[1](alpha=1.0, **options)
        else:
            kind = keras.losses.BinaryCrossentropy if self._by_decision else keras.losses.CategoricalCrossentropy
            self._loss = kind(**options)

    def __call__(self, targets: Any, scores: Any) -> Any:
        """Return the loss, float32, of float32[N, K] targets of 0..1 and float32[N, K] class scores."""
        if self._by_decision:  # Keras averages over the last axis before it applies weights
            weights = None if self._weights is None else 1 + targets * (self._weights - 1)
            return self._loss(targets[..., None], scores[..., None], sample_weight=weights)
        weights = None if self._weights is None else tf.linalg.matvec(targets, self._weights)
        return self._loss(targets, scores, sample_weight=weights)
