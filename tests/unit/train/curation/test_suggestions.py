"""Suggested images are ones that the network is unsure about, and differ from each other."""

import numpy as np
import pytest

from train.curation.suggestions import choose_to_label, measure_uncertainty


@pytest.mark.parametrize(
    ("probabilities", "multilabel", "uncertainty"),
    [
        ([0.5, 0.5, 0.0], False, 1),
        ([1.0, 0.0, 0.0], False, 0),
        ([0.6, 0.3, 0.1], False, 0.7),
        ([0.0, 1.0, 0.5], True, 1),
        ([0.1, 0.9, 1.0], True, 0.2),
    ],
)
def test_uncertainty_is_one_minus_the_margin(probabilities: list[float], multilabel: bool, uncertainty: float):  # noqa: FBT001  # a parameter
    assert measure_uncertainty(np.array([probabilities]), multilabel=multilabel) == pytest.approx(uncertainty)


def test_one_unsure_image_of_each_kind_is_chosen():
    rng = np.random.default_rng(0)
    kinds = np.arange(40) % 4
    features = (10 * np.eye(4)[kinds] + rng.normal(0, 0.1, (40, 4))).astype(np.float32)
    uncertainty = rng.uniform(0.5, 1, 40).astype(np.float32)
    chosen = choose_to_label(features, uncertainty, 4, seed=1)

    assert sorted(kinds[chosen]) == [0, 1, 2, 3]
    for index in chosen:
        assert uncertainty[index] == uncertainty[kinds == kinds[index]].max()
    assert sorted(uncertainty[chosen], reverse=True) == uncertainty[chosen].tolist()


def test_images_that_the_network_is_sure_about_are_not_chosen():
    uncertainty = np.where(np.arange(100) < 20, 0.9, 0.0).astype(np.float32)
    features = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)

    assert max(choose_to_label(features, uncertainty, 2, seed=1)) < 20


def test_all_of_few_images_are_chosen_the_least_sure_first():
    assert choose_to_label(np.zeros((3, 2), np.float32), np.array([0.1, 0.9, 0.5], np.float32), 5, seed=1) == [1, 2, 0]
