"""JPEG: the frame header (ITU-T T.81, B.2)."""

import re
import struct
from collections.abc import Iterator
from itertools import islice

from vision.errors import UnreadableImageError
from vision.headers.header import Header, ImageFormat

MAX_SEGMENTS = 10_000  # before the first scan; a photo has dozens, and an ICC profile adds at most 255
# Each scan of a progressive file costs a pass over the whole image, however short the scan is: 36 bytes cost 10 ms at
# 16 megapixels. Encoders write about ten scans.
MAX_SCANS = 100

_MARKER = re.compile(rb"\xff[^\x00\xff]")  # fill bytes and garbage between segments are skipped, as libjpeg does
_SCAN = re.compile(rb"\xff\xda")
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # TEM, RST0..RST7, SOI: markers without a length
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0..SOF15, without DHT, JPG and DAC
_PROGRESSIVE_FRAMES = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_START_OF_SCAN = 0xDA
_START_OF_IMAGE_BYTES = 2


def read(data: memoryview) -> Header:
    """Read the first frame header, which is the one that libjpeg decodes (it rejects a second).

    Raises:
        UnreadableImageError: There is no frame or no scan, or there are too many segments or scans.
        struct.error: The data ends within a header.
    """
    frame = None
    for marker, payload in islice(_segments(data), MAX_SEGMENTS):
        if marker in _FRAMES and frame is None:
            height, width, components = struct.unpack_from(">xHHB", data, payload)
            frame = Header(format=ImageFormat.JPEG, width=width, height=height, unchanged=False)
            progressive = marker in _PROGRESSIVE_FRAMES
        elif marker == _START_OF_SCAN and frame is not None:
            if progressive or data[payload] < components:
                _check_scans(data, payload)
            return frame
    raise UnreadableImageError("JPEG: the file contains no image")


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


def _check_scans(data: memoryview, position: int) -> None:
    """Reject a file of so many scans that decoding it would be an attack; coded data never contains the marker.

    Raises:
        UnreadableImageError: There are more than `MAX_SCANS`.
    """
    count = sum(1 for _ in islice(_SCAN.finditer(data, position), MAX_SCANS))
    if count >= MAX_SCANS:
        raise UnreadableImageError(f"JPEG: more than {MAX_SCANS} scans")
