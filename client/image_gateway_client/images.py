"""Load images for sending: as bytes, or as a URL that the gateway fetches."""

import errno
import io
import os
import re
import stat
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeAlias, cast

from image_gateway_client import png
from image_gateway_client.endpoint import MEBIBYTE
from image_gateway_client.errors import ABOUT_BLANK, Problem
from image_gateway_client.pixels import encode_pillow, find_pixels, is_pillow, is_single_array, size_of_pillow

if TYPE_CHECKING:  # in collections.abc from Python 3.12 on
    from typing_extensions import Buffer

Image: TypeAlias = "str | os.PathLike[str] | Buffer | BinaryIO | Array | Picture"
"""A path, an http(s) URL, an open file, the bytes of an encoded image, an array of pixels, or a picture of Pillow.

An array is any object that exposes uint8[H, W] gray or uint8[H, W, C] by the buffer protocol, as NumPy's arrays do, by
`__array__` or by `__array_interface__`. C is 1 for gray, 2 for gray and alpha, 3 for RGB, 4 for RGB and alpha.
"""


class Array(Protocol):
    """An object that describes its array."""

    @property
    def __array_interface__(self) -> Mapping[str, Any]:
        """Version 3 of the array interface."""


class Picture(Protocol):
    """What is used of a picture of Pillow."""

    @property
    def mode(self) -> str:
        """What a pixel is, such as RGB."""

    def getexif(self) -> Any:
        """Return the tags of Exif."""


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


def check_several(images: str | os.PathLike[str] | Iterable[Image]) -> Iterable[Image]:
    """Refuse a single image: the characters of a path, the bytes of a file or rows of pixels would be taken for images.

    Raises:
        TypeError: `images` is a single image.
    """
    is_file = isinstance(images, str | os.PathLike) or hasattr(images, "read")
    if is_file or is_pillow(images) or is_single_array(images):
        raise TypeError(f"expected several images, not a single {type(images).__name__}; put it into a list")
    return cast("Iterable[Image]", images)


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
    if is_pillow(image):
        return _check_size(encode_pillow(image), "the image", max_bytes)
    memory = find_pixels(image)
    if memory is None:
        kinds = "a path, a URL, bytes, a file, an array or a picture of Pillow"
        raise TypeError(f"an image is {kinds}, not {type(image).__name__}")
    is_encoded = memory.ndim == 1 and memory.itemsize == 1
    return _check_size(memory.tobytes() if is_encoded else png.encode(memory), "the image", max_bytes)


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe is read only if somebody has it open for writing, because opening it would wait for that."""
    if sys.platform == "win32":  # which has no such pipes
        return os.open(path, flags)
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor


def _read(file: BinaryIO | io.TextIOBase, name: str, max_bytes: int, *, is_pipe: bool = False) -> ImageBytes:
    data = None if isinstance(file, io.TextIOBase) else file.read(max_bytes + 1)
    if not isinstance(data, bytes):
        raise TypeError(f"{name} does not give bytes; open it with mode 'rb'")
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
        if is_pillow(image):
            return size_of_pillow(image)
        memory = None if hasattr(image, "read") else find_pixels(image)
    except (OSError, TypeError, ValueError):
        return 0
    return 0 if memory is None else memory.nbytes


def local_problem(error: OSError | TypeError | ValueError) -> Problem:
    """Return the problem of an image that could not be sent, in the form of the gateway's problems."""
    detail = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) and error.strerror else str(error)
    return Problem(ABOUT_BLANK, "The image cannot be read", detail)
