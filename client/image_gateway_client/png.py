"""Encode pixels in memory as PNG, so that an array can be sent like any image."""

import struct
import zlib
from collections.abc import Sequence

# PNG specification, third edition (W3C, 2025), sections 5.2, 5.3 and 11.2.1.
SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""PNG colour types by number of channels: gray, gray with alpha, RGB, RGB with alpha."""

CONVERT = (
    " Convert them: (array * 255).astype('uint8') if they go from 0 to 1, "
    "array.astype('uint8') if they go from 0 to 255."
)
BIT_DEPTH = 8
NO_FILTER = b"\0"
FASTEST = 1  # zlib's level; the connection to the gateway is usually faster than stronger compression


def encode(pixels: memoryview) -> bytes:
    """Return the pixels as a PNG file.

    Args:
        pixels: uint8[H, W] gray or uint8[H, W, C] with C channels: 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha.

    Raises:
        ValueError: `pixels` has another shape or type.
    """
    match pixels.format, pixels.shape:
        case "B", (height, width):
            channels = 1
        case "B", (height, width, channels) if channels in COLOUR_TYPES:
            pass
        case kind, shape:
            raise ValueError(describe_refusal(kind, shape or ()))
    if not height or not width:
        raise ValueError("the array has no pixels")
    data, stride = pixels.tobytes(), width * channels
    rows = b"".join(NO_FILTER + data[start : start + stride] for start in range(0, len(data), stride))
    header = struct.pack(">IIBBBBB", width, height, BIT_DEPTH, COLOUR_TYPES[channels], 0, 0, 0)
    return b"".join(
        [SIGNATURE, _chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(rows, FASTEST)), _chunk(b"IEND", b"")]
    )


def describe_refusal(kind: str, shape: Sequence[int] | None = None) -> str:
    """Return why pixels of a type or shape are refused, and what to do.

    Args:
        kind: The type, in the words of whoever has the pixels.
        shape: The shape, if it is known.
    """
    match shape:
        case _ if kind != "B":
            advice = CONVERT
        case (channels, _, _) if channels in COLOUR_TYPES:
            advice = " Put the channels last: array.transpose(1, 2, 0)."
        case (_, _, _, channels) if channels in COLOUR_TYPES:
            advice = " Send its images one by one: list(array)."
        case _:
            advice = ""
    return f"pixels are uint8[H, W] or uint8[H, W, 1 to 4], not {kind}{'' if shape is None else list(shape)}.{advice}"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
