"""GIF: the logical screen and the first frame (CompuServe, GIF89a Specification)."""

import struct

import numpy as np
import numpy.typing as npt

from vision.errors import UnreadableImageError
from vision.headers.header import Header, ImageFormat

MAX_BLOCKS = 131_072  # up to the end of the first frame; one holds at most 255 bytes
# OpenCV builds its code table anew at each of these: 3 bits buy 7 µs. An encoder needs one in some
# 4,000 codes; one that does not compress, one in 126.
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
    """Read the size of the screen, on which the first frame has to lie.

    OpenCV tells from the last frame whether there is transparency, so the further frames are left out.

    Raises:
        UnreadableImageError: No frame, too many blocks, or a stream of codes made to waste time.
        struct.error, IndexError: The data ends within a header.
    """
    width, height, flags = struct.unpack_from("<HHB", data, _SCREEN_DESCRIPTOR)
    blocks = _Blocks(data, _SCREEN_END + _color_table_bytes(flags))
    while data[blocks.position] == _EXTENSION:
        blocks.position += 2
        blocks.take()
    if data[blocks.position] != _IMAGE:
        raise UnreadableImageError("GIF: no frame found")
    frame_width, frame_height, flags = struct.unpack_from("<5xHHB", data, blocks.position)
    blocks.position += _IMAGE_DESCRIPTOR_BYTES + _color_table_bytes(flags)
    min_code_bits = data[blocks.position]
    blocks.position += 1
    if not 1 < min_code_bits < _MAX_CODE_BITS:
        raise UnreadableImageError(f"GIF: a code size of {min_code_bits} bits is not valid")
    _check_resets(blocks.take(), min_code_bits)
    still = bytes(data[: blocks.position]) + _TRAILER
    frame = (frame_width, frame_height)
    return Header(format=ImageFormat.GIF, width=width, height=height, parts=(frame,), still=still)


def _color_table_bytes(flags: int) -> int:
    return 3 << (flags & _COLOR_TABLE_BITS) + 1 if flags & _HAS_COLOR_TABLE else 0


class _Blocks:
    """A position among data sub-blocks, and one budget for all that are read."""

    def __init__(self, data: memoryview, position: int) -> None:
        self._data = data
        self._left = MAX_BLOCKS
        self.position = position

    def take(self) -> bytes:
        """Return what the blocks from here to the next terminator hold, and move behind it."""
        blocks = []
        while length := self._length():
            blocks.append(self._data[self.position : self.position + length])
            self.position += length
        return b"".join(blocks)

    def _length(self) -> int:
        if self._left == 0:
            raise UnreadableImageError(f"GIF: more than {MAX_BLOCKS} blocks")
        self._left -= 1
        self.position += 1
        return self._data[self.position - 1]


def _check_resets(stream: bytes, min_code_bits: int) -> None:
    """Refuse LZW codes with so many clear or end codes among them that decoding is an attack.

    Finding them needs no decoding, since the width of a code depends only on how many came since the last
    reset; so a step cuts many codes out of the stream at once.
    """
    if len(stream) * 8 <= MAX_TABLE_RESETS * (min_code_bits + 1):
        return  # too short to hold as many
    padded = np.frombuffer(stream + bytes(2 * _CODES_PER_STEP), np.uint8)
    clear_code = 1 << min_code_bits
    widths = _code_widths(clear_code)
    offsets = np.cumsum(widths) - widths
    position = since_reset = resets = 0
    while position < len(stream) * 8:
        step = slice(since_reset, since_reset + _CODES_PER_STEP)
        bits = position + offsets[step] - offsets[since_reset]
        low, middle, high = (padded[(bits >> 3) + index].astype(np.uint32) for index in range(3))
        codes = (low | middle << 8 | high << 16) >> (bits & 7) & ((1 << widths[step]) - 1)
        is_reset = codes | 1 == clear_code | 1  # the end code follows the clear code, and OpenCV reads on
        last = int(is_reset.argmax()) if is_reset.any() else -1
        position = int(bits[last] + widths[step][last])
        since_reset = 0 if is_reset[last] else min(since_reset + _CODES_PER_STEP, _MAX_TABLE - clear_code)
        resets += int(is_reset[last])
        if resets > MAX_TABLE_RESETS:
            raise UnreadableImageError(f"GIF: more than {MAX_TABLE_RESETS} resets of the code table")


def _code_widths(clear_code: int) -> npt.NDArray[np.int32]:
    """Return the widths in bits of the codes after a reset, up to a step beyond the first at a full table."""
    table_sizes = np.arange(clear_code + 1, _MAX_TABLE + 1 + _CODES_PER_STEP)
    return np.minimum(np.frexp(table_sizes)[1], _MAX_CODE_BITS)  # frexp's exponent is the bit length
