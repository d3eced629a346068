"""Image files built byte by byte, for kinds that no available encoder writes and for files with false headers."""

import struct
import zlib
from collections.abc import Mapping, Sequence

import cv2
import numpy as np


def encoded(image: np.ndarray, extension: str, *parameters: int) -> bytes:
    """Encode uint8 or uint16 RGB, RGBA or gray with OpenCV."""
    codes = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    if image.ndim == 3:
        image = cv2.cvtColor(image, codes[image.shape[2]])
    success, data = cv2.imencode(extension, image, parameters)
    assert success
    return data.tobytes()


def encoded_with_orientation(image: np.ndarray, extension: str, orientation: int, *parameters: int) -> bytes:
    """Encode RGB or RGBA with an EXIF block that declares an orientation."""
    bgr = cv2.cvtColor(image, {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[image.shape[2]])
    exif = np.frombuffer(exif_block(orientation), np.uint8)
    success, data = cv2.imencodeWithMetadata(extension, bgr, [cv2.IMAGE_METADATA_EXIF], [exif], parameters)
    assert success
    return data.tobytes()


def exif_block(orientation: int, order: str = ">") -> bytes:
    mark = b"MM" if order == ">" else b"II"
    return mark + struct.pack(f"{order}HIHHHIHHI", 42, 8, 1, 274, 3, 1, orientation, 0, 0)


# PNG


def png_chunk(kind: bytes, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def png_with(png: bytes, *chunks: bytes) -> bytes:
    """Insert chunks after IHDR."""
    return png[:33] + b"".join(chunks) + png[33:]


def png(width: int, height: int, depth: int, color_type: int, rows: bytes, *chunks: bytes, interlace: int = 0) -> bytes:
    """Build a PNG from unfiltered rows, each with its leading 0; `interlace` is 1 for rows of the seven passes."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, interlace))
    data = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + data + png_chunk(b"IEND")


# GIF


def gif_blocks(payload: bytes, size: int = 255) -> bytes:
    blocks = (payload[start : start + size] for start in range(0, len(payload), size))
    return b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def gif(screen: tuple[int, int], palette: Sequence[tuple[int, int, int]], *parts: bytes) -> bytes:
    """Build a GIF from extensions and frames; the palette has four colours."""
    assert len(palette) == 4
    header = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x81, 0, 0)
    return header + bytes(value for color in palette for value in color) + b"".join(parts) + b";"


def gif_frame(indices: np.ndarray, left: int = 0, top: int = 0) -> bytes:
    """Build a frame from palette indices 0..3, uncompressed: a clear code before every other index."""
    height, width = indices.shape
    codes: list[int] = []
    for position, index in enumerate(indices.ravel()):
        codes += [4, int(index)] if position % 2 == 0 else [int(index)]
    return gif_frame_of_codes((width, height), gif_codes([*codes, 5]), left, top)


def gif_frame_of_codes(
    size: tuple[int, int], codes: bytes, left: int = 0, top: int = 0, *, code_bits: int = 2
) -> bytes:
    """Build a frame from packed LZW codes; `code_bits` are the bits of an index, and codes begin with one more."""
    return b"," + struct.pack("<HHHHBB", left, top, *size, 0, code_bits) + gif_blocks(codes)


def gif_codes(codes: Sequence[int]) -> bytes:
    """Pack LZW codes of 3 bits, lowest bit first."""
    bits = "".join(f"{code:03b}"[::-1] for code in codes)
    return bytes(int(bits[start : start + 8][::-1], 2) for start in range(0, len(bits), 8))


def gif_transparency(index: int) -> bytes:
    return b"\x21\xf9\x04" + struct.pack("<BHB", 1, 0, index) + b"\0"


# WebP


def riff(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    """Build a WebP from kinds and payloads of chunks."""
    return riff(
        b"".join(
            kind + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) % 2) for kind, payload in chunks
        )
    )


# TIFF

TIFF_TYPES = {3: "H", 4: "I", 16: "Q"}


def tiff(
    image: np.ndarray, tags: Mapping[int, tuple[int, ...]] | None = None, order: str = "<", *, big: bool = False
) -> bytes:
    """Build a TIFF with interleaved samples of any dtype in one strip.

    `tags` are added to the tags that follow from the array, or replace them; an empty tuple leaves a tag out.
    """
    image = image[..., None] if image.ndim == 2 else image
    height, width, samples = image.shape
    pixels = image.astype(image.dtype.newbyteorder(order)).tobytes()
    strips = {273: (16,), 279: (len(pixels),)}
    kind = {262: (2 if samples >= 3 else 1,), 258: (8 * image.dtype.itemsize,) * samples, 277: (samples,)}
    return tiff_directory(
        {256: (width,), 257: (height,), 259: (1,), 278: (height,), **kind, **strips, **(tags or {})},
        pixels,
        order,
        big=big,
    )


def tiff_directory(
    tags: Mapping[int, tuple[int, ...]], pixels: bytes = b"", order: str = "<", *, big: bool = False
) -> bytes:
    """Build a TIFF: pixels from byte 16, then the directory, then the values that do not fit into it."""
    present = {tag: values for tag, values in sorted(tags.items()) if values}
    pixels += b"\0" * (len(pixels) % 2)
    count_code, word, word_type = ("Q", "Q", 16) if big else ("H", "I", 4)
    start = 16 + len(pixels)
    word_bytes = struct.calcsize(f"={word}")
    end = start + struct.calcsize(f"={count_code}") + len(present) * (4 + 2 * word_bytes) + word_bytes
    entries, overflow = b"", b""
    for tag, values in present.items():
        kind = 3 if max(values) < 65_536 else word_type
        payload = struct.pack(f"{order}{len(values)}{TIFF_TYPES[kind]}", *values)
        if len(payload) > word_bytes:
            value = struct.pack(f"{order}{word}", end + len(overflow))
            overflow += payload
        else:
            value = payload.ljust(word_bytes, b"\0")
        entries += struct.pack(f"{order}HH{word}", tag, kind, len(values)) + value
    mark = b"II" if order == "<" else b"MM"
    opening = struct.pack(f"{order}HHHQ", 43, 8, 0, start) if big else struct.pack(f"{order}HI", 42, start)
    count = struct.pack(f"{order}{count_code}", len(present))
    return (mark + opening).ljust(16, b"\0") + pixels + count + entries + b"\0" * word_bytes + overflow


# AVIF


def box(kind: bytes, *payloads: bytes) -> bytes:
    payload = b"".join(payloads)
    return struct.pack(">I", 8 + len(payload)) + kind + payload


def ispe(width: int, height: int) -> bytes:
    return box(b"ispe", struct.pack(">III", 0, width, height))


def av1c(depth: int = 8) -> bytes:
    return box(b"av1C", bytes([0x81, 0, {8: 0, 10: 0x40, 12: 0x60}[depth], 0]))


def avif(
    items: Sequence[tuple[bytes, bytes, Sequence[int]]],
    properties: Sequence[bytes],
    *extra: bytes,
    in_idat: bool = False,
    brand: bytes = b"avif",
    references: Sequence[tuple[bytes, int, Sequence[int]]] = (),
) -> bytes:
    """Build an AVIF, or a HEIC with another brand, whose first item is the primary one.

    Args:
        items: Type, data, and numbers of the properties, from 1.
        properties: Boxes.
        extra: Boxes after all others.
        in_idat: Put the data into the box ``idat`` instead of ``mdat``.
        brand: Major brand of the file.
        references: Type, item and referenced items, by number from 1.
    """
    numbers = range(1, len(items) + 1)
    entries = [
        box(b"infe", struct.pack(">IHH", 2 << 24, number, 0), kind, b"\0")
        for number, (kind, _, _) in zip(numbers, items, strict=True)
    ]
    associations = b"".join(
        struct.pack(">HB", number, len(indices)) + bytes(indices)
        for number, (_, _, indices) in zip(numbers, items, strict=True)
    )

    def meta(start: int) -> bytes:
        locations = b""
        for number, (_, data, _) in zip(numbers, items, strict=True):
            locations += struct.pack(">HHHHII", number, int(in_idat), 0, 1, start, len(data))
            start += len(data)
        return box(
            b"meta",
            b"\0" * 4,
            box(b"hdlr", b"\0" * 8, b"pict", b"\0" * 13),
            box(b"pitm", struct.pack(">IH", 0, 1)),
            box(b"iloc", struct.pack(">IBBH", 1 << 24, 0x44, 0, len(items)), locations),
            box(b"iinf", struct.pack(">IH", 0, len(items)), *entries),
            box(b"iprp", box(b"ipco", *properties), box(b"ipma", struct.pack(">II", 0, len(items)), associations)),
            box(b"iref", bytes(4), *map(reference, references)) if references else b"",
            box(b"idat", contents) if in_idat else b"",
        )

    def reference(entry: tuple[bytes, int, Sequence[int]]) -> bytes:
        kind, item, others = entry
        return box(kind, struct.pack(f">HH{len(others)}H", item, len(others), *others))

    contents = b"".join(data for _, data, _ in items)
    opening = box(b"ftyp", brand, b"\0" * 4, brand + b"mif1miaf")
    start = 0 if in_idat else len(opening) + len(meta(0)) + 8
    return b"".join((opening, meta(start), b"" if in_idat else box(b"mdat", contents), *extra))


def av1_payload(avif_file: bytes) -> bytes:
    """Return the AV1 data at the end of a file written by OpenCV."""
    return avif_file[avif_file.rindex(b"mdat") + 4 :]


def av1_sequence_header(width: int, height: int) -> bytes:
    """Build a sequence header in its reduced form (AV1 specification, 5.5.1)."""
    fields = [(0, 3), (1, 1), (1, 1), (8, 5), (15, 4), (15, 4), (width - 1, 16), (height - 1, 16), (0, 20)]
    return av1_obu(1, fields)


def av1_obu(kind: int, fields: Sequence[tuple[int, int]]) -> bytes:
    """Build an OBU from (value, bits) fields."""
    bits = "".join(f"{value:0{count}b}" for value, count in fields)
    payload = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    assert len(payload) < 128
    return bytes([kind << 3 | 2, len(payload)]) + payload
