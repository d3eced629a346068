"""Losses equal their definitions, with and without weights of classes."""

from typing import Any

import numpy as np
import pytest

from train.config.training_config import TrainingConfig
from train.training.losses import FOCAL_GAMMA, ClassificationLoss

SCORES = np.array([[2.0, -1.0], [0.5, 0.0], [-3.0, 1.0]], np.float32)
TARGETS = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
SEVERAL = np.array([[1, 1], [0, 1], [0, 0]], np.float32)


def loss_of(document: dict[str, Any], task: str, targets: np.ndarray, **training: Any) -> float:
    config = TrainingConfig.model_validate({**document, "task": task, "training": {**document["training"], **training}})
    return float(ClassificationLoss(config)(targets, SCORES))


def softmax_of_truth() -> np.ndarray:
    exponentials = np.exp(SCORES)
    return (TARGETS * exponentials).sum(axis=1) / exponentials.sum(axis=1)


def sigmoid_of_truth() -> np.ndarray:
    return 1 / (1 + np.exp(np.where(SEVERAL == 1, -SCORES, SCORES)))


def test_of_one_class(config_document: dict[str, Any]):
    p, weights = softmax_of_truth(), TARGETS @ [1.0, 3.0]

    def loss(**training: Any) -> float:
        return loss_of(config_document, "multiclass", TARGETS, label_smoothing=0.0, **training)

    assert loss() == pytest.approx(-np.log(p).mean(), rel=1e-4)
    assert loss(class_weights={"bar": 3.0}) == pytest.approx((-np.log(p) * weights).mean(), rel=1e-4)
    focal = (1 - p) ** FOCAL_GAMMA * -np.log(p)
    assert loss(loss="focal") == pytest.approx(focal.mean(), rel=1e-4)
    assert loss(loss="focal", class_weights={"bar": 3.0}) == pytest.approx((focal * weights).mean(), rel=1e-4)


def test_of_several_classes(config_document: dict[str, Any]):
    p, weights = sigmoid_of_truth(), np.where(SEVERAL == 1, [1.0, 3.0], 1.0)

    def loss(**training: Any) -> float:
        return loss_of(config_document, "multilabel", SEVERAL, label_smoothing=0.0, **training)

    assert loss() == pytest.approx(-np.log(p).mean(), rel=1e-4)
    assert loss(class_weights={"bar": 3.0}) == pytest.approx((-np.log(p) * weights).mean(), rel=1e-4)
    focal = (1 - p) ** FOCAL_GAMMA * -np.log(p)
    assert loss(loss="focal") == pytest.approx(focal.mean(), rel=1e-4)
    assert loss(loss="focal", class_weights={"bar": 3.0}) == pytest.approx((focal * weights).mean(), rel=1e-4)


@pytest.mark.parametrize(("task", "share"), [("multiclass", 0.05), ("multilabel", 0.05)])
def test_smoothing_moves_targets_towards_even_ones(config_document: dict[str, Any], task: str, share: float):
    smoothed = loss_of(config_document, task, TARGETS, label_smoothing=0.1)
    by_hand = loss_of(config_document, task, TARGETS * (1 - 2 * share) + share, label_smoothing=0.0)

    assert smoothed == pytest.approx(by_hand, rel=1e-4)
