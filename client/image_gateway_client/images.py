"""Load images for sending: as bytes, or as a URL that the gateway fetches."""

import errno
import os
import re
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias, cast

from image_gateway_client import png
from image_gateway_client.errors import ABOUT_BLANK, Problem

if TYPE_CHECKING:  # in collections.abc from Python 3.12 on
    from typing_extensions import Buffer

Image: TypeAlias = "str | os.PathLike[str] | Buffer | BinaryIO"
"""A path, an http(s) URL, a file open for reading bytes, the bytes of an encoded image, or an array of pixels.

An array is any object that exposes uint8[H, W] gray or uint8[H, W, C] by the buffer protocol, as NumPy's arrays do.
C is 1 for gray, 2 for gray and alpha, 3 for RGB, 4 for RGB and alpha.
"""

MEBIBYTE = 1024 * 1024
URL = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """The bytes of an encoded image."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ImageUrl:
    """The address from which the gateway fetches an image."""

    url: str


Source: TypeAlias = ImageBytes | ImageUrl


def load(image: Image, *, max_bytes: int) -> Source:
    """Read an image, or pass on its URL.

    Args:
        image: See `Image`.
        max_bytes: Maximum size of a file.

    Raises:
        OSError: The file cannot be read, is empty or larger than `max_bytes`.
        TypeError: `image` is not an image.
        ValueError: `image` is an array of another shape or type.
    """
    if isinstance(image, str) and URL.match(image):
        return ImageUrl(image)
    if isinstance(image, str | os.PathLike):
        with open(image, "rb", opener=_open_without_waiting) as file:
            is_pipe = stat.S_ISFIFO(os.fstat(file.fileno()).st_mode)
            return _read(file, os.fspath(image), max_bytes, is_pipe=is_pipe)
    if hasattr(image, "read"):
        return _read(cast("BinaryIO", image), str(getattr(image, "name", "the file")), max_bytes)
    try:
        memory = memoryview(image)
    except TypeError:
        raise TypeError(f"an image is a path, a URL, bytes, a file or an array, not {type(image).__name__}") from None
    is_encoded = memory.ndim == 1 and memory.itemsize == 1
    return _check_size(memory.tobytes() if is_encoded else png.encode(memory), "the image", max_bytes)


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe is read only if somebody has it open for writing, because opening it would wait for that."""
    if sys.platform == "win32":  # which has no such pipes
        return os.open(path, flags)
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor


def _read(file: BinaryIO, name: str, max_bytes: int, *, is_pipe: bool = False) -> ImageBytes:
    data = file.read(max_bytes + 1)
    if not isinstance(data, bytes):
        raise TypeError(f"{name} is open as text; open it with mode 'rb'")
    if is_pipe and not data:
        raise OSError(errno.ENODATA, "This is a pipe, and nothing has been written to it", name)
    return _check_size(data, name, max_bytes)


def _check_size(data: bytes, name: str, max_bytes: int) -> ImageBytes:
    if not data:
        raise OSError(errno.ENODATA, "The file is empty", name)
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"More than {_format_size(max_bytes)}", name)
    return ImageBytes(data)


def _format_size(size_bytes: int) -> str:
    return f"{size_bytes / MEBIBYTE:.4g} MiB" if size_bytes >= MEBIBYTE else f"{size_bytes} bytes"


def size_bytes(image: Image) -> int:
    """Estimate the number of bytes sent for an image; 0 if that is not known before reading it."""
    try:
        if isinstance(image, str | os.PathLike):
            return 0 if isinstance(image, str) and URL.match(image) else Path(image).stat().st_size
        return 0 if hasattr(image, "read") else memoryview(image).nbytes
    except (OSError, TypeError, ValueError):
        return 0


def local_problem(error: OSError | TypeError | ValueError) -> Problem:
    """Return the problem of an image that could not be sent, in the form of the gateway's problems."""
    detail = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) and error.strerror else str(error)
    return Problem(ABOUT_BLANK, "The image cannot be read", detail)
