"""JPEG: the frame header (ITU-T T.81, B.2)."""

import re
import struct
from collections.abc import Iterator
from itertools import islice

from vision.errors import UnreadableImageError
from vision.headers.header import Header, ImageFormat
from vision.headers.memory import MARGIN_BYTES, PREPROCESS_PIXEL_BYTES

MAX_SEGMENTS = 10_000  # before the first scan; a photo has dozens, and an ICC profile adds at most 255
# Each scan of a progressive file costs a pass over the whole image, however short the scan is: 36 bytes cost 10 ms at
# 16 megapixels. Encoders write about ten scans.
MAX_SCANS = 100
MAX_PLAIN_SEGMENTS = 500
MAX_PLAIN_SCANS = 24

_MARKER = re.compile(rb"\xff[^\x00\xff]")  # fill bytes and garbage between segments are skipped, as libjpeg does
_SCAN = re.compile(rb"\xff\xda")
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # TEM, RST0..RST7, SOI: markers without a length
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0..SOF15, without DHT, JPG and DAC
_PROGRESSIVE_FRAMES = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_PLAIN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # Huffman-coded: baseline, extended, progressive
_PLAIN_COMPONENTS = frozenset({1, 3})  # gray, and YCbCr or RGB
_START_OF_SCAN = 0xDA
_START_OF_IMAGE_BYTES = 2
_BYTE_BITS = 8
_BLOCK_SIDE = 8
_BLOCK_BYTES = 128  # 64 coefficients of 16 bits
_MAX_SAMPLING = 4
_MAX_COMPONENTS = 4


def read(data: memoryview) -> Header:
    """Read the first frame header, which is the one that libjpeg decodes (it rejects a second).

    Raises:
        UnreadableImageError: There is no frame or no scan, there are too many segments or scans, or the frame header is
            not valid.
        struct.error: The data ends within a header.
    """
    frame = None
    for number, (marker, payload) in enumerate(islice(_segments(data), MAX_SEGMENTS)):
        if marker in _FRAMES and frame is None:
            frame, frame_marker = payload, marker
        elif marker == _START_OF_SCAN and frame is not None:
            return _header(data, frame_marker, frame, payload, segments=number)
    raise UnreadableImageError("JPEG: the file contains no image")


def _header(data: memoryview, marker: int, frame: int, scan: int, *, segments: int) -> Header:
    bits, height, width, components = struct.unpack_from(">BHHB", data, frame)
    if not 1 <= components <= _MAX_COMPONENTS:
        raise UnreadableImageError(f"JPEG: {components} components; 1 to {_MAX_COMPONENTS} are valid")
    # A decoder holds all coefficients if they are spread over several scans.
    scans, coefficients = 1, 0
    if marker in _PROGRESSIVE_FRAMES or data[scan] < components:
        scans = _count_scans(data, scan)
        coefficients = _coefficient_bytes(data, frame + 6, width, height, components)
    is_ordinary = marker in _PLAIN_FRAMES and bits == _BYTE_BITS and components in _PLAIN_COMPONENTS
    scaled_bytes = width * height * PREPROCESS_PIXEL_BYTES  # more than the image and OpenCV's copy of it
    return Header(
        format=ImageFormat.JPEG,
        width=width,
        height=height,
        unchanged=False,
        peak_bytes=MARGIN_BYTES + len(data) + coefficients + scaled_bytes,
        scaled_bytes=scaled_bytes,
        is_plain=is_ordinary and scans <= MAX_PLAIN_SCANS and segments <= MAX_PLAIN_SEGMENTS,
    )


def _segments(data: memoryview) -> Iterator[tuple[int, int]]:
    """Yield marker and offset of the payload of each segment."""
    position = _START_OF_IMAGE_BYTES
    while match := _MARKER.search(data, position):
        position = match.end()
        marker = data[position - 1]
        if marker in _STANDALONE:
            yield marker, position
            continue
        (length,) = struct.unpack_from(">H", data, position)
        yield marker, position + 2
        position += length


def _count_scans(data: memoryview, position: int) -> int:
    """Count the scans of a file; coded data never contains the marker.

    Raises:
        UnreadableImageError: There are more than `MAX_SCANS`, so that decoding the file would be an attack.
    """
    count = 1 + sum(1 for _ in islice(_SCAN.finditer(data, position), MAX_SCANS))
    if count > MAX_SCANS:
        raise UnreadableImageError(f"JPEG: more than {MAX_SCANS} scans")
    return count


def _coefficient_bytes(data: memoryview, components: int, width: int, height: int, count: int) -> int:
    """Return the memory for the coefficients of all components (T.81, A.1.1 and A.2)."""
    samplings = [
        (data[components + 3 * index + 1] >> 4, data[components + 3 * index + 1] & 15) for index in range(count)
    ]
    if not all(1 <= value <= _MAX_SAMPLING for sampling in samplings for value in sampling):
        raise UnreadableImageError(f"JPEG: a sampling factor is not within 1 to {_MAX_SAMPLING}")
    largest_h, largest_v = (max(values) for values in zip(*samplings, strict=True))
    columns, rows = -(-width // (_BLOCK_SIDE * largest_h)), -(-height // (_BLOCK_SIDE * largest_v))
    return sum(columns * horizontal * rows * vertical * _BLOCK_BYTES for horizontal, vertical in samplings)
