"""PNG: the IHDR chunk, and a walk over all chunks (W3C PNG Specification, third edition)."""

import struct
from collections import Counter
from collections.abc import Iterator, Mapping

from vision.errors import UnreadableImageError
from vision.headers import memory
from vision.headers.header import Header, ImageFormat

MAX_CHUNKS = 65_536
# libpng inflates each of these up to 8 MB only to discard it: 8 kB cost 40 ms.
MAX_COMPRESSED_TEXTS = 16
MAX_PLAIN_CHUNKS = 10_000
MAX_PLAIN_EXIF_BYTES = 65_536
MAX_PLAIN_PROFILE_BYTES = 65_536

_COMPRESSED_TEXTS = frozenset({b"zTXt", b"iTXt"})
_ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})
# The chunks of the specification that may appear once at most.
_SINGLE = frozenset({b"IHDR", b"PLTE", b"IEND", b"tRNS", b"eXIf", b"iCCP", b"acTL"})
_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_GRAY, _RGB, _PALETTE, _GRAY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_DEPTHS: Mapping[int, frozenset[int]] = {
    _GRAY: frozenset({1, 2, 4, 8, 16}),
    _RGB: frozenset({8, 16}),
    _PALETTE: frozenset({1, 2, 4, 8}),
    _GRAY_ALPHA: frozenset({8, 16}),
    _RGB_ALPHA: frozenset({8, 16}),
}
_BYTE_BITS = 8
_LOWER_CASE = 0x20
_SIGNATURE_BYTES = 8
_CHUNK_OVERHEAD_BYTES = 12  # length, type, CRC


def read(data: memoryview) -> Header:
    """Read the size from IHDR and check that every chunk lies within the file.

    The check is needed because OpenCV allocates what a chunk declares: 56 bytes took 4 GB. It also reads on behind IEND
    if no IDAT came before, so that what follows IEND is left out. For an animation, OpenCV returns a later frame, so
    the animation's chunks are left out as well and the static image remains.

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
    counts = Counter(kind for kind, _ in chunks)
    _check_counts(counts)
    end = chunks[-1][1].stop
    still = None
    if not counts.keys().isdisjoint(_ANIMATION):
        static_chunks = (data[span] for kind, span in chunks if kind not in _ANIMATION)
        still = b"".join((data[:_SIGNATURE_BYTES], *static_chunks))
    elif end < len(data):
        still = bytes(data[:end])
    transparent = next((data[span.start + 8 :] for kind, span in chunks if kind == b"tRNS"), None)
    return Header(
        format=ImageFormat.PNG,
        width=width,
        height=height,
        still=still,
        transparent_gray=_decoded_gray(transparent, depth) if color == _GRAY and transparent else None,
        peak_bytes=len(data)
        + memory.as_samples(
            (width, height),
            channels=4 if color in {_GRAY_ALPHA, _RGB_ALPHA} or transparent else 1 if color == _GRAY else 3,
            sample_bytes=2 if depth > _BYTE_BITS else 1,
            turned=b"eXIf" in counts,
        ),
        is_plain=depth <= _BYTE_BITS and still is None and _are_plain(chunks),
    )


def _check_counts(counts: Mapping[bytes, int]) -> None:
    if b"IDAT" not in counts:
        raise UnreadableImageError("PNG: the file contains no image data")
    repeated = [kind for kind in _SINGLE if counts.get(kind, 0) > 1]
    if repeated:
        raise UnreadableImageError(f"PNG: {repeated[0].decode()} appears twice")
    if sum(counts.get(kind, 0) for kind in _COMPRESSED_TEXTS) > MAX_COMPRESSED_TEXTS:
        raise UnreadableImageError(f"PNG: more than {MAX_COMPRESSED_TEXTS} compressed text chunks")


def _are_plain(chunks: list[tuple[bytes, slice]]) -> bool:
    """Return whether nothing but the pixels costs the decoder work."""
    limits = {b"eXIf": MAX_PLAIN_EXIF_BYTES, b"iCCP": MAX_PLAIN_PROFILE_BYTES, **dict.fromkeys(_COMPRESSED_TEXTS, -1)}
    return len(chunks) <= MAX_PLAIN_CHUNKS and all(
        (kind in _CRITICAL or kind[0] & _LOWER_CASE) and span.stop - span.start <= limits.get(kind, len(chunks) << 32)
        for kind, span in chunks
    )


def _decoded_gray(trns: memoryview, depth: int) -> int:
    """Return the value to which OpenCV decodes the gray in tRNS: fewer than 8 bits are scaled to 8."""
    (sample,) = struct.unpack_from(">H", trns)
    return int(sample) * 255 // ((1 << depth) - 1) if depth < _BYTE_BITS else int(sample)


def _chunks(data: memoryview) -> Iterator[tuple[bytes, slice]]:
    """Yield type and position of each chunk up to IEND."""
    position = _SIGNATURE_BYTES
    for _ in range(MAX_CHUNKS):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + _CHUNK_OVERHEAD_BYTES + length
        if end > len(data):
            raise UnreadableImageError("PNG: the file ends within a chunk")
        yield kind, slice(position, end)
        if kind == b"IEND":
            return
        position = end
    raise UnreadableImageError(f"PNG: more than {MAX_CHUNKS} chunks")
