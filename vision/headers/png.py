"""PNG: the IHDR chunk, and a walk over all chunks (W3C PNG Specification, third edition)."""

import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from vision.errors import UnreadableImageError
from vision.headers import memory
from vision.headers.header import Header, ImageFormat
from vision.headers.tiff import UPRIGHT, exif_orientation

MAX_CHUNKS = 65_536
# libpng inflates each of these up to 8 MB only to discard it: 8 kB cost 40 ms.
MAX_COMPRESSED_TEXTS = 16
MAX_PLAIN_CHUNKS = 4_096
# libpng also inflates what follows the last row: 8 MB of image data cost 17 s. Deflate shrinks 1,032 times at most.
MAX_PLAIN_DATA_BYTES = 128 << 10
MAX_PROFILE_BYTES = 140_000  # twice the largest EXIF block of a JPEG, in which form it is stored

_COMPRESSED_TEXTS = frozenset({b"zTXt", b"iTXt"})
# What the pixels depend on. Everything else stays away from the decoder: animations, of which OpenCV returns a later
# frame, and metadata, on which it can be made to waste time.
_PIXEL_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_SINGLE_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IEND"})
_COUNTED = _SINGLE_CHUNKS | _COMPRESSED_TEXTS | {b"IDAT"}
_PROFILE_KEYS = frozenset({b"Raw profile type exif\0", b"Raw profile type APP1\0"})  # ImageMagick's, older than eXIf
_PROFILE_KEY_BYTES = 22
_GRAY, _RGB, _PALETTE, _GRAY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_CHANNELS: Mapping[int, int] = {_GRAY: 1, _RGB: 3, _PALETTE: 3, _GRAY_ALPHA: 4, _RGB_ALPHA: 4}  # decoded by OpenCV
_DEPTHS: Mapping[int, frozenset[int]] = {  # table 11.1
    _GRAY: frozenset({1, 2, 4, 8, 16}),
    _RGB: frozenset({8, 16}),
    _PALETTE: frozenset({1, 2, 4, 8}),
    _GRAY_ALPHA: frozenset({8, 16}),
    _RGB_ALPHA: frozenset({8, 16}),
}
_BYTE_BITS = 8
_ANCILLARY = 0x20  # the bit of the first letter
_SIGNATURE_BYTES = 8
_CHUNK_HEADER_BYTES = 8
_CHUNK_OVERHEAD_BYTES = 12  # length, type, CRC


@dataclass(slots=True)
class _Contents:
    """What a walk over the chunks has seen; chunks themselves are not kept, since a file may have thousands.

    Attributes:
        chunks: Number of chunks.
        counts: Number of chunks of each type of which the number matters.
        pixels: Positions of the chunks that the pixels depend on, in order, with neighbours as one.
        end: Position behind the last chunk.
        data_bytes: Size of the compressed pixels.
        transparency: Content of tRNS.
        exif: EXIF block.
        is_ordinary: Whether no chunk changes what the pixels mean.
    """

    chunks: int = 0
    counts: Counter[bytes] = field(default_factory=Counter)
    pixels: list[slice] = field(default_factory=lambda: [slice(0, _SIGNATURE_BYTES)])
    end: int = 0
    data_bytes: int = 0
    transparency: memoryview | None = None
    exif: memoryview | None = None
    is_ordinary: bool = True


def read(data: memoryview) -> Header:
    """Read the size from IHDR and check that every chunk lies within the file.

    The check is needed because OpenCV allocates what a chunk declares: 56 bytes took 4 GB. It reads on behind IEND if
    there is no IDAT before it.

    Raises:
        UnreadableImageError: IHDR is not first or not valid, there is no IDAT, a chunk is cut off or repeated, or there
            are too many chunks.
        struct.error: The data ends within a header.
    """
    kind, width, height, depth, color = struct.unpack_from(">4x4sIIBB", data, _SIGNATURE_BYTES)
    if kind != b"IHDR":
        raise UnreadableImageError("PNG: the first chunk is not IHDR")
    if depth not in _DEPTHS.get(color, ()):
        raise UnreadableImageError(f"PNG: {depth} bits per sample are not valid for colour type {color}")
    contents = _walk(data)
    _check(contents.counts)
    transparency = contents.transparency
    orientation = UPRIGHT if contents.exif is None else exif_orientation(contents.exif)
    is_whole = len(contents.pixels) == 1 and contents.end == len(data)
    return Header(
        format=ImageFormat.PNG,
        width=width,
        height=height,
        still=None if is_whole else b"".join(data[span] for span in contents.pixels),
        transparent_gray=_decoded_gray(transparency, depth) if color == _GRAY and transparency else None,
        orientation=orientation,
        peak_bytes=2 * len(data)  # OpenCV holds chunks
        + memory.as_samples(
            (width, height),
            channels=4 if transparency else _CHANNELS[color],
            sample_bytes=1 if depth <= _BYTE_BITS else 2,
            turned=orientation != UPRIGHT,
        ),
        is_plain=depth <= _BYTE_BITS
        and contents.is_ordinary
        and contents.chunks <= MAX_PLAIN_CHUNKS
        and contents.data_bytes <= MAX_PLAIN_DATA_BYTES,
    )


