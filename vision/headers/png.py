"""PNG: the IHDR chunk, and a walk over all chunks (W3C PNG Specification, third edition)."""

import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

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
_PROFILE_KEYS = frozenset({b"Raw profile type exif", b"Raw profile type APP1"})  # ImageMagick's, older than eXIf
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


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Type of a chunk, its position in the file, and its content."""

    kind: bytes
    span: slice
    content: memoryview


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
    chunks = list(_chunks(data))
    _check(chunks)
    transparency = next((chunk.content for chunk in chunks if chunk.kind == b"tRNS"), None)
    orientation = _orientation(chunks)
    return Header(
        format=ImageFormat.PNG,
        width=width,
        height=height,
        still=_still(data, chunks),
        transparent_gray=_decoded_gray(transparency, depth) if color == _GRAY and transparency else None,
        orientation=orientation,
        peak_bytes=2 * len(data)  # OpenCV holds chunks
        + memory.as_samples(
            (width, height),
            channels=4 if transparency else _CHANNELS[color],
            sample_bytes=1 if depth <= _BYTE_BITS else 2,
            turned=orientation != UPRIGHT,
        ),
        is_plain=depth <= _BYTE_BITS and _are_plain(chunks),
    )


def _check(chunks: list[_Chunk]) -> None:
    kinds = [chunk.kind for chunk in chunks]
    if b"IDAT" not in kinds:
        raise UnreadableImageError("PNG: the file contains no image data")
    for kind in _SINGLE_CHUNKS:
        if kinds.count(kind) > 1:
            raise UnreadableImageError(f"PNG: {kind.decode()} appears twice")
    if sum(kind in _COMPRESSED_TEXTS for kind in kinds) > MAX_COMPRESSED_TEXTS:
        raise UnreadableImageError(f"PNG: more than {MAX_COMPRESSED_TEXTS} compressed text chunks")


def _are_plain(chunks: list[_Chunk]) -> bool:
    """Return whether no chunk changes what the pixels mean, and all pixels are inflated in a short time."""
    return (
        len(chunks) <= MAX_PLAIN_CHUNKS
        and all(chunk.kind in _PIXEL_CHUNKS or chunk.kind[0] & _ANCILLARY for chunk in chunks)
        and all(chunk.kind != b"acTL" for chunk in chunks)
        and sum(len(chunk.content) for chunk in chunks if chunk.kind == b"IDAT") <= MAX_PLAIN_DATA_BYTES
    )


def _still(data: memoryview, chunks: list[_Chunk]) -> bytes | None:
    """Return the file without the chunks that do not belong to the static image; None if there are none."""
    if chunks[-1].span.stop == len(data) and all(chunk.kind in _PIXEL_CHUNKS for chunk in chunks):
        return None
    parts = (data[chunk.span] for chunk in chunks if chunk.kind in _PIXEL_CHUNKS)
    return b"".join((data[:_SIGNATURE_BYTES], *parts))


def _orientation(chunks: list[_Chunk]) -> int:
    """Return the EXIF orientation, 1..8, from eXIf or ImageMagick's text chunk."""
    for chunk in chunks:
        if chunk.kind == b"eXIf":
            return exif_orientation(chunk.content)
    for chunk in chunks:
        if chunk.kind in {b"tEXt", b"zTXt"}:
            key, _, text = bytes(chunk.content[:MAX_PROFILE_BYTES]).partition(b"\0")
            if key in _PROFILE_KEYS:
                return exif_orientation(_raw_profile(text, compressed=chunk.kind == b"zTXt"))
    return UPRIGHT


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


def _chunks(data: memoryview) -> Iterator[_Chunk]:
    """Yield each chunk up to IEND."""
    position = _SIGNATURE_BYTES
    for _ in range(MAX_CHUNKS):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + _CHUNK_OVERHEAD_BYTES + length
        if end > len(data):
            raise UnreadableImageError("PNG: the file ends within a chunk")
        start = position + _CHUNK_HEADER_BYTES
        yield _Chunk(kind, slice(position, end), data[start : start + length])
        if kind == b"IEND":
            return
        position = end
    raise UnreadableImageError(f"PNG: more than {MAX_CHUNKS} chunks")
