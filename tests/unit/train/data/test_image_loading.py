"""Photos of the largest sensors are loaded, and larger images are refused."""

import cv2
import numpy as np
import pytest

from tests.support.photo_sets import noise_image
from train.data import image_loading
from train.data.image_loading import LARGE_PIXELS, MAX_PIXELS, load
from vision.card import InputSpec
from vision.decode import TooManyPixelsError

SPEC = InputSpec(height=8, width=8, resize="stretch", interpolation="area")


def test_a_photo_of_72_megapixels_is_loaded():
    photo = np.full((9000, 8000), 100, np.uint8)
    photo[4500:] = 200
    assert LARGE_PIXELS < photo.size <= MAX_PIXELS

    pixels = load(cv2.imencode(".jpg", photo)[1].tobytes(), SPEC)

    assert abs(int(pixels[0, 0, 0]) - 100) <= 1
    assert abs(int(pixels[-1, 0, 0]) - 200) <= 1


def test_a_larger_image_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(image_loading, "MAX_PIXELS", 12 * 16 - 1)

    with pytest.raises(TooManyPixelsError):
        load(noise_image(0), SPEC)
