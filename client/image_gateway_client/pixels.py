"""Encode images that a program has in memory as PNG: arrays of pixels, and pictures of Pillow."""

import ctypes
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from image_gateway_client import png
from image_gateway_client.pixel_types import (
    COLOUR_TYPES,
    PILLOW_CONVERSIONS,
    describe_pillow_refusal,
    describe_refusal,
    name_type,
)

UINT8 = ("|u1", "<u1", ">u1")
ORIENTATION = 0x0112
"""Tag of Exif that says how a picture is to be turned (Exif 3.0, section 4.6.5.1)."""
GRAY_IMAGES = 3
"""Number of dimensions of several gray images, or of one with channels."""
TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""Value of Pillow's `Transpose` by orientation."""
PILLOW_METHODS = ("convert", "getexif", "save", "transpose")
PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
"""Modes of Pillow that PNG stores without loss."""
CONVERSIONS: dict[str, Sequence[str]] = {"PA": ("RGBA",), "La": ("LA",), "RGBa": ("RGBA",)}
CONVERSIONS |= dict.fromkeys(("I;16B", "I;16L", "I;16N"), ("I", "I;16"))
"""Modes that other ones with transparency or 16 bits are converted to, one after the other; the rest become RGB."""


def find_pixels(image: object) -> memoryview | None:
    """Return the array of an object; None if it has none.

    NumPy's arrays have the buffer protocol. Others, such as tensors of PyTorch on the CPU, convert themselves to one of
    NumPy (`__array__`), or say where their pixels are (`__array_interface__`, version 3).

    Raises:
        ValueError: The array has no uint8, or its pixels are not in one piece.
    """
    try:
        return memoryview(image)  # type: ignore[arg-type]  # that is the question
    except TypeError:
        pass
    except (ValueError, BufferError) as error:
        raise ValueError(
            "the array cannot be read: its type is not one of numbers, or it is not in one piece"
        ) from error
    if callable(convert := getattr(image, "__array__", None)):
        return memoryview(convert())
    if isinstance(interface := getattr(image, "__array_interface__", None), Mapping):
        return _read_interface(interface)
    return None


def _read_interface(interface: Mapping[str, Any]) -> memoryview:
    try:
        shape, kind = tuple(map(int, interface["shape"])), interface["typestr"]
        if kind not in UINT8:
            raise ValueError(describe_refusal(name_type(kind)))
        strides = interface.get("strides")
        if strides is not None and tuple(strides) != tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape))):
            raise ValueError("the pixels are not in one piece; send a copy of the array in C order")
        data, size = interface["data"], math.prod(shape)
        if isinstance(data, tuple):  # an address, valid as long as the object is
            data = bytes((ctypes.c_ubyte * size).from_address(data[0])) if size else b""
        return memoryview(data).cast("B", shape) if size else memoryview(b"")
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError("the array does not say where its pixels are") from error


def is_single_array(images: object) -> bool:
    """Return whether something that is to be several images is the array of one.

    An array of gray images [N, H, W] or of colour images [N, H, W, C] is several, and so is one of paths.
    """
    try:
        memory = find_pixels(images)
    except (TypeError, ValueError):
        return False
    if memory is None or name_type(memory.format) in {"object", "another type"}:
        return False
    shape = memory.shape or ()
    return len(shape) < GRAY_IMAGES or (len(shape) == GRAY_IMAGES and shape[-1] in COLOUR_TYPES)


def is_pillow(image: object) -> bool:
    """Return whether an object is a picture of Pillow, without importing Pillow."""
    return isinstance(getattr(image, "mode", None), str) and all(
        callable(getattr(image, name, None)) for name in PILLOW_METHODS
    )


def encode_pillow(image: Any) -> bytes:
    """Return a picture of Pillow as PNG, upright and without loss.

    Raises:
        OSError: The file that it was opened from is damaged.
        ValueError: Its pixels are floating-point numbers, or 32-bit integers.
    """
    if image.mode in PILLOW_CONVERSIONS:
        raise ValueError(describe_pillow_refusal(image.mode))
    turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    if turn is not None:
        image = image.transpose(turn)
    if image.mode not in PNG_MODES:
        for mode in CONVERSIONS.get(image.mode, ("RGB",)):
            image = image.convert(mode)
    output = io.BytesIO()
    image.save(output, format="PNG", compress_level=png.FASTEST, exif=b"")
    return output.getvalue()


def size_of_pillow(image: Any) -> int:
    """Return the number of bytes of the pixels of a picture of Pillow, which its PNG rarely exceeds."""
    width, height = image.size
    bands: Sequence[str] = image.getbands()
    return int(width) * int(height) * len(bands)
