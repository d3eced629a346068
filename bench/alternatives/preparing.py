"""How the alternatives make a network's input of a picture: without TensorFlow, so that others can do the same."""

import io

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 224


def by_pillow(data: bytes) -> npt.NDArray[np.uint8]:
    """Decode and stretch as Keras' own `load_img` does: uint8[1, 224, 224, 3]."""
    image = Image.open(io.BytesIO(data)).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(image)[np.newaxis]


def by_opencv(data: bytes) -> npt.NDArray[np.uint8]:
    """Decode and stretch by OpenCV: uint8[1, 224, 224, 3]."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ValueError("the image cannot be decoded")
    return cv2.resize(image, (SIDE, SIDE))[np.newaxis].astype(np.uint8, copy=False)
