"""Pictures to ask about, drawn in code: nothing is downloaded, and every run asks the same."""

import base64
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).parents[1]
BOUNDARY = "----bench-5f2a9c0e7b1d4e63"
_JPEG_QUALITY = 90
_GRAIN = 5.0


@cache
def photo(width: int, height: int) -> bytes:
    """Draw something as hard to compress as a photo, as JPEG: shapes of all sizes, and grain."""
    random = np.random.default_rng(width)
    picture = np.zeros((height, width, 3), np.float32)
    for cells in (3, 9, 27, 81):
        coarse = random.normal(0, 60 / cells**0.5, (cells, cells, 3)).astype(np.float32)
        picture += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    picture += random.normal(128, _GRAIN, picture.shape).astype(np.float32)
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    return cv2.imencode(".jpg", np.clip(picture, 0, 255).astype(np.uint8), quality)[1].tobytes()


def golden(model: str) -> bytes:
    """Return the first golden image of a committed model."""
    return min((ROOT / "serving_models" / model / "1/assets.extra/golden").glob("*.png")).read_bytes()


def multipart(pictures: Sequence[bytes]) -> tuple[str, bytes]:
    """Make the body of a form with files, and its content type."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n'
    parts = [f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + picture + b"\r\n" for picture in pictures]
    return f"multipart/form-data; boundary={BOUNDARY}", b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def in_json(picture: bytes) -> tuple[str, bytes]:
    """Make a JSON body with base64, and its content type."""
    return "application/json", json.dumps({"image": base64.b64encode(picture).decode()}).encode()


def pixels(picture: bytes, side: int) -> npt.NDArray[np.uint8]:
    """Decode and stretch as the bare loop does: uint8[side, side, 3]."""
    decoded = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert decoded is not None  # noqa: S101  # drawn above
    return cv2.resize(decoded, (side, side)).astype(np.uint8, copy=False)
