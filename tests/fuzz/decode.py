"""Decode any bytes as an image file: the result is a model input or an `ImageError`, and costs what the header says.

The file is first decoded in a process of its own: whatever the header declares is an upper bound of the size, the
memory and the time that the decoder really takes.
"""

import atexit
import functools
import struct
import zlib
from itertools import product

import cv2
import numpy as np

from tests.support.decode_cost import CostMeter
from vision.card import InputSpec
from vision.decode import ImageError, decode, read_header
from vision.preprocess import preprocess

MAX_PIXELS = 1_000_000
SPECS = [
    InputSpec(height=24, width=32, resize=resize, interpolation=interpolation)
    for resize, interpolation in product(("stretch", "center_crop", "letterbox"), ("nearest", "bilinear", "area"))
] + [
    InputSpec(height=28, width=28, color="GRAY", resize="fit_ink", invert_light_background=True),
    InputSpec(height=24, width=32, resize="center_crop", resize_size=40, interpolation="bicubic", antialias=True),
    InputSpec(height=24, width=32, resize="crop_to_aspect_ratio", interpolation="nearest_exact", decoding="full"),
]
# Generous, since a busy machine takes longer for the same work.
MAX_HEADER_CPU_S = 1.0
MAX_CPU_S = 5.0
MAX_PLAIN_CPU_S = 1.5
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

cv2.setNumThreads(1)
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def one_input(data: bytes) -> None:
    data = with_checksums(data)
    spec = SPECS[len(data) % len(SPECS)]
    cover = (spec.height, spec.width) if len(data) % 2 else None
    try:
        header = read_header(data)
    except ImageError as error:
        assert 0 < len(str(error)) < 500
        return
    check_cost(data)
    try:
        image = decode(data, max_pixels=MAX_PIXELS, background=spec.background, cover=cover, header=header)
    except ImageError as error:
        assert 0 < len(str(error)) < 500
        return
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert image.flags.c_contiguous
    assert image.shape[0] * image.shape[1] <= MAX_PIXELS
    if cover is None and header.crop is None:
        assert sorted(image.shape[:2]) == sorted((header.height, header.width))
    result = preprocess(image, spec)
    assert (result.shape, result.dtype) == (spec.shape, np.dtype(spec.dtype))


def check_cost(data: bytes) -> None:
    """Check that decoding costs no more than the header declares."""
    cost = meter().measure(data)
    assert cost.outcome != "crashed", cost
    assert cost.peak_bytes <= cost.declared_bytes, cost
    assert cost.header_cpu_s < MAX_HEADER_CPU_S, cost
    assert cost.cpu_s < (MAX_PLAIN_CPU_S if cost.is_plain else MAX_CPU_S), cost
    if cost.outcome == "decoded" and not cost.is_cropped:
        assert sorted(cost.size) == sorted(cost.declared), cost


@functools.cache
def meter() -> CostMeter:
    process = CostMeter(max_pixels=MAX_PIXELS)
    atexit.register(process.close)
    return process


def with_checksums(data: bytes) -> bytes:
    """Return a PNG with the right checksum for each chunk, so that mutations reach the decoder; others as they are."""
    if not data.startswith(PNG_SIGNATURE):
        return data
    parts, position = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        content = data[position + 4 : position + 8 + length]
        parts.append(struct.pack(">I", length) + content)
        position += 12 + length
        if position <= len(data):
            parts.append(struct.pack(">I", zlib.crc32(content)))
    return b"".join(parts) + data[position:]
