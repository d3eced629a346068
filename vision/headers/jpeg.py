"""JPEG: the frame header (ITU-T T.81, B.2)."""

import re
import struct
from collections.abc import Iterator
from itertools import islice

from vision.errors import UnreadableImageError
from vision.headers.header import Header, ImageFormat
from vision.headers.memory import MARGIN_BYTES, RGB_CHANNELS, TURN_PIXEL_BYTES
from vision.headers.tiff import UPRIGHT, read_orientation

MAX_SEGMENTS = 10_000  # before the first scan; a photo has dozens, and an ICC profile adds at most 255
MAX_PLAIN_SEGMENTS = 1_000
# Each scan of a progressive file costs a pass over the whole image, however short the scan is: 36 bytes cost 10 ms at
# 16 megapixels. Encoders write about ten scans.
MAX_SCANS = 100
MAX_PLAIN_SCANS = 24
# OpenCV copies the texts of an EXIF block once for each entry that refers to them: 12 ms a block.
MAX_PLAIN_EXIF_BLOCKS = 4

# Fill bytes and garbage between segments are skipped, as libjpeg does; so are coded data and TEM and RST0..RST7, the
# markers without a length, of which coded data has many.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0..SOF15, without DHT, JPG and DAC
_PROGRESSIVE_FRAMES = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_PLAIN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # Huffman-coded: baseline, extended, progressive
_PLAIN_COMPONENTS = frozenset({1, 3})  # gray, and YCbCr or RGB
_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1
_EXIF_PREFIX = b"Exif\0"
_START_OF_IMAGE_BYTES = 2
_MARKER_OFFSET = 3  # of the marker's second byte, before the payload
_COMPONENTS = 6  # from the beginning of a frame header
_COMPONENT_BYTES = 3
_BYTE_BITS = 8
_BLOCK_SIDE = 8
_BLOCK_BYTES = 128  # 64 coefficients of 16 bits
_MAX_SAMPLING = 4
_MAX_COMPONENTS = 4


def read(data: memoryview) -> Header:
    """Read the first frame header, which is the one that libjpeg decodes (it rejects a second).

    Raises:
        UnreadableImageError: There is no frame or no scan, there are too many segments, scans or EXIF blocks, or the
            frame header is not valid.
        struct.error, IndexError: The data ends within a header.
    """
    frame = None
    exif_blocks: list[int] = []
    for number, (marker, payload) in enumerate(islice(_segments(data, _START_OF_IMAGE_BYTES), MAX_SEGMENTS)):
        if marker in _FRAMES and frame is None:
            frame = payload
        elif marker == _START_OF_SCAN and frame is not None:
            return _header(data, frame, payload, segments=number, exif_blocks=exif_blocks)
        elif marker == _APP1 and data[payload : payload + len(_EXIF_PREFIX)] == _EXIF_PREFIX:
            exif_blocks.append(payload)
    raise UnreadableImageError("JPEG: the file contains no image")


def _header(data: memoryview, frame: int, scan: int, *, segments: int, exif_blocks: list[int]) -> Header:
    marker = data[frame - _MARKER_OFFSET]
    bits, height, width, components = struct.unpack_from(">BHHB", data, frame)
    if not 1 <= components <= _MAX_COMPONENTS:
        raise UnreadableImageError(f"JPEG: {components} components; 1 to {_MAX_COMPONENTS} are valid")
    samplings = _samplings(data[frame + _COMPONENTS :], components)
    # A decoder holds all coefficients if they are spread over several scans.
    scans, coefficients = 1, 0
    if marker in _PROGRESSIVE_FRAMES or data[scan] < components:
        scans = _count_scans(data, scan - 4)
        coefficients = _coefficient_bytes(width, height, samplings)
    scaled_bytes = width * height * (RGB_CHANNELS + TURN_PIXEL_BYTES)
    return Header(
        format=ImageFormat.JPEG,
        width=width,
        height=height,
        unchanged=False,
        orientation=_orientation(data, exif_blocks[:MAX_PLAIN_EXIF_BLOCKS]),
        peak_bytes=MARGIN_BYTES + len(data) + coefficients + _row_bytes(width, components) + scaled_bytes,
        scaled_bytes=scaled_bytes,
        is_plain=marker in _PLAIN_FRAMES
        and bits == _BYTE_BITS
        and components in _PLAIN_COMPONENTS
        and scans <= MAX_PLAIN_SCANS
        and segments <= MAX_PLAIN_SEGMENTS
        and len(exif_blocks) <= MAX_PLAIN_EXIF_BLOCKS,
    )


def _orientation(data: memoryview, exif_blocks: list[int]) -> int:
    """Return the orientation by the first EXIF block that can be read; another one after it does not count."""
    for payload in exif_blocks:
        (length,) = struct.unpack_from(">H", data, payload - 2)
        orientation = read_orientation(data[payload : payload - 2 + length])
        if orientation is not None:
            return orientation
    return UPRIGHT


def _segments(data: memoryview, position: int) -> Iterator[tuple[int, int]]:
    """Yield marker and offset of the payload of each segment up to the end of the image."""
    while match := _MARKER.search(data, position):
        position = match.end()
        marker = data[position - 1]
        if marker in {_START_OF_IMAGE, _END_OF_IMAGE}:  # libjpeg rejects a second image
            return
        (length,) = struct.unpack_from(">H", data, position)
        yield marker, position + 2
        position += length


def _count_scans(data: memoryview, position: int) -> int:
    """Count the scans of a file from the first one's marker.

    Raises:
        UnreadableImageError: There are so many scans or other segments that decoding the file would be an attack.
    """
    scans = 0
    for number, (marker, _) in enumerate(_segments(data, position)):
        scans += marker == _START_OF_SCAN
        if scans > MAX_SCANS or number > MAX_SEGMENTS:
            raise UnreadableImageError(f"JPEG: more than {MAX_SCANS} scans")
    return scans


def _samplings(components: memoryview, count: int) -> list[tuple[int, int]]:
    """Return the horizontal and vertical sampling factor of each component."""
    factors = [components[_COMPONENT_BYTES * index + 1] for index in range(count)]
    samplings = [(factor >> 4, factor & 15) for factor in factors]
    if not all(1 <= value <= _MAX_SAMPLING for sampling in samplings for value in sampling):
        raise UnreadableImageError(f"JPEG: a sampling factor is not within 1 to {_MAX_SAMPLING}")
    return samplings


def _coefficient_bytes(width: int, height: int, samplings: list[tuple[int, int]]) -> int:
    """Return the memory for the coefficients of all components (T.81, A.1.1 and A.2)."""
    largest_h, largest_v = (max(values) for values in zip(*samplings, strict=True))
    columns, rows = -(-width // (_BLOCK_SIDE * largest_h)), -(-height // (_BLOCK_SIDE * largest_v))
    return sum(columns * horizontal * rows * vertical * _BLOCK_BYTES for horizontal, vertical in samplings)


def _row_bytes(width: int, components: int) -> int:
    """Return the memory for the rows that libjpeg interpolates at a time: up to three of the largest blocks."""
    return 3 * _MAX_SAMPLING * _BLOCK_SIDE * components * (width + _MAX_SAMPLING * _BLOCK_SIDE)
