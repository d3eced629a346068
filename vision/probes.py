"""Images with which a model is checked: scores that look like probabilities for one may not do so for another."""

import random

import numpy as np
import numpy.typing as npt

from vision.card import Card
from vision.postprocess import class_probabilities

GRAY = "a gray image"
NOISE = "an image of noise"
COLOURS = {
    GRAY: (128, 128, 128),
    "a black image": (0, 0, 0),
    "a white image": (255, 255, 255),
    "a red image": (255, 0, 0),
    "a green image": (0, 255, 0),
    "a blue image": (0, 0, 255),
}
"""RGB by the name of the image. Gray alone is not enough: it is a zero to a model that takes -1..1."""
NAMES = (GRAY, NOISE, *(name for name in COLOURS if name != GRAY))


def probe(name: str, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return one of the images `NAMES`, always the same, uint8[H, W, 3] in RGB."""
    if name == NOISE:
        noise = random.Random(0).randbytes(height * width * 3)  # noqa: S311  # always the same; images lack NumPy's own
        return np.frombuffer(noise, np.uint8).reshape(height, width, 3)
    return np.full((height, width, 3), COLOURS[name], np.uint8)


def check_probabilities(raw: npt.ArrayLike, card: Card, name: str) -> None:
    """Check the scores of an image; models that divide by contrast or brightness may fail for one of a single colour.

    Args:
        raw: What a model returned for the image.
        card: Card of the model.
        name: One of `NAMES`.

    Raises:
        ValueError: See `vision.postprocess.class_probabilities`.
    """
    scores = np.asarray(raw)
    if name == NOISE or scores.dtype.kind != "f" or np.isfinite(scores).all():
        class_probabilities(scores, card, image=name)
