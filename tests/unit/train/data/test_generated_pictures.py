"""Generated pictures are the same for the same seed, and have the contrasts that photos have."""

import numpy as np
import pytest

from train.data.generated_pictures import generate_pictures


def test_equal_seeds_give_equal_pictures():
    first, again, other = (generate_pictures(4, 48, 64, seed) for seed in (1, 1, 2))

    assert (first.shape, first.dtype) == ((4, 48, 64, 3), np.uint8)
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.9


def test_further_pictures_do_not_change_the_first_ones():
    np.testing.assert_array_equal(generate_pictures(6, 32, 32)[:4], generate_pictures(4, 32, 32))


def test_pictures_use_the_range_of_pixels_and_colours():
    pictures = generate_pictures(40, 64, 64).astype(float)

    assert pictures.min() < 5
    assert pictures.max() > 250
    assert np.ptp(pictures.mean(axis=(1, 2)), axis=0).min() > 60  # of the mean of each of red, green and blue
    assert pictures.std(axis=(1, 2)).mean() > 30


@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 300), (299, 5)])
def test_pictures_of_any_size_can_be_generated(height: int, width: int):
    assert generate_pictures(4, height, width).shape == (4, height, width, 3)
