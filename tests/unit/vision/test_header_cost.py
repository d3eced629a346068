"""Reading a header takes time that grows no faster than the file, and little of it for any file."""

import struct
import time
from collections.abc import Callable
from contextlib import suppress

import cv2
import numpy as np
import pytest

from tests.support import image_files as files
from vision.decode import ImageError, read_header

SIZE = 2_500_000
"""Files of this size and four times as much, the most that the gateway accepts by default, are compared."""
FAST_S = 0.25
"""So little time is not compared: it would measure the machine."""
MAX_S = 2.0
"""Generous, since a busy machine takes longer for the same work; 0.3 s were measured for the slowest."""

IMAGE = np.zeros((21, 34, 3), np.uint8)
JPEG = files.encoded(IMAGE, ".jpg")
PROGRESSIVE = files.encoded(IMAGE, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
PNG = files.encoded(IMAGE, ".png")
PALETTE = [(0, 0, 0)] * 4
SEQUENCE_HEADER = files.av1_sequence_header(34, 21)


def repeated(unit: bytes, size: int) -> bytes:
    return unit * (size // len(unit))


def gif_of_codes(codes: bytes) -> bytes:
    frame = files.gif_frame_of_codes((4_000, 4_000), codes, code_bits=8)
    return files.gif((4_000, 4_000), PALETTE, frame)


def full_box(kind: bytes, *payloads: bytes) -> bytes:
    return files.box(kind, b"\0" * 4, *payloads)


def avif_of_boxes(*boxes: bytes) -> bytes:
    return files.box(b"ftyp", b"avif", b"\0" * 4, b"avif") + full_box(b"meta", *boxes)


ITEM = files.box(b"infe", struct.pack(">IHH", 2 << 24, 1, 0), b"av01", b"\0")
ONE_ITEM = (full_box(b"pitm", b"\0\1"), full_box(b"iinf", b"\0\1", ITEM))

FILES: dict[str, Callable[[int], bytes]] = {
    "jpeg: fill bytes": lambda size: b"\xff\xd8\xff\xd0" + repeated(b"\xff", size),
    "jpeg: escaped bytes": lambda size: b"\xff\xd8\xff\xd0" + repeated(b"\xff\0", size),
    "jpeg: comments": lambda size: JPEG[:2] + repeated(b"\xff\xfe\0\2", size) + JPEG[2:],
    "jpeg: fill bytes in a scan": lambda size: PROGRESSIVE[:-2] + repeated(b"\xff", size) + PROGRESSIVE[-2:],
    "jpeg: restarts in a scan": lambda size: PROGRESSIVE[:-2] + repeated(b"\xff\xd0", size) + PROGRESSIVE[-2:],
    "jpeg: comments in a scan": lambda size: PROGRESSIVE[:-2] + repeated(b"\xff\xfe\0\2", size) + PROGRESSIVE[-2:],
    "png: chunks": lambda size: files.png_with(PNG, repeated(files.png_chunk(b"teSt"), size)),
    "png: image data": lambda size: files.png_with(PNG, repeated(files.png_chunk(b"IDAT"), size)),
    "png: text": lambda size: files.png_with(
        PNG, files.png_chunk(b"tEXt", b"Raw profile type exif\0" + repeated(b"\n", size))
    ),
    "webp: chunks": lambda size: files.riff(repeated(b"junk\0\0\0\0", size)),
    "webp: frames": lambda size: files.riff(repeated(b"ANMF\0\0\0\0", size)),
    "gif: extensions": lambda size: files.gif((2, 2), PALETTE, repeated(b"\x21\xfe\0", size)),
    "gif: blocks": lambda size: files.gif((2, 2), PALETTE, b"\x21\xfe" + repeated(b"\1x", size) + b"\0"),
    "gif: codes": lambda size: gif_of_codes(bytes(size)),
    "gif: resets": lambda size: gif_of_codes(repeated(b"\0\1", size)),
    "gif: few resets": lambda size: gif_of_codes(repeated(b"\0\1" + bytes(500), size)),
    "tiff: entries": lambda size: b"II*\0" + struct.pack("<IH", 8, 512) + repeated(b"\0\0\3\0\1" + bytes(7), size),
    "avif: boxes": lambda size: avif_of_boxes(repeated(files.box(b"free"), size)),
    "avif: items": lambda size: avif_of_boxes(full_box(b"pitm", b"\0\1"), full_box(b"iinf", repeated(ITEM, size))),
    "avif: extents without bytes": lambda size: avif_of_boxes(
        *ONE_ITEM,
        full_box(b"iloc", b"\0\0\xff\xff", repeated(b"\0\1\0\0\xff\xff", size)),
        files.box(b"iprp"),
    ),
    "avif: associations": lambda size: avif_of_boxes(
        *ONE_ITEM,
        full_box(b"iloc", b"\0\0\0\0"),
        files.box(
            b"iprp",
            full_box(
                b"ipma",
                struct.pack(">I", 65_535),
                b"".join(struct.pack(">HB", item, 255) + bytes(255) for item in range(min(65_535, size // 258))),
            ),
        ),
    ),
    "avif: units": lambda size: files.avif([(b"av01", repeated(b"\x12\0", size), [1])], [files.ispe(34, 21)]),
    "avif: images": lambda size: files.avif(
        [(b"av01", SEQUENCE_HEADER, [1])] * min(8_000, size // 600), [files.ispe(34, 21)]
    ),
    "bmp: zeros": lambda size: b"BM" + bytes(size),
}


@pytest.mark.parametrize("make", FILES.values(), ids=FILES)
def test_reading_a_header_takes_linear_and_little_time(make):
    small, large = (cpu_s(make(size)) for size in (SIZE, 4 * SIZE))

    assert large < MAX_S
    assert large < max(FAST_S, 8 * small)


def cpu_s(data: bytes) -> float:
    start_s = time.thread_time()
    with suppress(ImageError):
        read_header(data)
    return time.thread_time() - start_s
