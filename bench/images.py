"""Images and request bodies for the measurements, drawn in code: nothing is downloaded, and every run is equal."""

import base64
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from tools.committed_models import first_golden_image

ROOT = Path(__file__).parents[1]
BOUNDARY = "----bench-5f2a9c0e7b1d4e63"
_JPEG_QUALITY = 90
_GRAIN = 5.0


@cache
def photo(width: int, height: int) -> bytes:
    """Draw a JPEG that is as hard to compress as a photo: shapes of all sizes, and grain."""
    random = np.random.default_rng(width)
    image = np.zeros((height, width, 3), np.float32)
    for cells in (3, 9, 27, 81):
        coarse = random.normal(0, 60 / cells**0.5, (cells, cells, 3)).astype(np.float32)
        image += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    image += random.normal(128, _GRAIN, image.shape).astype(np.float32)
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    return cv2.imencode(".jpg", np.clip(image, 0, 255).astype(np.uint8), quality)[1].tobytes()


def golden(model: str) -> bytes:
    """Return the first golden image of a committed model."""
    return first_golden_image(model).read_bytes()


def multipart(images: Sequence[bytes]) -> tuple[str, bytes]:
    """Return content type and body of a form with one part per image."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n'
    parts = [f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + image + b"\r\n" for image in images]
    return f"multipart/form-data; boundary={BOUNDARY}", b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def base64_json(image: bytes) -> tuple[str, bytes]:
    """Return content type and body of a JSON request with a base64 image."""
    return "application/json", json.dumps({"image": base64.b64encode(image).decode()}).encode()


def pixels(image: bytes, side: int) -> npt.NDArray[np.uint8]:
    """Decode an image and stretch it to uint8[side, side, 3], as the bare loop does."""
    array = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert array is not None  # noqa: S101  # drawn above
    return cv2.resize(array, (side, side)).astype(np.uint8, copy=False)
