"""Previews of images by URL: fetched within the rules for predictions, decoded, and encoded again as a small JPEG."""

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from gateway.capacity import Place
from gateway.deadline import Deadline, Timings
from gateway.errors import GatewayError
from gateway.prediction.image_loader import ImageLoader, ImageUrl, translated_image_errors
from vision.card import InputSpec
from vision.decode import inspect
from vision.headers.header import Header

JPEG_QUALITY = 85
FIRST_TURNED = 5
"""The first EXIF orientation that turns an image by a quarter."""


class Previewer:
    """Draws previews; safe to use from many threads.

    Args:
        image_loader: Fetches and decodes images.
        max_side: Length of the longer side of a preview, in pixels.
        max_pixels: Largest image that is accepted, as width times height.
    """

    def __init__(self, image_loader: ImageLoader, *, max_side: int, max_pixels: int) -> None:
        self._image_loader = image_loader
        self._max_side = max_side
        self._max_pixels = max_pixels

    def draw(self, image: ImageUrl, *, deadline: Deadline, timings: Timings, place: Place) -> bytes:
        """Return a preview as JPEG; nothing of the fetched file is in it but the pixels.

        Args:
            image: Where the image is.
            deadline: Time limit on the request.
            timings: Collects how long each stage takes.
            place: Whose share of threads and memory it takes.

        Raises:
            GatewayError: It could not be fetched or decoded.
        """
        (content,) = self._image_loader.load([image], deadline=deadline, timings=timings, place=place)
        if isinstance(content, GatewayError):
            raise content
        file = cast("bytes", content)
        with translated_image_errors(self._max_pixels, file):
            spec = _preview_spec(inspect(file, max_pixels=self._max_pixels), self._max_side)
        (prepared,) = self._image_loader.prepare([file], spec, deadline=deadline, timings=timings, place=place)
        if isinstance(prepared, GatewayError):
            raise prepared
        return _encode(cast("NDArray[np.uint8]", prepared.pixels))


def _preview_spec(header: Header, max_side: int) -> InputSpec:
    """Return the size of an image's preview as an input to prepare; a small image keeps its size."""
    width, height = header.width, header.height
    if header.crop is not None:
        width, height = header.crop.right - header.crop.left, header.crop.bottom - header.crop.top
    if header.orientation >= FIRST_TURNED:
        width, height = height, width
    scale = min(1, max_side / max(width, height))
    return InputSpec(
        height=max(1, round(height * scale)), width=max(1, round(width * scale)), interpolation="area", color="BGR"
    )


def _encode(pixels: NDArray[np.uint8]) -> bytes:
    """Encode uint8[H, W, 3] in BGR."""
    _, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return jpeg.tobytes()
