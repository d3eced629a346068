"""TIFF and BigTIFF: the first image file directory (Adobe, TIFF 6.0; BigTIFF: libtiff's description).

EXIF is a TIFF without pixels, so its orientation is read here as well.
"""

import struct
from typing import TypeAlias

from vision.errors import UnreadableImageError
from vision.headers import memory
from vision.headers.header import Header, ImageFormat, Size

MAX_ENTRIES = 4_096  # per directory; a camera writes about fifty
MAX_VALUES = 8  # read per entry; more are not needed
MAX_BITS = 64  # per sample
MAX_SAMPLES = 64  # per pixel

_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES = 256, 257, 258, 262, 274, 277
_STRIP_HEIGHT, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 278, 284, 322, 323, 338, 339
_TAGS = frozenset(
    {_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES}
    | {_STRIP_HEIGHT, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _EXTRA_SAMPLES, _SAMPLE_FORMAT}
)
_ALL_ROWS = (1 << 32) - 1  # the default of RowsPerStrip
_BLACK_IS_ZERO, _RGB = 1, 2
_CONTIGUOUS = 1
_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA = 1, 2
_UNSIGNED_INTEGER = 1
_RGB_SAMPLES, _RGBA_SAMPLES = 3, 4
_BYTE_BITS = 8
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}
_BIG_TIFF = 43
_TYPE_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 16: "Q", 17: "q"}  # by the type's number, as in struct
_EXIF_PREFIX = b"Exif\0\0"
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_VALUE_COPIES = 8  # libtiff stores offsets of 8 bytes, however short they are in the file
_PART_ENTRY_BYTES = 32  # offset and length of a tile or strip, while they are read
UPRIGHT = 1  # EXIF 2.32, table 6

_Tags: TypeAlias = dict[int, tuple[int, ...]]


def read(data: memoryview) -> Header:
    """Read size and kind of the first image.

    Raises:
        UnreadableImageError: There is no valid directory, or OpenCV decodes the samples incorrectly: signed or
            floating-point samples, or an alpha channel that it drops.
        struct.error, OverflowError: The directory lies outside the data.
    """
    tags, value_bytes = _directory(data)
    if _first(tags, _SAMPLE_FORMAT, _UNSIGNED_INTEGER) != _UNSIGNED_INTEGER:
        raise UnreadableImageError("TIFF: signed and floating-point samples are not supported; use unsigned integers")
    unchanged = _is_unchanged_correct(tags)
    alpha = _first(tags, _EXTRA_SAMPLES, 0)
    if alpha in {_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA}:
        is_rgba = _first(tags, _PHOTOMETRIC, 0) == _RGB and _first(tags, _SAMPLES, 1) == _RGBA_SAMPLES
        if not (unchanged and is_rgba):
            raise UnreadableImageError("TIFF: transparency is only supported in interleaved RGB; send a PNG")
    bits = _first(tags, _BITS, 1)
    size = (_first(tags, _WIDTH, 0), _first(tags, _HEIGHT, 0))
    tile = (_first(tags, _TILE_WIDTH, 0), _first(tags, _TILE_HEIGHT, 0))
    if (tile[0] == 0) != (tile[1] == 0):
        raise UnreadableImageError(f"TIFF: a tile of {tile[0]} x {tile[1]} pixels is invalid")
    rows = _first(tags, _STRIP_HEIGHT, _ALL_ROWS)
    part = tile if tile[0] else (size[0], size[1] if rows == _ALL_ROWS else rows)
    return Header(
        format=ImageFormat.TIFF,
        width=size[0],
        height=size[1],
        inner_sizes=(part,),
        unchanged=unchanged,
        sample_max=(1 << min(bits, 16)) - 1,
        premultiplied=bits <= _BYTE_BITS or alpha != _UNASSOCIATED_ALPHA,  # libtiff multiplies in its 8-bit conversion
        peak_bytes=_peak_bytes(tags, size, part) + value_bytes * _VALUE_COPIES + len(data),
    )


