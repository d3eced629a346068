"""Batches have as many images as the memory of a network allows, by their pixels."""

import numpy as np
import pytest

from train.data.batching import iterate_batches, predict_in_batches


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((300, 28, 28, 1), [256, 44]),
        ((300, 32, 32, 3), [196, 104]),
        ((9, 224, 224, 3), [4, 4, 1]),
        ((2, 1000, 1000, 3), [1, 1]),
    ],
)
def test_larger_images_are_in_smaller_batches(shape: tuple[int, ...], sizes: list[int]):
    images = np.broadcast_to(np.uint8(0), shape)

    assert [len(images[batch]) for batch in iterate_batches(images)] == sizes


def test_every_image_is_predicted_once_in_order():
    images = np.arange(9, dtype=np.uint8)[:, None, None, None] * np.ones((1, 224, 224, 3), np.uint8)

    predicted = predict_in_batches(lambda batch: batch[:, 0, 0, :1].astype(np.float32), images)

    np.testing.assert_array_equal(predicted, np.arange(9)[:, None])