def _walk(data: memoryview) -> _Contents:
    contents = _Contents()
    for kind, span, content in _chunks(data):
        contents.chunks += 1
        contents.end = span.stop
        if kind in _COUNTED:
            contents.counts[kind] += 1
        if kind not in _PIXEL_CHUNKS:
            contents.is_ordinary &= bool(kind[0] & _ANCILLARY) and kind != b"acTL"
            contents.exif = _exif(kind, content) if contents.exif is None else contents.exif
            continue
        if contents.pixels[-1].stop == span.start:
            contents.pixels[-1] = slice(contents.pixels[-1].start, span.stop)
        else:
            contents.pixels.append(span)
        if kind == b"IDAT":
            contents.data_bytes += len(content)
        elif kind == b"tRNS":
            contents.transparency = content
    return contents


def _check(counts: Counter[bytes]) -> None:
    if not counts[b"IDAT"]:
        raise UnreadableImageError("PNG: the file contains no image data")
    for kind in _SINGLE_CHUNKS:
        if counts[kind] > 1:
            raise UnreadableImageError(f"PNG: {kind.decode()} appears twice")
    if sum(counts[kind] for kind in _COMPRESSED_TEXTS) > MAX_COMPRESSED_TEXTS:
        raise UnreadableImageError(f"PNG: more than {MAX_COMPRESSED_TEXTS} compressed text chunks")


def _exif(kind: bytes, content: memoryview) -> memoryview | None:
    """Return the EXIF block from eXIf or ImageMagick's text chunk; None if this chunk has none."""
    if kind == b"eXIf":
        return content
    if kind in {b"tEXt", b"zTXt"} and bytes(content[:_PROFILE_KEY_BYTES]) in _PROFILE_KEYS:
        text = bytes(content[_PROFILE_KEY_BYTES:MAX_PROFILE_BYTES])
        return _raw_profile(text, compressed=kind == b"zTXt")
    return None


def _raw_profile(text: bytes, *, compressed: bool) -> memoryview:
    """Decode a profile in ImageMagick's form: lines with its name, its length, and its bytes in hexadecimal digits."""
    with suppress(zlib.error, ValueError):
        if compressed:
            text = zlib.decompressobj().decompress(text[1:], MAX_PROFILE_BYTES)
        _, _, _, *lines = text.split(b"\n", 4)
        return memoryview(bytes.fromhex(b"".join(lines).decode("ascii")))
    return memoryview(b"")


def _decoded_gray(trns: memoryview, depth: int) -> int:
    """Return the value to which OpenCV decodes the gray in tRNS: fewer than 8 bits are scaled to 8."""
    (sample,) = struct.unpack_from(">H", trns)
    return int(sample) * 255 // ((1 << depth) - 1) if depth < _BYTE_BITS else int(sample)


def _chunks(data: memoryview) -> Iterator[tuple[bytes, slice, memoryview]]:
    """Yield type, position and content of each chunk up to IEND."""
    position = _SIGNATURE_BYTES
    for _ in range(MAX_CHUNKS):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + _CHUNK_OVERHEAD_BYTES + length
        if end > len(data):
            raise UnreadableImageError("PNG: the file ends within a chunk")
        start = position + _CHUNK_HEADER_BYTES
        yield kind, slice(position, end), data[start : start + length]
        if kind == b"IEND":
            return
        position = end
    raise UnreadableImageError(f"PNG: more than {MAX_CHUNKS} chunks")
