"""TIFF and BigTIFF: the first image file directory (Adobe, TIFF 6.0; BigTIFF: libtiff's description).

EXIF is a TIFF without pixels, so its orientation is read here as well.
"""

import struct
from collections.abc import Iterator
from typing import TypeAlias

from vision.errors import UnreadableImageError
from vision.headers import memory
from vision.headers.header import Header, ImageFormat, Size

MAX_ENTRIES = 512  # per directory; a camera writes about fifty, and libtiff sorts all for each unknown one
MAX_VALUES = 8  # read per entry; more are not needed
MAX_BITS = 64  # per sample
MAX_SAMPLES = 64  # per pixel
WINDOW_BYTES = 16 << 20  # of LZMA and Zstandard, whatever the size of the image

_WIDTH, _HEIGHT, _BITS, _ORIENTATION, _SAMPLES = 256, 257, 258, 274, 277
_STRIP_HEIGHT, _TILE_WIDTH, _TILE_HEIGHT, _SAMPLE_FORMAT = 278, 322, 323, 339
_COMPRESSION, _JPEGS = 259, frozenset({6, 7})
_TAGS = frozenset(
    {_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _ORIENTATION, _SAMPLES}
    | {_STRIP_HEIGHT, _TILE_WIDTH, _TILE_HEIGHT, _SAMPLE_FORMAT}
)
_ALL_ROWS = (1 << 32) - 1  # the default of RowsPerStrip
_UNSIGNED_INTEGER = 1
_RGBA_SAMPLES = 4
_WINDOWS = frozenset({34925, 50000})
_BYTE_BITS = 8
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}
_BIG_TIFF = 43
_TYPE_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 16: "Q", 17: "q"}  # by the type's number, as in struct
_EXIF_PREFIX = b"Exif\0\0"
_PART_ENTRY_BYTES = 128  # offset and length of a tile or strip, in libtiff and as Python's numbers
UPRIGHT = 1  # EXIF 2.32, table 6

_Tags: TypeAlias = dict[int, tuple[int, ...]]


def read(data: memoryview) -> Header:
    """Read size and kind of the first image.

    Raises:
        UnreadableImageError: There is no valid directory, or the samples are not unsigned integers.
        struct.error, OverflowError: The directory lies outside the data.
    """
    order, word, position, count = _directory(data)
    tags: _Tags = {}
    for tag, kind, entry in _entries(data, order, word, position, count):
        if tag in _TAGS and tag not in tags:
            tags[tag] = _values(data, entry, kind, word)
    if any(value != _UNSIGNED_INTEGER for value in tags.get(_SAMPLE_FORMAT, ())):
        raise UnreadableImageError("TIFF: signed and floating-point samples are not supported; use unsigned integers")
    size = (_first(tags, _WIDTH, 0), _first(tags, _HEIGHT, 0))
    tile = (_first(tags, _TILE_WIDTH, 0), _first(tags, _TILE_HEIGHT, 0))
    if (tile[0] == 0) != (tile[1] == 0):
        raise UnreadableImageError(f"TIFF: a tile of {tile[0]} x {tile[1]} pixels is invalid")
    rows = _first(tags, _STRIP_HEIGHT, _ALL_ROWS)
    part = tile if tile[0] else (size[0], size[1] if rows == _ALL_ROWS else rows)
    orientation = _first(tags, _ORIENTATION, UPRIGHT)
    return Header(
        format=ImageFormat.TIFF,
        width=size[0],
        height=size[1],
        inner_sizes=(part,),
        orientation=orientation if 1 <= orientation <= 8 else UPRIGHT,  # noqa: PLR2004  # TIFF 6.0, section 8
        peak_bytes=_peak_bytes(tags, size, part, len(data)),
    )


