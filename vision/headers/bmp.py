"""BMP: core and info headers (Microsoft, "Bitmap Storage")."""

import struct

from vision.headers import memory
from vision.headers.header import Header, ImageFormat

_HEADER = 14  # after the file header
_CORE_HEADER_BYTES = 12
_V3_HEADER_BYTES = 56  # the first with a mask for alpha
_ALPHA_MASK = _HEADER + 52
_SAMPLED_BITS = 32


def read(data: memoryview) -> Header:
    """Read the size from the header; a negative height means that rows are stored from the top down.

    Only images with transparency are decoded unchanged: OpenCV takes the palette of a core header for grays.

    Raises:
        struct.error: The data ends within a header.
    """
    (header_bytes,) = struct.unpack_from("<I", data, _HEADER)
    if header_bytes == _CORE_HEADER_BYTES:
        width, height = struct.unpack_from("<HH", data, _HEADER + 4)
        return _header(width, height, has_alpha=False)
    width, height, bits = struct.unpack_from("<iixxH", data, _HEADER + 4)
    has_alpha = bits == _SAMPLED_BITS and header_bytes >= _V3_HEADER_BYTES and any(data[_ALPHA_MASK:][:4])
    return _header(width, abs(height), has_alpha=has_alpha)


def _header(width: int, height: int, *, has_alpha: bool) -> Header:
    return Header(
        format=ImageFormat.BMP,
        width=width,
        height=height,
        unchanged=has_alpha,
        peak_bytes=memory.as_samples((width, height), channels=4 if has_alpha else 3),
    )
