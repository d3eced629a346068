"""Rare classes are drawn, or weighted, as the configuration asks."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from train.config.training_config import TrainingConfig
from train.training.sampling import epoch_order, set_class_weights


def targets_of(*counts: int) -> np.ndarray:
    """Return float32[N, K] with this number of images of each class."""
    return np.repeat(np.eye(len(counts), dtype=np.float32), counts, axis=0)


def configure(document: Mapping[str, Any], task: str = "multiclass", **training: Any) -> TrainingConfig:
    return TrainingConfig.model_validate({**document, "task": task, "training": {**document["training"], **training}})


def test_shuffling_takes_each_image_once(config_document: dict[str, Any]):
    config, targets = configure(config_document), targets_of(5, 25)
    first, again, next_epoch = (epoch_order(targets, config, epoch) for epoch in (0, 0, 1))

    assert sorted(first) == list(range(30))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, next_epoch)


def test_balanced_sampling_draws_each_class_equally_often(config_document: dict[str, Any]):
    config, targets = configure(config_document, sampling="balanced"), targets_of(5, 26)
    order = epoch_order(targets, config, 0)
    times = np.bincount(order, minlength=31)

    assert len(order) == 31
    assert sorted(targets[order].sum(axis=0)) == [15, 16]
    assert set(times[:5]) <= {3, 4}
    assert set(times[5:]) <= {0, 1}
    np.testing.assert_array_equal(order, epoch_order(targets, config, 0))


def test_balanced_sampling_reaches_every_image_of_a_frequent_class(config_document: dict[str, Any]):
    config, targets = configure(config_document, sampling="balanced"), targets_of(2, 20)
    orders = np.concatenate([epoch_order(targets, config, epoch) for epoch in range(12)])

    assert set(orders) == set(range(22))


def test_balanced_weights_give_each_label_the_same_sum(config_document: dict[str, Any]):
    config = configure(config_document, class_weights="balanced")
    weights = set_class_weights(config, targets_of(5, 25)).training.class_weights

    assert weights == pytest.approx({"square": 3.0, "bar": 0.6})


def test_balanced_weights_of_a_multilabel_set_compare_decisions(config_document: dict[str, Any]):
    config = configure(config_document, "multilabel", class_weights="balanced")
    targets = np.array([[1, 1], [0, 1], [0, 1], [0, 0]], np.float32)

    assert set_class_weights(config, targets).training.class_weights == pytest.approx({"square": 3.0, "bar": 1 / 3})


def test_given_weights_stay_as_they_are(config_document: dict[str, Any]):
    config = configure(config_document, class_weights={"bar": 2.0})

    assert set_class_weights(config, targets_of(5, 25)) is config