def _peak_bytes(tags: _Tags, size: Size, part: Size) -> int:
    """Return the peak of decoding an image by its tiles or strips, which may be larger than the image."""
    bits, samples = max(tags.get(_BITS, (1,))), _first(tags, _SAMPLES, 1)
    if not (1 <= bits <= MAX_BITS and 1 <= samples <= MAX_SAMPLES):
        raise UnreadableImageError(f"TIFF: {samples} samples of {bits} bits are not supported")
    width, height = part
    parts = samples * -(-size[0] // max(1, width)) * -(-size[1] // max(1, height))
    # A part as stored, as RGBA, and as coefficients if it is a JPEG.
    part_bytes = width * height * (-(-samples * bits // _BYTE_BITS) + _RGBA_SAMPLES + 2 * samples)
    return memory.as_samples(
        size,
        channels=min(max(samples, _RGB_SAMPLES), _RGBA_SAMPLES),
        sample_bytes=1 if bits <= _BYTE_BITS else 2,
        decoder_bytes=part_bytes + parts * _PART_ENTRY_BYTES,
    )


def exif_orientation(exif: bytes | memoryview) -> int:
    """Return the orientation, 1..8, declared by an EXIF block; 1 if it declares none or is damaged."""
    block = memoryview(exif)
    if block[: len(_EXIF_PREFIX)] == _EXIF_PREFIX:
        block = block[len(_EXIF_PREFIX) :]
    try:
        tags, _ = _directory(block)
    except (UnreadableImageError, struct.error, OverflowError):
        return UPRIGHT
    orientation = _first(tags, _ORIENTATION, UPRIGHT)
    return orientation if 1 <= orientation <= 8 else UPRIGHT  # noqa: PLR2004  # EXIF 2.32, table 6


def _is_unchanged_correct(tags: _Tags) -> bool:
    """Return whether OpenCV's unchanged decoding returns correct samples.

    Samples of more than 8 bits are returned as stored: white-is-zero is not inverted, and separate planes are not
    interleaved. libtiff's 8-bit conversion does both.
    """
    is_deep = _first(tags, _BITS, 1) > _BYTE_BITS
    is_interleaved = _first(tags, _PLANAR, _CONTIGUOUS) == _CONTIGUOUS
    return _first(tags, _PHOTOMETRIC, 0) in {_BLACK_IS_ZERO, _RGB} and (is_interleaved or not is_deep)


def _first(tags: _Tags, tag: int, default: int) -> int:
    return tags[tag][0] if tag in tags else default


def _directory(data: memoryview) -> tuple[_Tags, int]:
    """Return the values of `_TAGS` in the first directory, and the bytes that the values of all tags take."""
    order = _BYTE_ORDERS.get(bytes(data[:2]))
    if order is None:
        raise UnreadableImageError("TIFF: the byte order mark is missing")
    (version,) = struct.unpack_from(f"{order}H", data, 2)
    count_code, word = ("Q", f"{order}Q") if version == _BIG_TIFF else ("H", f"{order}I")
    (position,) = struct.unpack_from(word, data, struct.calcsize(word))
    (count,) = struct.unpack_from(f"{order}{count_code}", data, position)
    if count > MAX_ENTRIES:
        raise UnreadableImageError(f"TIFF: a directory has more than {MAX_ENTRIES} entries")
    position += struct.calcsize(f"{order}{count_code}")
    tags: _Tags = {}
    value_bytes = 0
    for _ in range(count):
        tag, kind = struct.unpack_from(f"{order}HH", data, position)
        if tag in tags:
            raise UnreadableImageError(f"TIFF: tag {tag} appears twice")
        if tag in _TAGS:
            tags[tag] = _values(data, position + 4, kind, word)
        value_bytes += _value_bytes(data, position + 4, kind, word)
        if value_bytes > len(data):  # libtiff copies them all: 9 MB took 36 GB
            raise UnreadableImageError("TIFF: the tags contain more bytes than the file")
        position += 4 + 2 * struct.calcsize(word)
    return tags, value_bytes


def _value_bytes(data: memoryview, position: int, kind: int, word: str) -> int:
    """Return how many bytes of the file the values of one entry take."""
    count, offset = struct.unpack_from(f"{word}{word[1]}", data, position)
    value_bytes = int(count) * _TYPE_BYTES.get(kind, 0)
    return 0 if value_bytes <= struct.calcsize(word) else min(value_bytes, max(0, len(data) - offset))


def _values(data: memoryview, position: int, kind: int, word: str) -> tuple[int, ...]:
    """Read the values of one entry; its count is the `word` at `position`."""
    if kind not in _TYPE_CODES:
        raise UnreadableImageError(f"TIFF: a required tag has the type {kind}, which is not an integer type")
    (count,) = struct.unpack_from(word, data, position)
    if count == 0:
        raise UnreadableImageError("TIFF: a tag has no value")
    code = _TYPE_CODES[kind]
    word_bytes = struct.calcsize(word)
    position += word_bytes
    if count * _TYPE_BYTES[kind] > word_bytes:  # the values do not fit here: this is their offset
        (position,) = struct.unpack_from(word, data, position)
    values = struct.unpack_from(f"{word[0]}{min(count, MAX_VALUES)}{code}", data, position)
    if min(values) < 0:
        raise UnreadableImageError("TIFF: a required tag has a negative value")
    return values
