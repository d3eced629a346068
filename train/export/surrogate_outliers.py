"""Pictures of nothing in particular, made from training images, in place of pictures of other things.

Each keeps colours, textures and sharpness of photos and lacks a whole object: an enlarged part of an image shows its
background or a detail, shuffled tiles show pieces of an object in wrong places, and a blurred image shows no details.
"""

from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Picture: TypeAlias = npt.NDArray[np.uint8]

ENLARGED_SHARE = (0.25, 0.45)
"""Side of the enlarged part, as a fraction of the image's."""
TILES = (2, 4)
"""Number of tiles in a row of a shuffled image."""
BLUR_SHARE = (0.06, 0.18)
"""Standard deviation of the blur, as a fraction of the image's larger side."""


def make_surrogate_outliers(images: npt.NDArray[np.uint8], seed: int = 0) -> npt.NDArray[np.uint8]:
    """Make a picture from each image: an enlarged part, shuffled tiles or a blurred copy, in turn.

    Args:
        images: uint8[N, H, W, C], at least one.
        seed: Equal seeds give equal pictures.

    Returns:
        uint8[N, H, W, C].
    """
    random = np.random.default_rng(seed)
    makers = (_enlarge_part, _shuffle_tiles, _blur)
    return np.stack([_make(makers[index % len(makers)], image, random) for index, image in enumerate(images)])


def _make(
    maker: Callable[[Picture, np.random.Generator], cv2.typing.MatLike], image: Picture, random: np.random.Generator
) -> Picture:
    """Return the maker's picture in the size of the image; OpenCV drops the last axis of gray ones."""
    height, width = image.shape[:2]
    picture = cv2.resize(maker(image, random), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(picture, np.uint8).reshape(image.shape)


def _enlarge_part(image: Picture, random: np.random.Generator) -> cv2.typing.MatLike:
    share = random.uniform(*ENLARGED_SHARE)
    rows, columns = (max(1, round(side * share)) for side in image.shape[:2])
    top, left = random.integers(image.shape[0] - rows + 1), random.integers(image.shape[1] - columns + 1)
    return image[top : top + rows, left : left + columns]


def _shuffle_tiles(image: Picture, random: np.random.Generator) -> cv2.typing.MatLike:
    count = int(random.choice(TILES))
    rows, columns = (max(1, side // count) for side in image.shape[:2])
    corners = [(row * rows, column * columns) for row in range(count) for column in range(count)]
    tiles = [image[top : top + rows, left : left + columns] for top, left in random.permutation(corners)]
    return np.vstack([np.hstack(tiles[start : start + count]) for start in range(0, len(tiles), count)])


def _blur(image: Picture, random: np.random.Generator) -> cv2.typing.MatLike:
    return cv2.GaussianBlur(image, (0, 0), random.uniform(*BLUR_SHARE) * max(image.shape[:2]))
