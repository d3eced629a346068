"""Pictures made from training images have their size and colours, and no whole object."""

import numpy as np
import pytest

from train.export.surrogate_outliers import make_surrogate_outliers


@pytest.mark.parametrize("shape", [(32, 32, 3), (9, 13, 3), (28, 28, 1), (4, 4, 3)])
def test_each_image_becomes_a_picture_of_its_size(shape: tuple[int, int, int]):
    images = np.random.default_rng(1).integers(0, 256, (6, *shape), np.uint8)

    pictures = make_surrogate_outliers(images)

    assert (pictures.shape, pictures.dtype) == (images.shape, np.uint8)
    np.testing.assert_array_equal(pictures, make_surrogate_outliers(images))
    assert (pictures != make_surrogate_outliers(images, seed=1)).any()


def test_the_kinds_take_turns():
    image = np.zeros((32, 32, 3), np.uint8)
    image[::4] = 200
    enlarged, shuffled, blurred = make_surrogate_outliers(np.stack([image] * 3)).astype(float)

    def edges(picture: np.ndarray) -> int:
        return int(np.diff(picture[:, 0, 0] > 100).sum())

    assert edges(enlarged) < edges(image.astype(float)) / 2
    np.testing.assert_array_equal(shuffled.mean(axis=(0, 1)), image.mean(axis=(0, 1)))
    assert blurred.std() < image.std() / 4
