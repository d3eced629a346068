"""GIF: the logical screen and the first frame (CompuServe, GIF89a Specification)."""

import struct

import numpy as np
import numpy.typing as npt

from vision.errors import UnreadableImageError
from vision.headers import memory
from vision.headers.header import Header, ImageFormat

MAX_BLOCKS = 131_072  # up to the end of the first frame; a block has at most 255 bytes
# OpenCV rebuilds its code table at each reset: 3 bits cost 7 µs. An encoder needs one reset in about 4,000 codes; one
# that does not compress, one in 126.
MAX_TABLE_RESETS = 20_000

_SCREEN_DESCRIPTOR = 6  # after the signature
_SCREEN_END = 13
_HAS_COLOR_TABLE = 0x80
_COLOR_TABLE_BITS = 0x07
_EXTENSION = 0x21
_IMAGE = 0x2C
_TRAILER = b";"
_IMAGE_DESCRIPTOR_BYTES = 10
_MAX_CODE_BITS = 12
_MAX_TABLE = 1 << _MAX_CODE_BITS
_CODES_PER_STEP = 512


def read(data: memoryview) -> Header:
    """Read the size of the screen, within which the first frame must lie.

    OpenCV decides by the last frame whether there is transparency, so the other frames are left out.

    Raises:
        UnreadableImageError: There is no frame, there are too many blocks, or the codes are made to waste time.
        struct.error, IndexError: The data ends within a header.
    """
    width, height, flags = struct.unpack_from("<HHB", data, _SCREEN_DESCRIPTOR)
    blocks = _Blocks(data, _SCREEN_END + _color_table_bytes(flags))
    while data[blocks.position] == _EXTENSION:
        blocks.position += 2
        blocks.take()
    if data[blocks.position] != _IMAGE:
        raise UnreadableImageError("GIF: the file contains no frame")
    frame_width, frame_height, flags = struct.unpack_from("<5xHHB", data, blocks.position)
    blocks.position += _IMAGE_DESCRIPTOR_BYTES + _color_table_bytes(flags)
    min_code_bits = data[blocks.position]
    blocks.position += 1
    if not 1 < min_code_bits < _MAX_CODE_BITS:
        raise UnreadableImageError(f"GIF: a code size of {min_code_bits} bits is invalid")
    _check_resets(blocks.take(), min_code_bits)
    still = bytes(data[: blocks.position]) + _TRAILER
    frame = (frame_width, frame_height)
    # OpenCV keeps the screen as RGBA, and what the frame covers.
    decoder_bytes = 2 * 4 * (width * height + frame_width * frame_height)
    return Header(
        format=ImageFormat.GIF,
        width=width,
        height=height,
        inner_sizes=(frame,),
        still=still,
        peak_bytes=memory.as_samples((width, height), channels=4, decoder_bytes=decoder_bytes) + 2 * len(data),
    )


def _color_table_bytes(flags: int) -> int:
    return 3 << (flags & _COLOR_TABLE_BITS) + 1 if flags & _HAS_COLOR_TABLE else 0


class _Blocks:
    """Reader of data sub-blocks with one limit on the number of all blocks that are read."""

    def __init__(self, data: memoryview, position: int) -> None:
        self._data = data
        self._remaining = MAX_BLOCKS
        self.position = position

    def take(self) -> bytes:
        """Return the content of the blocks up to the next terminator, and move past it."""
        content = bytearray()
        while length := self._length():
            content += self._data[self.position : self.position + length]
            self.position += length
        return bytes(content)

    def _length(self) -> int:
        if self._remaining == 0:
            raise UnreadableImageError(f"GIF: more than {MAX_BLOCKS} blocks")
        self._remaining -= 1
        self.position += 1
        return self._data[self.position - 1]


def _check_resets(stream: bytes, min_code_bits: int) -> None:
    """Reject LZW data with so many clear or end codes that decoding it would be an attack.

    They can be located without decoding, since the width of a code depends only on the number of codes since the last
    reset. Each step therefore extracts many codes from the stream at once.

    Raises:
        UnreadableImageError: There are more than `MAX_TABLE_RESETS`.
    """
    if len(stream) * 8 <= MAX_TABLE_RESETS * (min_code_bits + 1):
        return  # too short for that many
    padded = stream + bytes(2 * _CODES_PER_STEP)
    words = np.ndarray(len(padded) - 3, "<u4", padded, strides=(1,))  # the four bytes from each byte on
    clear_code = 1 << min_code_bits
    widths = _code_widths(clear_code)
    offsets = np.cumsum(widths, dtype=np.uint32) - widths
    masks = (1 << widths) - 1
    position = since_reset = resets = 0
    while position < len(stream) * 8:
        step = slice(since_reset, since_reset + _CODES_PER_STEP)
        bits = offsets[step] + np.uint32(position - int(offsets[since_reset]))
        codes = words[bits >> 3] >> (bits & 7) & masks[step]
        is_reset = codes >> 1 == clear_code >> 1  # the end code follows the clear code, and OpenCV reads on
        last = int(is_reset.argmax())
        has_reset = bool(is_reset[last])
        last = last if has_reset else -1
        position = int(bits[last]) + int(widths[step][last])
        since_reset = 0 if has_reset else min(since_reset + _CODES_PER_STEP, _MAX_TABLE - clear_code)
        resets += has_reset
        if resets > MAX_TABLE_RESETS:
            raise UnreadableImageError(f"GIF: more than {MAX_TABLE_RESETS} resets of the code table")


def _code_widths(clear_code: int) -> npt.NDArray[np.uint32]:
    """Return the widths in bits of the codes after a reset, until one step after the table is full."""
    table_sizes = np.arange(clear_code + 1, _MAX_TABLE + 1 + _CODES_PER_STEP)
    return np.minimum(np.frexp(table_sizes)[1], _MAX_CODE_BITS).astype(np.uint32)  # frexp's exponent: the bit length
