"""Pictures in many shapes of files, with the colours that are right for each; most show four coloured quadrants.

    python -m tests.support.picture_shapes

prints what a browser, Pillow and this project show for each shape, or for each file in the arguments. It needs
Chromium.
"""

import base64
import io
import itertools
import shutil
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from PIL import Image, ImageOps
from playwright.sync_api import sync_playwright

from tests.support import image_files as files
from vision import pillow_decoder
from vision.decode import ImageError, decode

HEIC = Path(__file__).parents[1] / "unit" / "vision" / "heic"
Color: TypeAlias = tuple[int, int, int]
Colors: TypeAlias = tuple[Color, Color, Color, Color]

ESSENTIAL = 0x80
"""Marks a property of an AVIF that a reader must know."""
BACKGROUND: Color = (200, 100, 250)
"""The background of the card, which is not the white of a browser's page."""
WIDTH, HEIGHT = 96, 64
QUADRANTS: Colors = ((220, 30, 30), (30, 180, 30), (30, 30, 220), (230, 220, 40))
"""Top left, top right, bottom left, bottom right."""
GRAYS: Colors = ((60,) * 3, (120,) * 3, (180,) * 3, (240,) * 3)
BILEVEL: Colors = ((0,) * 3, (255,) * 3, (255,) * 3, (0,) * 3)
TRANSPARENT_TOP_LEFT: Colors = (BACKGROUND, *QUADRANTS[1:])


@dataclass(frozen=True, slots=True)
class Shape:
    """A picture.

    Attributes:
        name: What is special about it.
        data: The file.
        colors: In the middle of each quadrant; None if the file is to be refused.
        size: Width and height, upright.
        tolerance: Largest difference of a value.
    """

    name: str
    data: bytes
    colors: Colors | None = QUADRANTS
    size: tuple[int, int] = (WIDTH, HEIGHT)
    tolerance: int = 3


