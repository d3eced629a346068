"""Batches that bound the memory of a network by the pixels of its images, wherever a whole set is run through it."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from train.data.examples import Predict

MAX_IMAGES = 256
MAX_VALUES = 4 * 224 * 224 * 3
"""Pixels times channels of a batch. A layer-by-layer run keeps 30 MB of features for each image of 224 x 224 in
MobileNetV2 and 150 MB in ResNet50; larger batches save no time on a processor."""


def iterate_batches(images: npt.NDArray[np.uint8]) -> Iterator[slice]:
    """Yield the positions of each batch: `MAX_IMAGES` small images, or as many as have `MAX_VALUES` together.

    Args:
        images: uint8[N, H, W, C], at least one.
    """
    size = min(MAX_IMAGES, max(1, MAX_VALUES // images[0].size))
    yield from (slice(start, start + size) for start in range(0, len(images), size))


def predict_in_batches(predict: Predict, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Run a network on at least one image, in batches."""
    return np.concatenate([predict(images[batch]) for batch in iterate_batches(images)])