def _peak_bytes(tags: _Tags, size: Size, part: Size, file_bytes: int) -> int:
    """Return the peak of decoding an image by its tiles or strips, which may be larger than the image."""
    bits, samples = max(tags.get(_BITS, (1,))), _first(tags, _SAMPLES, 1)
    if not (1 <= bits <= MAX_BITS and 1 <= samples <= MAX_SAMPLES):
        raise UnreadableImageError(f"TIFF: {samples} samples of {bits} bits are not supported")
    width, height = part
    parts = samples * -(-size[0] // max(1, width)) * -(-size[1] // max(1, height))
    part_bytes = width * height * -(-samples * bits // _BYTE_BITS)
    compression = _first(tags, _COMPRESSION, 1)
    if compression in _JPEGS:  # as RGBA, and as coefficients
        part_bytes += width * height * (_RGBA_SAMPLES + 2 * samples)
    if compression in _WINDOWS:
        part_bytes += WINDOW_BYTES
    return memory.by_pillow(size, file_bytes=file_bytes, decoder_bytes=part_bytes + parts * _PART_ENTRY_BYTES)


def exif_orientation(exif: bytes | memoryview) -> int:
    """Return the orientation, 1..8, declared by an EXIF block; 1 if it declares none, or cannot be read."""
    return read_orientation(exif) or UPRIGHT


def read_orientation(exif: bytes | memoryview) -> int | None:
    """Return the orientation, 1..8, declared by an EXIF block; 1 if it declares none, None if it cannot be read.

    Nothing else in the block is read, so that another entry may be damaged.
    """
    block = memoryview(exif)
    if block[: len(_EXIF_PREFIX)] == _EXIF_PREFIX:
        block = block[len(_EXIF_PREFIX) :]
    try:
        order, word, position, count = _directory(block)
        for tag, kind, entry in _entries(block, order, word, position, count):
            if tag == _ORIENTATION:
                (orientation, *_) = _values(block, entry, kind, word)
                if 1 <= orientation <= 8:  # noqa: PLR2004  # EXIF 2.32, table 6
                    return orientation
    except (UnreadableImageError, struct.error, OverflowError):
        return None
    return UPRIGHT


def _first(tags: _Tags, tag: int, default: int) -> int:
    return tags[tag][0] if tag in tags else default


def _directory(data: memoryview) -> tuple[str, str, int, int]:
    """Locate the first directory: byte order and type of an offset as in `struct`, position and number of entries."""
    order = _BYTE_ORDERS.get(bytes(data[:2]))
    if order is None:
        raise UnreadableImageError("TIFF: the byte order mark is missing")
    (version,) = struct.unpack_from(f"{order}H", data, 2)
    count_layout, word = (f"{order}Q", f"{order}Q") if version == _BIG_TIFF else (f"{order}H", f"{order}I")
    (position,) = struct.unpack_from(word, data, struct.calcsize(word))
    (count,) = struct.unpack_from(count_layout, data, position)
    if count > MAX_ENTRIES:
        raise UnreadableImageError(f"TIFF: a directory has more than {MAX_ENTRIES} entries")
    return order, word, position + struct.calcsize(count_layout), count


def _entries(data: memoryview, order: str, word: str, position: int, count: int) -> Iterator[tuple[int, int, int]]:
    """Yield the tag of each entry of a directory, the type of its values, and where their number stands."""
    layout = f"{order}HH"
    entry_bytes = 4 + 2 * struct.calcsize(word)
    for entry in range(position, position + count * entry_bytes, entry_bytes):
        tag, kind = struct.unpack_from(layout, data, entry)
        yield tag, kind, entry + 4


def _values(data: memoryview, position: int, kind: int, word: str) -> tuple[int, ...]:
    """Read the first values of one entry; their number is the `word` at `position`."""
    if kind not in _TYPE_CODES:
        raise UnreadableImageError(f"TIFF: a required tag has the type {kind}, which is not an integer type")
    (count,) = struct.unpack_from(word, data, position)
    if count == 0:
        raise UnreadableImageError("TIFF: a tag has no value")
    code = _TYPE_CODES[kind]
    word_bytes = struct.calcsize(word)
    position += word_bytes
    if count * struct.calcsize(f"={code}") > word_bytes:  # the values do not fit here: this is their offset
        (position,) = struct.unpack_from(word, data, position)
    values = struct.unpack_from(f"{word[0]}{min(count, MAX_VALUES)}{code}", data, position)
    if min(values) < 0:
        raise UnreadableImageError("TIFF: a required tag has a negative value")
    return values
