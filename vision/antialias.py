"""Resize as Pillow's ``Image.resize`` does, which smooths before it shrinks.

torchvision's transforms of PIL images, timm and Keras' ``load_img`` resize in this way, so Pillow does the work.
"""

import math

import cv2
import numpy as np
import numpy.typing as npt
from cv2.typing import MatLike

from vision.card import Interpolation

MAX_WIDENED_PIXELS = 4 << 20
"""Largest intermediate image that is wider than the image itself and may have more pixels."""
SIDE_BYTES = 72
"""What Pillow takes for each row and column: up to seven coefficients, bounds and a pointer of 8 bytes each."""
RESULT_COPIES = 4
"""All channels, joined, and two copies of one of them."""


def resize(pixels: MatLike, height: int, width: int, interpolation: Interpolation) -> npt.NDArray[np.uint8]:
    """Resize an image, one channel at a time.

    The result equals Pillow's, except that of a narrow and high image that is widened: it is shrunk first if the
    intermediate image would be larger than both the image and `MAX_WIDENED_PIXELS`. Rounding differs then.

    Args:
        pixels: uint8[H, W] or uint8[H, W, C].
        height: Rows of the result.
        width: Columns of the result.
        interpolation: ``bilinear`` or ``bicubic``.

    Returns:
        uint8[height, width] or uint8[height, width, C].
    """
    # No process needs Pillow's imaging library before a model asks for this.
    from PIL import Image  # noqa: PLC0415

    resampling = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[interpolation]

    def resize_channel(channel: MatLike) -> npt.NDArray[np.uint8]:
        image = Image.fromarray(channel)  # shares the memory of a contiguous array in gray, and of no other
        if height < image.height and width * image.height > max(image.width * image.height, MAX_WIDENED_PIXELS):
            image = image.resize((image.width, height), resampling)
        return np.asarray(image.resize((width, height), resampling))

    if pixels.ndim == len(("height", "width")):
        return resize_channel(np.ascontiguousarray(pixels))
    channels = [resize_channel(cv2.extractChannel(pixels, index)) for index in range(pixels.shape[2])]
    return np.asarray(cv2.merge(channels), np.uint8)


def peak_bytes(size: tuple[int, int], result_size: tuple[int, int]) -> int:
    """Return an upper bound of the memory that `resize` takes beside the image.

    Args:
        size: Width and height of the image, in either order.
        result_size: The same of the result.
    """
    channel, result = math.prod(size), math.prod(result_size)
    widened = min(MAX_WIDENED_PIXELS, max(size) * max(result_size))
    return channel + max(channel, widened) + SIDE_BYTES * sum((*size, *result_size)) + RESULT_COPIES * 3 * result
