"""WebP: the canvas and the first frame on it (RFC 9649; VP8 frame header: RFC 6386, 9.1)."""

import struct

from vision.errors import UnreadableImageError
from vision.headers.header import Header, ImageFormat, Size

MAX_CHUNKS = 1_000  # before the first frame

_FIRST_CHUNK = 12  # after "RIFF", the length and "WEBP"
_CHUNK_HEADER_BYTES = 8
_ANMF_HEADER_BYTES = 16
_LOW_14_BITS = 0x3FFF


def read(data: memoryview) -> Header:
    """Read the size of the canvas (VP8X), or of the frame if there is no canvas.

    Raises:
        UnreadableImageError: The file contains no frame.
        struct.error: The data ends within a header.
    """
    canvas = None
    position = _FIRST_CHUNK
    for _ in range(MAX_CHUNKS):
        kind, length = struct.unpack_from("<4sI", data, position)
        payload = position + _CHUNK_HEADER_BYTES
        position = payload + length + length % 2
        if kind == b"VP8X":
            canvas = _canvas(data, payload)
        elif kind == b"ANMF":
            position = payload + _ANMF_HEADER_BYTES  # the chunks of the first frame
        elif kind in {b"VP8 ", b"VP8L"}:
            frame = _lossy(data, payload) if kind == b"VP8 " else _lossless(data, payload)
            width, height = canvas or frame
            return Header(format=ImageFormat.WEBP, width=width, height=height, inner_sizes=(frame,))
    raise UnreadableImageError("WebP: the file contains no image")


def _canvas(data: memoryview, payload: int) -> Size:
    width_low, width_high, height_low, height_high = struct.unpack_from("<4xHBHB", data, payload)
    return (width_low | width_high << 16) + 1, (height_low | height_high << 16) + 1


def _lossy(data: memoryview, payload: int) -> Size:
    width, height = struct.unpack_from("<6xHH", data, payload)
    return width & _LOW_14_BITS, height & _LOW_14_BITS  # the other bits: scaling, which decoders ignore


def _lossless(data: memoryview, payload: int) -> Size:
    (bits,) = struct.unpack_from("<xI", data, payload)
    return (bits & _LOW_14_BITS) + 1, (bits >> 14 & _LOW_14_BITS) + 1
