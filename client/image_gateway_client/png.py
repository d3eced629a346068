"""Encode pixels in memory as PNG, so that an array can be sent like any image."""

import struct
import zlib

from image_gateway_client.pixel_types import COLOUR_TYPES, describe_refusal, name_type

# PNG specification, third edition (W3C, 2025), sections 5.2, 5.3 and 11.2.1.
SIGNATURE = b"\x89PNG\r\n\x1a\n"
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
    match name_type(pixels.format), pixels.shape:
        case "uint8", (height, width):
            channels = 1
        case "uint8", (height, width, channels) if channels in COLOUR_TYPES:
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


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