def sampled(image: np.ndarray) -> Colors:
    """Return the colours in the middle of the quadrants of uint8[H, W, 3]."""
    height, width = image.shape[:2]
    return tuple(
        tuple(int(value) for value in image[row, column])
        for row, column in itertools.product((height // 4, height * 3 // 4), (width // 4, width * 3 // 4))
    )


def quadrants(colors: Sequence[Sequence[int]] = QUADRANTS, size: tuple[int, int] = (WIDTH, HEIGHT)) -> np.ndarray:
    """Return uint8[H, W, C] of four colours."""
    width, height = size
    rows, columns = np.arange(height) * 2 // height, np.arange(width) * 2 // width
    return np.array(colors, np.uint8)[rows[:, None] * 2 + columns[None, :]]


def grays(values: Sequence[int] = (60, 120, 180, 240)) -> np.ndarray:
    return quadrants([[value] for value in values])[..., 0]


def indices(size: tuple[int, int] = (WIDTH, HEIGHT)) -> np.ndarray:
    return quadrants([[0], [1], [2], [3]], size)[..., 0]


def rgba(alpha: int = 0) -> np.ndarray:
    """Return the quadrants, the first of which has another alpha than the rest."""
    return quadrants([(*color, 255 if number else alpha) for number, color in enumerate(QUADRANTS)])


def turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """Return an image as stored so that an orientation makes it upright."""
    undo: Mapping[int, Callable[[np.ndarray], np.ndarray]] = {
        1: lambda image: image,
        2: np.fliplr,
        3: lambda image: np.rot90(image, 2),
        4: np.flipud,
        5: lambda image: image.transpose(1, 0, *range(2, image.ndim)),
        6: lambda image: np.rot90(image, 1),
        7: lambda image: np.rot90(image.transpose(1, 0, *range(2, image.ndim)), 2),
        8: lambda image: np.rot90(image, -1),
    }
    return np.ascontiguousarray(undo[orientation](image))


def pillow(image: np.ndarray | Image.Image, file_format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(stream, file_format, **options)
    return stream.getvalue()


def packed(samples: np.ndarray, bits: int) -> bytes:
    """Pack uint8[H, W] of few bits into rows of whole bytes, the first sample in the highest bits."""
    expanded = (samples[..., None] >> np.arange(bits - 1, -1, -1, dtype=np.uint8)) & 1
    return np.packbits(expanded.reshape(len(samples), -1), axis=1).tobytes()


# TIFF


def raw_tiff(pixels: bytes, photometric: int, bits: Sequence[int], order: str = "<", **more: tuple[int, ...]) -> bytes:
    """Build a TIFF of one strip; `more` are tags, as `t` and their number."""
    tags = {256: (WIDTH,), 257: (HEIGHT,), 258: tuple(bits), 259: (1,), 262: (photometric,), 273: (16,)}
    tags |= {277: (len(bits),), 278: (HEIGHT,), 279: (len(pixels),)}
    return files.tiff_directory(tags | {int(name[1:]): value for name, value in more.items()}, pixels, order)


def split_tiff(parts: Sequence[bytes], bits: Sequence[int], compression: int, **more: tuple[int, ...]) -> bytes:
    """Build a colour TIFF from its strips or tiles, the tags of which are among `more`."""
    is_tiled = "t322" in more
    offsets = tuple(16 + offset for offset in itertools.accumulate((len(part) for part in parts), initial=0))[:-1]
    places = {324: offsets, 325: tuple(map(len, parts))} if is_tiled else {273: offsets, 279: tuple(map(len, parts))}
    tags = {256: (WIDTH,), 257: (HEIGHT,), 258: tuple(bits), 259: (compression,), 262: (2,), 277: (len(bits),)}
    more_tags = {int(name[1:]): value for name, value in more.items()}
    return files.tiff_directory(tags | places | more_tags, b"".join(parts))


def pack_bits(data: bytes) -> bytes:
    """Compress with PackBits, all of it as literals."""
    blocks = (data[start : start + 128] for start in range(0, len(data), 128))
    return b"".join(bytes([len(block) - 1]) + block for block in blocks)


def strips(image: np.ndarray, rows: int = 16) -> list[bytes]:
    return [image[top : top + rows].tobytes() for top in range(0, len(image), rows)]


def tiles(image: np.ndarray, side: int = 32) -> list[bytes]:
    corners = itertools.product(range(0, HEIGHT, side), range(0, WIDTH, side))
    return [image[top : top + side, left : left + side].tobytes() for top, left in corners]


def tiff_gray_shapes() -> Iterator[Shape]:
    for order in "<>":
        name = {"<": "little", ">": "big"}[order]
        for photometric in (0, 1):
            kind = ("white is zero", "black is zero")[photometric]
            for bits, values in ((2, (0, 1, 2, 3)), (4, (0, 5, 10, 15)), (8, (60, 120, 180, 240))):
                colors = tuple((value * 255 // ((1 << bits) - 1),) * 3 for value in values)
                stored = grays(values if photometric else [(1 << bits) - 1 - value for value in values])
                yield Shape(
                    f"tiff gray {bits} bits, {kind}, {name}",
                    raw_tiff(packed(stored, bits), photometric, [bits], order),
                    colors,
                )
            deep = (grays() if photometric else 255 - grays()).astype(np.uint16)
            yield Shape(
                f"tiff gray 16 bits, {kind}, {name}",
                raw_tiff((deep * 257).astype(f"{order}u2").tobytes(), photometric, [16], order),
                GRAYS,
            )
            one = packed(grays((0, 1, 1, 0)) ^ (1 - photometric), 1)
            yield Shape(f"tiff 1 bit, {kind}, {name}", raw_tiff(one, photometric, [1], order), BILEVEL)
        twelve = grays().astype(np.uint16) * 16 + 8
        high, low = twelve[:, ::2], twelve[:, 1::2]
        three = np.stack([high >> 4, (high & 15) << 4 | low >> 8, low & 255], -1).astype(np.uint8)
        yield Shape(f"tiff gray 12 bits, {name}", raw_tiff(three.tobytes(), 1, [12], order), GRAYS)
    with_alpha = np.dstack([grays(), quadrants([[0], [255], [255], [255]])])
    yield Shape("tiff gray and alpha", files.tiff(with_alpha, {338: (2,), 262: (1,)}), (BACKGROUND, *GRAYS[1:]))
    associated = with_alpha.copy()
    associated[: HEIGHT // 2, : WIDTH // 2] = 0
    yield Shape(
        "tiff gray and premultiplied alpha", files.tiff(associated, {338: (1,), 262: (1,)}), (BACKGROUND, *GRAYS[1:])
    )
    yield Shape("tiff gray and unspecified sample", files.tiff(with_alpha, {338: (0,), 262: (1,)}), GRAYS)
    deep = with_alpha.astype(np.uint16) * 257
    yield Shape("tiff gray and alpha of 16 bits", files.tiff(deep, {338: (2,), 262: (1,)}), None)
    for kind, sample_format in ((np.float32, 3), (np.float64, 3), (np.int8, 2), (np.int16, 2), (np.int32, 2)):
        image = (grays() / 2).astype(kind)
        yield Shape(f"tiff gray of {np.dtype(kind).name}", files.tiff(image, {339: (sample_format,)}), None)
    yield Shape("tiff gray of uint32", files.tiff(grays().astype(np.uint32) << 24), None)


def tiff_color_shapes() -> Iterator[Shape]:
    image = quadrants()
    deep = image.astype(np.uint16) * 257
    for order, name in (("<", "little"), (">", "big")):
        for kind, pixels in (("8", image), ("16", deep)):
            yield Shape(f"tiff rgb {kind} bits, {name}", files.tiff(pixels, order=order))
            yield Shape(f"bigtiff rgb {kind} bits, {name}", files.tiff(pixels, order=order, big=True))
        for bits, pixels in (("8", rgba()), ("16", rgba().astype(np.uint16) * 257)):
            data = files.tiff(pixels, {338: (2,)}, order=order)
            yield Shape(f"tiff rgba {bits} bits, {name}", data, TRANSPARENT_TOP_LEFT)
            premultiplied = pixels * (pixels[..., 3:] > 0)
            data = files.tiff(premultiplied.astype(pixels.dtype), {338: (1,)}, order=order)
            yield Shape(f"tiff rgba {bits} bits, premultiplied, {name}", data, TRANSPARENT_TOP_LEFT)
        for orientation in range(1, 9):
            data = files.tiff(turned(image, orientation), {274: (orientation,)}, order=order)
            yield Shape(f"tiff orientation {orientation}, {name}", data)
    yield Shape("tiff rgb and unspecified sample", files.tiff(rgba(), {338: (0,)}))
    half = np.dstack([quadrants([(110, 15, 15), *QUADRANTS[1:]]), quadrants([[128], [255], [255], [255]])])
    mixed = tuple(round(110 * (index == 0) + 15 * (index > 0) + BACKGROUND[index] * 127 / 255) for index in range(3))
    yield Shape("tiff half premultiplied", files.tiff(half, {338: (1,)}), (mixed, *QUADRANTS[1:]))
    cmyk = quadrants([(255 - r, 255 - g, 255 - b, 0) for r, g, b in QUADRANTS])
    yield Shape("tiff cmyk", files.tiff(cmyk, {262: (5,)}))
    yield Shape("tiff cmyk 16 bits", files.tiff(cmyk.astype(np.uint16) * 257, {262: (5,)}))
    lab = quadrants([(123, 69, 52), (164, 198, 58), (72, 54, 162), (221, 247, 79)])  # of D50, a and b signed
    yield Shape("tiff lab", files.tiff(lab, {262: (8,)}), tolerance=8)
    yield from tiff_palette_shapes()
    yield from tiff_orientation_shapes()
    yield from tiff_ycbcr_shapes()
    planes = {"8": image, "16": deep}
    for bits, pixels in planes.items():
        for count in (1, 4):
            parts = [part for channel in range(3) for part in strips(pixels[..., channel], HEIGHT // count)]
            yield Shape(
                f"tiff separate planes of {bits} bits, {count} strips",
                split_tiff(parts, [int(bits)] * 3, 1, t278=(HEIGHT // count,), t284=(2,)),
            )
    yield Shape("tiff rgb without a photometric interpretation", files.tiff(image, {262: ()}))
    for bits, pixels in (("8", grays()), ("16", grays().astype(np.uint16) * 257)):
        data = files.tiff(pixels, {262: ()})
        yield Shape(f"tiff gray {bits} bits without a photometric interpretation", data, GRAYS)
    two = files.tiff(image)
    yield Shape("tiff of two pages", pillow(image, "TIFF", save_all=True, append_images=[Image.new("RGB", (9, 9))]))
    yield Shape("tiff with a damaged sub-directory", files.tiff(image, {34665: (len(two) * 9,), 34853: (3,)}))


def tiff_orientation_shapes() -> Iterator[Shape]:
    for orientation in (0, 9, 65535):
        yield Shape(f"tiff orientation {orientation}", files.tiff(quadrants(), {274: (orientation,)}))


def tiff_ycbcr_shapes() -> Iterator[Shape]:
    image = cv2.cvtColor(quadrants(), cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]]
    tags = {"t262": (6,), "t278": (HEIGHT,)}
    for code, compress in ((1, bytes), (8, zlib.compress)):
        data = split_tiff([compress(image.tobytes())], [8] * 3, code, t530=(1, 1), **tags)
        yield Shape(f"tiff ycbcr, compression {code}", data, tolerance=4)
        luma = (
            image[..., 0]
            .reshape(HEIGHT // 2, 2, WIDTH // 2, 2)
            .transpose(0, 2, 1, 3)
            .reshape(HEIGHT // 2, WIDTH // 2, 4)
        )
        units = np.dstack([luma, image[::2, ::2, 1:]]).tobytes()
        data = split_tiff([compress(units)], [8] * 3, code, t530=(2, 2), **tags)
        yield Shape(f"tiff ycbcr of half the colours, compression {code}", data, tolerance=4)
    lost = units[: len(units) // 3]
    yield Shape("tiff ycbcr, cut off", split_tiff([lost], [8] * 3, 1, t530=(2, 2), **tags), None)
    yield Shape(
        "tiff ycbcr, lzw of garbage", split_tiff([bytes(range(256)) * 8], [8] * 3, 5, t530=(2, 2), **tags), None
    )


def tiff_palette_shapes() -> Iterator[Shape]:
    for bits in (2, 4, 8):
        for scale, kind in ((257, "16-bit"), (1, "8-bit")):
            palette = [[color[channel] * scale for color in QUADRANTS] for channel in range(3)]
            table = tuple(value for channel in palette for value in (*channel, *([0] * ((1 << bits) - 4))))
            yield Shape(
                f"tiff palette {bits} bits, {kind} table", raw_tiff(packed(indices(), bits), 3, [bits], t320=table)
            )


def tiff_compression_shapes() -> Iterator[Shape]:
    image, deep = quadrants(), quadrants().astype(np.uint16) * 257
    noise = np.random.default_rng(0).integers(0, 9, (HEIGHT, WIDTH, 1), np.uint8)
    for name in ("tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits"):
        yield Shape(f"tiff {name}", pillow(image, "TIFF", compression=name))
        yield Shape(f"tiff {name} gray", pillow(grays(), "TIFF", compression=name), GRAYS)
        yield Shape(
            f"tiff {name} gray 16 bits", pillow(grays().astype(np.uint16) * 257, "TIFF", compression=name), GRAYS
        )
    for name in ("zstd", "lzma"):  # whose decoders take the same memory for any size
        yield Shape(f"tiff {name}", pillow(image, "TIFF", compression=name))
    for name in ("group3", "group4", "tiff_ccitt"):
        one = Image.fromarray(grays((0, 255, 255, 0))).convert("1")
        data = pillow(one, "TIFF", compression=name)
        yield Shape(f"tiff {name}", data, BILEVEL)
        offset = Image.open(io.BytesIO(data)).tag_v2[273][0]
        length = Image.open(io.BytesIO(data)).tag_v2[279][0]
        damaged = data[: offset + length // 4] + bytes(length // 2) + data[offset + length // 4 + length // 2 :]
        yield Shape(f"tiff {name} with a lost block", damaged, None)
    yield Shape("tiff jpeg", pillow(image, "TIFF", compression="jpeg", quality=95), tolerance=6)
    jpeg = pillow(image // 2 + noise * 9, "TIFF", compression="jpeg", quality=95)
    offset = Image.open(io.BytesIO(jpeg)).tag_v2[273][0]
    yield Shape("tiff jpeg with a lost block", jpeg[: offset + 500] + bytes(500) + jpeg[offset + 1000 :], None)
    yield Shape(
        "tiff jpeg with garbage", jpeg[: offset + 500] + b"\xfe\x12\x77\xa5" * 125 + jpeg[offset + 1000 :], None
    )
    yield Shape("tiff jpeg gray", pillow(grays(), "TIFF", compression="jpeg", quality=95), GRAYS, tolerance=6)
    makers: Mapping[str, tuple[int, Callable[[bytes], bytes]]] = {
        "raw": (1, bytes),
        "deflate": (8, zlib.compress),
        "packbits": (32773, pack_bits),
    }
    for name, (code, compress) in makers.items():
        for bits, pixels in (("8", image), ("16", deep)):
            cut = {
                "strips": (strips(pixels), {"t278": (16,)}),
                "tiles": (tiles(pixels), {"t322": (32,), "t323": (32,)}),
            }
            for kind, (parts, tags) in cut.items():
                whole = [compress(part) for part in parts]
                depth = [int(bits)] * 3
                yield Shape(f"tiff {name} {kind} of {bits} bits", split_tiff(whole, depth, code, **tags))
                lost = [*whole[:2], whole[2][: len(whole[2]) // 3], *whole[3:]]
                yield Shape(
                    f"tiff {name} {kind} of {bits} bits, one cut off", split_tiff(lost, depth, code, **tags), None
                )
                yield Shape(
                    f"tiff {name} {kind} of {bits} bits, one missing", split_tiff(whole[:-1], depth, code, **tags), None
                )
    compressed = zlib.compress((image // 2 + noise).tobytes())
    middle = len(compressed) // 2
    damaged = compressed[:middle] + bytes(64) + compressed[middle + 64 :]
    yield Shape("tiff deflate with a lost block", split_tiff([damaged], [8] * 3, 8, t278=(HEIGHT,)), None)
    yield Shape("tiff deflate of garbage", split_tiff([bytes(range(256)) * 8], [8] * 3, 8, t278=(HEIGHT,)), None)
    yield Shape("tiff lzw of garbage", split_tiff([bytes(range(256)) * 8], [8] * 3, 5, t278=(HEIGHT,)), None)
    jpeg = files.encoded(image, ".jpg")
    yield Shape(
        "tiff jpeg without its end", split_tiff([jpeg[: len(jpeg) // 2]], [8] * 3, 7, t278=(HEIGHT,), t262=(6,)), None
    )
    unknown = (0, 9, 10, 12345, 32767, 32769, 32895, 32908, 33003, 33005, 34661, 34676, 34712, 34713, 34715)
    unknown += (34887, 34892, 34925, 34926, 34927, 50000, 50001, 50002, 52546, 65000, 65535)
    for code in unknown:
        yield Shape(f"tiff compression {code}", split_tiff([image.tobytes()], [8] * 3, code, t278=(HEIGHT,)), None)
    yield Shape(
        "tiff of two values of the width",
        files.tiff(image).replace(struct.pack("<HHII", 257, 3, 1, HEIGHT), struct.pack("<HHII", 256, 3, 1, HEIGHT)),
        None,
    )


# BMP


def bmp(
    pixels: bytes,
    bits: int,
    *,
    header_bytes: int = 40,
    compression: int = 0,
    masks: Sequence[int] = (),
    palette: bytes = b"",
    colors: int = 0,
    is_top_down: bool = False,
) -> bytes:
    """Build a BMP; masks stand behind a header of 40 bytes and within a larger one."""
    if header_bytes == 12:
        header = struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, bits)
    else:
        height = -HEIGHT if is_top_down else HEIGHT
        header = struct.pack(
            "<IiiHHIIiiII", header_bytes, WIDTH, height, 1, bits, compression, len(pixels), 0, 0, colors, 0
        )
        header += b"".join(struct.pack("<I", mask) for mask in masks)
        header = header.ljust(header_bytes, b"\0")
    offset = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + header + palette + pixels


def bit_fields(masks: Sequence[int], bits: int, alphas: Sequence[int] = (255,) * 4) -> bytes:
    """Pack the quadrants into pixels of 16 or 32 bits, rows from the bottom up."""
    numbers = []
    for color, alpha in zip(QUADRANTS, alphas, strict=True):
        number = 0
        for value, mask in zip((*color, alpha), (*masks, 0)[:4], strict=True):
            if mask:
                shift = (mask & -mask).bit_length() - 1
                number |= round(value * (mask >> shift) / 255) << shift
        numbers.append([number])
    kind = {16: np.uint16, 32: np.uint32}[bits]
    return np.array(numbers, kind)[indices()][::-1, :, 0].tobytes()


MASKS: Mapping[str, tuple[int, Sequence[int], int]] = {
    "565": (16, (0xF800, 0x7E0, 0x1F), 5),
    "555": (16, (0x7C00, 0x3E0, 0x1F), 5),
    "1555": (16, (0x7C00, 0x3E0, 0x1F, 0x8000), 5),
    "4444": (16, (0xF00, 0xF0, 0xF, 0xF000), 9),
    "x444": (16, (0xF00, 0xF0, 0xF), 9),
    "bgr565": (16, (0x1F, 0x7E0, 0xF800), 5),
    "bgrx": (32, (0xFF0000, 0xFF00, 0xFF), 0),
    "rgbx": (32, (0xFF, 0xFF00, 0xFF0000), 0),
    "xbgr": (32, (0xFF000000, 0xFF0000, 0xFF00), 0),
    "xrgb": (32, (0xFF00, 0xFF0000, 0xFF000000), 0),
    "bgra": (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000), 0),
    "rgba": (32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000), 0),
    "abgr": (32, (0xFF000000, 0xFF0000, 0xFF00, 0xFF), 0),
    "6-17-5-4": (32, (0x3F, 0x7FFFC0, 0xF800000, 0xF0000000), 9),
    "10-10-10": (32, (0x3FF00000, 0xFFC00, 0x3FF), 1),
    "10-10-10 reversed": (32, (0x3FF, 0xFFC00, 0x3FF00000), 1),
}


def bmp_mask_shapes() -> Iterator[Shape]:
    for name, (bits, masks, tolerance) in MASKS.items():
        pixels = bit_fields(masks, bits)
        for header_bytes in (40, 52, 56, 108, 124):
            if len(masks) == 4 and header_bytes < 56:
                continue
            data = bmp(pixels, bits, header_bytes=header_bytes, compression=3, masks=masks)
            yield Shape(f"bmp {name}, header of {header_bytes}", data, tolerance=tolerance)
        top_down = np.frombuffer(pixels, f"u{bits // 8}").reshape(HEIGHT, WIDTH)[::-1].tobytes()
        data = bmp(top_down, bits, header_bytes=124, compression=3, masks=masks, is_top_down=True)
        yield Shape(f"bmp {name}, top down", data, tolerance=tolerance)
    for name in ("bgra", "rgba", "abgr", "4444", "1555"):
        bits, masks, tolerance = MASKS[name]
        for kind, alphas, colors in (
            ("transparent quadrant", (0, 255, 255, 255), TRANSPARENT_TOP_LEFT),
            ("alpha 0 everywhere", (0, 0, 0, 0), (BACKGROUND,) * 4),
        ):
            data = bmp(bit_fields(masks, bits, alphas), bits, header_bytes=124, compression=3, masks=masks)
            yield Shape(f"bmp {name}, {kind}", data, colors, tolerance=tolerance)

    masks = (*MASKS["565"][1], 0xFF000000)
    data = bmp(bit_fields(MASKS["565"][1], 16), 16, header_bytes=124, compression=3, masks=masks)
    yield Shape("bmp 565, mask of alpha beyond its bits", data, tolerance=5)
    data = bmp(bit_fields(MASKS["565"][1], 16), 16, header_bytes=124, compression=3, masks=MASKS["bgrx"][1])
    yield Shape("bmp 16 bits, masks of 24", data, None)
    for header_bytes in (56, 64):
        pixels = bit_fields(MASKS["bgra"][1], 32, (0, 0, 0, 0))
        data = bmp(pixels, 32, header_bytes=header_bytes, masks=MASKS["bgra"][1])
        yield Shape(f"bmp 32 bits, header of {header_bytes} with a mask of alpha that does not count", data)


def bmp_shapes() -> Iterator[Shape]:
    yield from bmp_mask_shapes()
    rows = quadrants()[::-1, :, ::-1]
    for header_bytes in (12, 40, 52, 56, 64, 108, 124):
        yield Shape(f"bmp 24 bits, header of {header_bytes}", bmp(rows.tobytes(), 24, header_bytes=header_bytes))
    yield Shape("bmp 24 bits, top down", bmp(rows[::-1].tobytes(), 24, is_top_down=True))
    yield Shape("bmp 16 bits", bmp(bit_fields(MASKS["555"][1], 16), 16), tolerance=5)
    yield Shape("bmp 32 bits", bmp(bit_fields(MASKS["bgrx"][1], 32), 32))
    for kind, alphas in (("part", (0, 255, 255, 255)), ("no", (0, 0, 0, 0)), ("full", (255,) * 4)):
        for name in ("bgra", "rgba"):
            masks = MASKS[name][1]
            data = bmp(bit_fields(MASKS["bgra"][1], 32, alphas), 32, header_bytes=124, masks=masks)
            first = BACKGROUND if alphas[0] == 0 else QUADRANTS[0]
            rest = (BACKGROUND,) * 3 if alphas[1] == 0 else QUADRANTS[1:]
            yield Shape(f"bmp 32 bits, {kind} alpha, masks {name} that do not count", data, (first, *rest))
    yield Shape("bmp 32 bits with alpha that does not count", bmp(bit_fields(MASKS["bgra"][1], 32, (9, 1, 2, 3)), 32))
    for bits in (2, 4, 8):
        pixels = packed(indices()[::-1], bits)
        table = b"".join(bytes([b, g, r, 0]) for r, g, b in QUADRANTS)
        if bits > 2:
            yield Shape(f"bmp palette {bits} bits", bmp(pixels, bits, palette=table.ljust(4 << bits, b"\0")))
            short = b"".join(bytes([b, g, r]) for r, g, b in QUADRANTS).ljust(3 << bits, b"\0")
            yield Shape(f"bmp palette {bits} bits, os/2", bmp(pixels, bits, header_bytes=12, palette=short))
        right = QUADRANTS if bits > 2 else None  # 2 bits are of Windows CE
        yield Shape(f"bmp palette {bits} bits, four colours", bmp(pixels, bits, palette=table, colors=4), right)
    black_white = bytes([0, 0, 0, 0, 255, 255, 255, 0])
    for bits in (1, 4, 8):
        pixels = packed(grays((0, 1, 1, 0))[::-1], bits)
        yield Shape(f"bmp black and white of {bits} bits", bmp(pixels, bits, palette=black_white, colors=2), BILEVEL)
        inverse = black_white[4:] + black_white[:4]
        pixels = packed(grays((1, 0, 0, 1))[::-1], bits)
        yield Shape(f"bmp white and black of {bits} bits", bmp(pixels, bits, palette=inverse, colors=2), BILEVEL)
    table = b"".join(bytes([b, g, r, 0]) for r, g, b in QUADRANTS)
    half = WIDTH // 2
    runs8 = [bytes([half, left, half, left + 1, 0, 0]) for left in [2] * 32 + [0] * 32]
    yield Shape("bmp rle8", bmp(b"".join(runs8) + b"\0\1", 8, compression=1, palette=table, colors=4))
    runs4 = [bytes([half, left * 17, half, (left + 1) * 17, 0, 0]) for left in [2] * 32 + [0] * 32]
    yield Shape("bmp rle4", bmp(b"".join(runs4) + b"\0\1", 4, compression=2, palette=table, colors=4))
    yield Shape("bmp 24 bits, cut off", bmp(rows.tobytes(), 24)[:-WIDTH], None)
    yield Shape("bmp 32 bits, cut off", bmp(bit_fields(MASKS["bgrx"][1], 32), 32)[:-WIDTH], None)
    yield Shape("bmp of a jpeg", bmp(files.encoded(quadrants(), ".jpg"), 0, compression=4), None)
    yield Shape("bmp of a png", bmp(files.encoded(quadrants(), ".png"), 0, compression=5), None)


# GIF and WebP


def gif_shapes() -> Iterator[Shape]:
    whole = files.gif_frame(indices())
    screen = (WIDTH, HEIGHT)
    yield Shape("gif", files.gif(screen, QUADRANTS, whole))
    yield Shape("gif 87a", files.gif(screen, QUADRANTS, whole).replace(b"GIF89a", b"GIF87a"))
    yield Shape("gif of two frames", files.gif(screen, QUADRANTS, whole, files.gif_frame(indices() * 0)))
    yield Shape(
        "gif, transparent colour", files.gif(screen, QUADRANTS, files.gif_transparency(0), whole), TRANSPARENT_TOP_LEFT
    )
    for mode in ("interlaced", "not interlaced"):
        yield Shape(f"gif by pillow, {mode}", pillow(quadrants(), "GIF", interlace=mode == "interlaced"))
    right = (WIDTH // 2, HEIGHT // 2)
    quarter = files.gif_frame(np.full((HEIGHT // 2, WIDTH // 2), 3, np.uint8), *right)
    only_last = (BACKGROUND, BACKGROUND, BACKGROUND, QUADRANTS[3])
    data = files.gif(screen, QUADRANTS, quarter)
    yield Shape("gif, small first frame", data, only_last)
    for index in (1, 3):
        yield Shape(f"gif, small first frame, background {index}", data[:11] + bytes([index]) + data[12:], only_last)
    yield Shape(
        "gif, small first frame, transparency",
        files.gif(screen, QUADRANTS, files.gif_transparency(0), quarter),
        only_last,
    )
    local = quarter[:9] + b"\x81" + bytes(value for color in QUADRANTS for value in color) + quarter[10:]
    no_global = data[:10] + b"\x01" + data[11:13] + local + b";"
    yield Shape("gif, small first frame, local table only", no_global, only_last)
    yield Shape("gif, screen of 0 x 0", files.gif((0, 0), QUADRANTS, whole))
    yield Shape("gif, frame larger than the screen", files.gif((10, 10), QUADRANTS, whole))
    shifted = files.gif_frame(indices((WIDTH // 2, HEIGHT // 2)), WIDTH // 2, HEIGHT // 2)
    yield Shape(
        "gif, frame beyond the screen",
        files.gif((WIDTH * 5 // 8, HEIGHT * 5 // 8), QUADRANTS, shifted),
        (BACKGROUND,) * 3 + (QUADRANTS[3],),
    )
    yield Shape("gif, cut off", files.gif(screen, QUADRANTS, whole)[: -len(whole) // 2], None)
    ends_early = files.gif_codes([code for _ in range(500) for code in (4, 1, 1)] + [5])
    yield Shape(
        "gif, end code too early", files.gif(screen, QUADRANTS, files.gif_frame_of_codes(screen, ends_early)), None
    )
    yield Shape("gif of no frame", files.gif(screen, QUADRANTS), None)


def webp_chunk(data: bytes, kind: bytes) -> bytes:
    """Return the payload of a chunk."""
    start = data.index(kind)
    return data[start + 8 : start + 8 + struct.unpack_from("<I", data, start + 4)[0]]


def webp_canvas(flags: int) -> tuple[bytes, bytes]:
    return b"VP8X", bytes([flags, 0, 0, 0]) + (WIDTH - 1).to_bytes(3, "little") + (HEIGHT - 1).to_bytes(3, "little")


def webp_frame(chunks: bytes, left: int, top: int, size: tuple[int, int]) -> tuple[bytes, bytes]:
    fields = (left // 2, top // 2, size[0] - 1, size[1] - 1, 100)
    return b"ANMF", b"".join(field.to_bytes(3, "little") for field in fields) + b"\0" + chunks


def webp_shapes() -> Iterator[Shape]:
    lossless = {"lossless": True, "exact": True}
    yield Shape("webp lossless", pillow(quadrants(), "WEBP", **lossless))
    yield Shape("webp lossy", pillow(quadrants(), "WEBP", quality=95), tolerance=8)
    yield Shape("webp lossless, alpha", pillow(rgba(), "WEBP", **lossless), TRANSPARENT_TOP_LEFT)
    yield Shape("webp lossy, alpha", pillow(rgba(), "WEBP", quality=95), TRANSPARENT_TOP_LEFT, tolerance=8)
    for orientation in range(1, 9):
        exif = files.exif_block(orientation)
        data = pillow(turned(quadrants(), orientation), "WEBP", exif=exif, **lossless)
        yield Shape(f"webp orientation {orientation}", data)
    rest = [Image.new("RGB", (WIDTH, HEIGHT)), Image.new("RGB", (WIDTH, HEIGHT), "white")]
    for options, kind in ((lossless, "lossless"), ({"quality": 95}, "lossy")):
        data = pillow(quadrants(), "WEBP", save_all=True, append_images=rest, **options)
        yield Shape(f"animated webp, {kind}", data, tolerance=8)
        data = pillow(rgba(), "WEBP", save_all=True, append_images=rest, **options)
        yield Shape(f"animated webp, {kind}, alpha", data, TRANSPARENT_TOP_LEFT, tolerance=8)
    size = (WIDTH // 2, HEIGHT // 2)
    only_last = (BACKGROUND, BACKGROUND, BACKGROUND, QUADRANTS[3])
    small = quadrants([QUADRANTS[3]] * 4, size)
    for options, kind in ((lossless, "lossless"), ({"quality": 95}, "lossy")):
        chunks = pillow(small, "WEBP", **options)[12:]
        frame = webp_frame(chunks, *size, size)
        for flags in (0x02, 0x12):
            for color in (b"\0\0\0\0", b"\xff\0\0\xff"):
                data = files.webp(webp_canvas(flags), (b"ANIM", color + b"\0\0"), frame, frame)
                yield Shape(
                    f"animated webp, {kind}, small first frame, flags {flags}, {color.hex()}",
                    data,
                    only_last,
                    tolerance=8,
                )
    yield Shape("webp, cut off", pillow(quadrants(), "WEBP", **lossless)[:-20], None)


# AVIF and HEIC


def avif_shapes() -> Iterator[Shape]:
    options = {"quality": 95, "subsampling": "4:4:4"}
    data = pillow(quadrants(), "AVIF", **options)
    yield Shape("avif", data, tolerance=5)
    for subsampling in ("4:2:0", "4:2:2"):
        yield Shape(
            f"avif {subsampling}", pillow(quadrants(), "AVIF", quality=95, subsampling=subsampling), tolerance=6
        )
    yield Shape("avif gray", pillow(grays(), "AVIF", quality=95), GRAYS, tolerance=5)
    yield Shape("avif alpha", pillow(rgba(), "AVIF", **options), TRANSPARENT_TOP_LEFT, tolerance=6)
    premultiplied = pillow(rgba(), "AVIF", alpha_premultiplied=True, **options)
    yield Shape("avif premultiplied alpha", premultiplied, TRANSPARENT_TOP_LEFT, tolerance=6)
    for depth in (10, 12):
        deep = quadrants().astype(np.uint32) * ((1 << depth) - 1) // 255
        encoded = files.encoded(
            deep.astype(np.uint16), ".avif", cv2.IMWRITE_AVIF_DEPTH, depth, cv2.IMWRITE_AVIF_QUALITY, 95
        )
        yield Shape(f"avif {depth} bits", encoded, tolerance=6)
    for orientation in range(1, 9):
        exif = files.exif_block(orientation)
        encoded = pillow(turned(quadrants(), orientation), "AVIF", exif=exif, **options)
        yield Shape(f"avif orientation {orientation}", encoded, tolerance=6)
    frames = [Image.new("RGB", (WIDTH, HEIGHT)), Image.new("RGB", (WIDTH, HEIGHT), "white")]
    sequence = pillow(quadrants(), "AVIF", save_all=True, append_images=frames, **options)
    yield Shape("avif sequence", sequence, tolerance=6)
    yield Shape("avif, cut off", data[:-40], None)
    yield from shapes_with_a_tail("avif", data)
    payload, ispe, av1c = files.av1_payload(data), files.ispe(WIDTH, HEIGHT), avif_property(data, b"av1C")
    half = (WIDTH // 2, HEIGHT // 2)
    for name, right, down, expected in (
        ("middle", 0, 0, QUADRANTS),
        ("top left", -WIDTH // 4, -HEIGHT // 4, (QUADRANTS[0],) * 4),
        ("bottom right", WIDTH // 4, HEIGHT // 4, (QUADRANTS[3],) * 4),
    ):
        clap = files.box(b"clap", b"".join(struct.pack(">iI", value, 1) for value in (*half, right, down)))
        cropped = files.avif([(b"av01", payload, [1, 2, 3 | ESSENTIAL])], [ispe, av1c, clap])
        yield Shape(f"avif cropped to the {name}", cropped, expected, half, tolerance=6)
    exif = bytes(4) + files.exif_block(6)
    item = [(b"av01", payload, [1, 2]), (b"Exif", exif, [])]
    refers = [(b"cdsc", 2, [1])]
    yield Shape("avif whose exif does not count", files.avif(item, [ispe, av1c], references=refers), tolerance=6)
    broken = [(b"av01", payload, [1, 2]), (b"Exif", b"\0\0\0\0garbage", [])]
    yield Shape("avif of damaged exif", files.avif(broken, [ispe, av1c], references=refers), tolerance=6)


def shapes_with_a_tail(name: str, data: bytes) -> Iterator[Shape]:
    tails = {"zeros": bytes(5), "text": b"some text", "a jpeg": files.encoded(quadrants(), ".jpg")}
    for kind, tail in tails.items():
        yield Shape(f"{name} before {kind}", data + tail, tolerance=5)


def avif_property(data: bytes, kind: bytes) -> bytes:
    """Return a box of a file, by its type."""
    start = data.index(kind) - 4
    return data[start : start + struct.unpack_from(">I", data, start)[0]]


def heic_shapes() -> Iterator[Shape]:
    stored = {path.stem: path.read_bytes() for path in HEIC.glob("*.heic")}
    base = stored["quadrants"]
    yield Shape("heic", base, tolerance=5)
    yield Shape("heic 4:2:0", stored["quadrants_420"], tolerance=5)
    yield Shape("heic gray", stored["gray"], GRAYS, tolerance=5)
    yield Shape("heic alpha", stored["alpha"], TRANSPARENT_TOP_LEFT, tolerance=5)
    yield Shape("heic 10 bits", stored["deep"], tolerance=5)
    yield Shape("heic gray of 10 bits", stored["gray_deep"], GRAYS, tolerance=5)
    yield from shapes_with_a_tail("heic", base)
    for brand in (b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2"):
        yield Shape(f"heic of the brand {brand.decode()}", base.replace(b"heix", brand), tolerance=5)
    payload, hvcc = files.av1_payload(base), avif_property(base, b"hvcC")
    colr = avif_property(base, b"colr")

    def heic(*more: bytes, size: tuple[int, int] = (WIDTH, HEIGHT), extra: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
        properties = [files.ispe(*size), hvcc, colr, *more]
        items = [(b"hvc1", payload, list(range(1, len(properties) + 1))), *((kind, data, []) for kind, data in extra)]
        references = [(b"cdsc", number, [1]) for number in range(2, len(items) + 1)]
        return files.avif(items, properties, brand=b"heic", references=references)

    yield Shape("heic by our writer", heic(), tolerance=5)
    yield Shape("heic whose exif does not count", heic(extra=[(b"Exif", bytes(4) + files.exif_block(6))]), tolerance=5)
    yield Shape("heic of damaged exif", heic(extra=[(b"Exif", b"\0\0\0\0garbage")]), tolerance=5)
    half_turn = tuple(reversed(QUADRANTS))
    yield Shape("heic irot 2", heic(files.box(b"irot", b"\2")), half_turn, tolerance=5)
    quarter = (QUADRANTS[1], QUADRANTS[3], QUADRANTS[0], QUADRANTS[2])
    yield Shape("heic irot 1", heic(files.box(b"irot", b"\1")), quarter, (HEIGHT, WIDTH), tolerance=5)
    with_exif = heic(files.box(b"irot", b"\1"), extra=[(b"Exif", bytes(4) + files.exif_block(8))])
    yield Shape("heic irot 1 and exif", with_exif, quarter, (HEIGHT, WIDTH), tolerance=5)
    mirrored = (QUADRANTS[1], QUADRANTS[0], QUADRANTS[3], QUADRANTS[2])
    yield Shape("heic imir 1", heic(files.box(b"imir", b"\1")), mirrored, tolerance=5)
    clap = files.box(b"clap", b"".join(struct.pack(">iI", value, 1) for value in (WIDTH // 2, HEIGHT // 2, 0, 0)))
    yield Shape("heic cropped to the middle", heic(clap), QUADRANTS, (WIDTH // 2, HEIGHT // 2), tolerance=5)
    tile_files = [stored[f"tile_{number}"] for number in range(4)]
    grid = (b"grid", struct.pack(">BBBBHH", 0, 0, 1, 1, 128, 128), [1])
    tile_items = [(b"hvc1", files.av1_payload(tile), [2, 3, 4]) for tile in tile_files]
    properties = [files.ispe(128, 128), files.ispe(64, 64), avif_property(tile_files[0], b"hvcC"), colr]
    data = files.avif([grid, *tile_items], properties, brand=b"heic", references=[(b"dimg", 1, [2, 3, 4, 5])])
    yield Shape("heic of a grid", data, size=(128, 128), tolerance=5)
    thumbnail = (b"hvc1", files.av1_payload(tile_files[0]), [4, 5])
    both = files.avif(
        [(b"hvc1", payload, [1, 2, 3]), thumbnail],
        [files.ispe(WIDTH, HEIGHT), hvcc, colr, files.ispe(64, 64), avif_property(tile_files[0], b"hvcC")],
        brand=b"heic",
        references=[(b"thmb", 2, [1])],
    )
    yield Shape("heic with a thumbnail", both, tolerance=5)
    yield Shape("heic sequence", stored["sequence"], tolerance=5)
    yield Shape("heic sequence, cut off", stored["sequence"][:-200], None)
    yield Shape("heic, cut off", base[:-60], None)


# JPEG and PNG


def exif_app1(block: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(block) + 8) + b"Exif\0\0" + block


def exif_entries(order: str, *entries: tuple[int, int, int, int]) -> bytes:
    """Build an EXIF block of entries: tag, type, count, and the value or its offset."""
    mark = {"<": b"II", ">": b"MM"}[order]
    body = b"".join(
        struct.pack(
            f"{order}HHIHH" if kind == 3 else f"{order}HHII",
            *((tag, kind, count, value, 0) if kind == 3 else (tag, kind, count, value)),
        )
        for tag, kind, count, value in entries
    )
    return mark + struct.pack(f"{order}HIH", 42, 8, len(entries)) + body + bytes(4)


def jpeg_shapes() -> Iterator[Shape]:
    for options, name in (({}, "baseline"), ({"progressive": True}, "progressive"), ({"subsampling": 0}, "4:4:4")):
        yield Shape(f"jpeg {name}", pillow(quadrants(), "JPEG", quality=95, **options), tolerance=6)
    yield Shape("jpeg gray", pillow(grays(), "JPEG", quality=95), GRAYS, tolerance=6)
    for orientation in range(1, 9):
        data = pillow(turned(quadrants(), orientation), "JPEG", quality=95)
        for order in "<>":
            app1 = exif_app1(files.exif_block(orientation, order))
            yield Shape(f"jpeg orientation {orientation} {order}", data[:2] + app1 + data[2:], tolerance=6)
    data = pillow(turned(quadrants(), 6), "JPEG", quality=95)
    orientation = (274, 3, 1, 6)
    broken: Mapping[str, tuple[int, int, int, int]] = {
        "an offset beyond the block": (271, 2, 40, 0xFFFF_0000),
        "a huge count": (271, 2, 0xFFFF_FFFF, 8),
        "an unknown type": (271, 99, 4, 8),
        "type 0": (0, 0, 0, 0),
        "a rational beyond the block": (282, 5, 1, 60_000),
    }
    for name, entry in broken.items():
        for order in "<>":
            block = exif_entries(order, entry, orientation)
            yield Shape(f"jpeg orientation behind {name} {order}", data[:2] + exif_app1(block) + data[2:], tolerance=6)
    more = exif_entries("<", orientation)[:-4]
    more = more[:8] + struct.pack("<H", 40) + more[10:]
    yield Shape("jpeg orientation in a directory that is cut off", data[:2] + exif_app1(more) + data[2:], tolerance=6)
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x/>"
    xmp = b"\xff\xe1" + struct.pack(">H", len(xmp) + 2) + xmp
    yield Shape("jpeg xmp before exif", data[:2] + xmp + exif_app1(files.exif_block(6)) + data[2:], tolerance=6)
    garbage = exif_app1(b"garbage garbage")
    yield Shape(
        "jpeg damaged exif before exif", data[:2] + garbage + exif_app1(files.exif_block(6)) + data[2:], tolerance=6
    )
    upright = pillow(quadrants(), "JPEG", quality=95)
    for name, first in (("upright exif", files.exif_block(1)), ("exif without orientation", exif_entries("<"))):
        two = upright[:2] + exif_app1(first) + exif_app1(files.exif_block(6)) + upright[2:]
        yield Shape(f"jpeg {name} before another", two, tolerance=6)
    progressive = pillow(quadrants(), "JPEG", quality=95, progressive=True)
    film = np.random.default_rng(2).integers(0, 256, 400_000, np.uint8).tobytes() + b"\xff\xda\0\x08" * 500
    yield Shape("jpeg progressive before a film", progressive + film, tolerance=6)
    thumbnail = files.encoded(quadrants(), ".jpg")
    inside = b"\xff\xe2" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    yield Shape(
        "jpeg progressive with a thumbnail before a film",
        progressive[:2] + inside + progressive[2:] + film,
        tolerance=6,
    )
    second = [Image.new("RGB", (WIDTH, HEIGHT))]
    yield Shape("mpo", pillow(quadrants(), "MPO", save_all=True, append_images=second, quality=95), tolerance=6)
    cmyk = Image.fromarray(quadrants()).convert("CMYK")
    yield Shape("jpeg cmyk", pillow(cmyk, "JPEG", quality=95), tolerance=6)
    yield Shape("jpeg, cut off", pillow(quadrants(), "JPEG", quality=95)[:-200], None)


def png_shapes() -> Iterator[Shape]:
    yield Shape("png", pillow(quadrants(), "PNG"))
    yield Shape("png rgba", pillow(rgba(), "PNG"), TRANSPARENT_TOP_LEFT)
    yield Shape("png gray", pillow(grays(), "PNG"), GRAYS)
    yield Shape("png 16 bits", files.encoded(quadrants().astype(np.uint16) * 257, ".png"))
    palette = Image.fromarray(quadrants()).quantize(4)
    yield Shape("png palette", pillow(palette, "PNG"))
    transparent = Image.frombytes("P", (WIDTH, HEIGHT), indices().tobytes())
    transparent.putpalette([value for color in QUADRANTS for value in color])
    yield Shape("png palette, transparent colour", pillow(transparent, "PNG", transparency=0), TRANSPARENT_TOP_LEFT)
    for bits, values in ((1, (0, 1, 1, 0)), (2, (0, 1, 2, 3)), (4, (0, 5, 10, 15))):
        rows = packed(grays(values), bits)
        stride = len(rows) // HEIGHT
        lines = b"".join(b"\0" + rows[start : start + stride] for start in range(0, len(rows), stride))
        colors = tuple((value * 255 // ((1 << bits) - 1),) * 3 for value in values)
        yield Shape(f"png gray {bits} bits", files.png(WIDTH, HEIGHT, bits, 0, lines), colors)
    frames = [Image.new("RGB", (WIDTH, HEIGHT))]
    yield Shape("animated png", pillow(quadrants(), "PNG", save_all=True, append_images=frames))
    for orientation in range(1, 9):
        data = pillow(turned(quadrants(), orientation), "PNG", exif=files.exif_block(orientation))
        yield Shape(f"png orientation {orientation}", data)
    yield Shape("png, cut off", pillow(quadrants(), "PNG")[:-40], None)


def shapes() -> list[Shape]:
    """Return all pictures."""
    makers = (tiff_gray_shapes, tiff_color_shapes, tiff_compression_shapes, bmp_shapes, gif_shapes, webp_shapes)
    return [shape for make in (*makers, avif_shapes, heic_shapes, jpeg_shapes, png_shapes) for shape in make()]


# The table


PAGE = """async ([encoded, background]) => {
  const image = new Image();
  image.src = "data:image/png;base64," + encoded;
  try { await image.decode(); } catch { return null; }
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext("2d");
  context.fillStyle = `rgb(${background})`;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0);
  const sample = (x, y) => [...context.getImageData(x, y, 1, 1).data].slice(0, 3);
  const [left, right] = [1, 3].map(part => Math.floor(canvas.width * part / 4));
  const [top, bottom] = [1, 3].map(part => Math.floor(canvas.height * part / 4));
  return [sample(left, top), sample(right, top), sample(left, bottom), sample(right, bottom)];
}"""
"""Draws an image, which a browser recognises by its content, and returns the colours in the middle of the quadrants."""


def shown_by_pillow(data: bytes) -> Colors | None:
    try:
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        if image.has_transparency_data:
            canvas = Image.new("RGBA", image.size, (*BACKGROUND, 255))
            canvas.alpha_composite(image.convert("RGBA"))
            image = canvas
        return sampled(np.asarray(image.convert("RGB")))
    except Exception:  # noqa: BLE001  # Pillow raises errors of many types
        return None


def shown_by_us(data: bytes) -> Colors | None:
    try:
        return sampled(decode(data, max_pixels=50_000_000, background=BACKGROUND))
    except ImageError:
        return None


def verdict(colors: Colors | None, right: Colors | None, tolerance: int) -> str:
    """Say in a word whether colours are right, and show them if not."""
    if colors is None:
        return "refused"
    if right is not None and np.abs(np.array(colors) - np.array(right)).max() <= tolerance:
        return "right"
    return " ".join("#" + bytes(color).hex() for color in colors)


def main(paths: Sequence[str]) -> None:
    """Print the table."""
    pillow_decoder.capture_messages()
    given = [Shape(Path(path).name, Path(path).read_bytes(), None, tolerance=8) for path in paths]
    sys.stdout.write("| shape | right | browser | Pillow | ours |\n|---|---|---|---|---|\n")
    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"]).new_page()
        for shape in given or shapes():
            encoded = base64.b64encode(shape.data).decode()
            browser = page.evaluate(PAGE, [encoded, ", ".join(map(str, BACKGROUND))])
            shown = (browser, shown_by_pillow(shape.data), shown_by_us(shape.data))
            right = shape.colors or (browser if given else None)
            cells = [verdict(colors, right, max(shape.tolerance, 3)) for colors in shown]
            expected = "shown" if shape.colors or given else "refused"
            sys.stdout.write(f"| {' | '.join([shape.name, expected, *cells])} |\n")


if __name__ == "__main__":
    main(sys.argv[1:])
