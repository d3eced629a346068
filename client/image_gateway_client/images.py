"""What may be classified, and how it is sent: as bytes, or as a URL that the gateway fetches."""

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias, cast

from image_gateway_client import png
from image_gateway_client.errors import ABOUT_BLANK, Problem

if TYPE_CHECKING:  # collections.abc has it from Python 3.12 on
    from typing_extensions import Buffer

Image: TypeAlias = "str | os.PathLike[str] | Buffer | BinaryIO"
"""A path, an http(s) URL, a file open for reading bytes, an encoded picture's bytes, or pixels as an array.

An array is whatever shows its memory as uint8[H, W] gray or uint8[H, W, C], as NumPy's arrays do; C is 1 gray,
2 gray and alpha, 3 RGB, 4 RGB and alpha.
"""

URL = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Upload:
    """The bytes of a picture."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Link:
    """Where the gateway is to fetch the picture."""

    url: str


Source: TypeAlias = Upload | Link


def load(image: Image, *, max_bytes: int) -> Source:
    """Make ready to be sent.

    Args:
        image: See `Image`.
        max_bytes: Longest file that is read.

    Raises:
        OSError: The file cannot be read, is empty or longer than `max_bytes`.
        TypeError: It is nothing that can be classified.
        ValueError: It is an array of another shape or type.
    """
    if isinstance(image, str) and URL.match(image):
        return Link(image)
    if isinstance(image, str | os.PathLike):
        with Path(image).open("rb") as file:
            return _read(file, os.fspath(image), max_bytes)
    if hasattr(image, "read"):
        return _read(cast("BinaryIO", image), str(getattr(image, "name", "the file")), max_bytes)
    try:
        memory = memoryview(image)
    except TypeError:
        raise TypeError(f"an image is a path, a URL, bytes, a file or an array, not {type(image).__name__}") from None
    is_file = memory.ndim == 1 and memory.itemsize == 1
    return _checked(memory.tobytes() if is_file else png.encode(memory), "the image", max_bytes)


def _read(file: BinaryIO, name: str, max_bytes: int) -> Upload:
    data = file.read(max_bytes + 1)
    if not isinstance(data, bytes):
        raise TypeError(f"{name} is open as text; open it with mode 'rb'")
    return _checked(data, name, max_bytes)


def _checked(data: bytes, name: str, max_bytes: int) -> Upload:
    if not data:
        raise OSError(errno.ENODATA, "The file is empty", name)
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"More than {max_bytes} bytes", name)
    return Upload(data)


def size_bytes(image: Image) -> int:
    """Estimate how much is sent for an image; 0 where only reading it can tell."""
    try:
        if isinstance(image, str | os.PathLike):
            return 0 if isinstance(image, str) and URL.match(image) else Path(image).stat().st_size
        return 0 if hasattr(image, "read") else memoryview(image).nbytes
    except (OSError, TypeError, ValueError):
        return 0


def local_problem(error: OSError | TypeError | ValueError) -> Problem:
    """Say in the form of the gateway's problems why an image could not be sent."""
    detail = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) and error.strerror else str(error)
    return Problem(ABOUT_BLANK, "The image cannot be read", detail)
