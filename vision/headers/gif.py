"""GIF: the logical screen and the first frame (CompuServe, GIF89a Specification)."""

import struct

from vision.errors import UnreadableImageError
from vision.headers import memory
from vision.headers.header import Header, ImageFormat

MAX_BLOCKS = 131_072  # before the first frame; a block has at most 255 bytes

_SCREEN_DESCRIPTOR = 6  # after the signature
_SCREEN_END = 13
_HAS_COLOR_TABLE = 0x80
_COLOR_TABLE_BITS = 0x07
_EXTENSION = 0x21
_IMAGE = 0x2C


def read(data: memoryview) -> Header:
    """Read the size of the screen, extended to hold the first frame, as browsers show it.

    Raises:
        UnreadableImageError: There is no frame, or there are too many blocks.
        struct.error, IndexError: The data ends within a header.
    """
    width, height, flags = struct.unpack_from("<HHB", data, _SCREEN_DESCRIPTOR)
    position = _SCREEN_END
    if flags & _HAS_COLOR_TABLE:
        position += 3 << (flags & _COLOR_TABLE_BITS) + 1
    position = _skip_extensions(data, position)
    if data[position] != _IMAGE:
        raise UnreadableImageError("GIF: the file contains no frame")
    left, top, frame_width, frame_height = struct.unpack_from("<xHHHH", data, position)
    if not (frame_width and frame_height):
        raise UnreadableImageError("GIF: the first frame has no pixels")
    size = (max(width, left + frame_width), max(height, top + frame_height))
    return Header(
        format=ImageFormat.GIF,
        width=size[0],
        height=size[1],
        inner_sizes=((frame_width, frame_height),),
        peak_bytes=memory.by_pillow(size, file_bytes=len(data)),
    )


def _skip_extensions(data: memoryview, position: int) -> int:
    """Return the position after the extensions before the first frame."""
    blocks = 0
    while data[position] == _EXTENSION:
        position += 2
        is_end = False
        while not is_end:
            blocks += 1
            if blocks > MAX_BLOCKS:
                raise UnreadableImageError(f"GIF: more than {MAX_BLOCKS} blocks before the first frame")
            is_end = data[position] == 0
            position += 1 + data[position]
    return position
