"""Prepare images for the alternatives, without TensorFlow, so that all of them can use it."""

import io

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 224


def by_pillow(data: bytes) -> npt.NDArray[np.uint8]:
    """Decode and stretch an image to uint8[1, 224, 224, 3] with Pillow, as Keras' `load_img` does."""
    image = Image.open(io.BytesIO(data)).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(image)[np.newaxis]


def by_opencv(data: bytes) -> npt.NDArray[np.uint8]:
    """Decode and stretch an image to uint8[1, 224, 224, 3] with OpenCV."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ValueError("the image cannot be decoded")
    return cv2.resize(image, (SIDE, SIDE))[np.newaxis].astype(np.uint8, copy=False)
