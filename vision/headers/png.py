"""PNG: the IHDR chunk, and a walk over all chunks (W3C PNG Specification, third edition)."""

import struct
from collections.abc import Iterator

from vision.errors import UnreadableImageError
from vision.headers.header import Header, ImageFormat

MAX_CHUNKS = 65_536
# libpng inflates each of these up to 8 MB only to discard it: 8 kB cost 40 ms.
MAX_COMPRESSED_TEXTS = 16

_COMPRESSED_TEXTS = frozenset({b"zTXt", b"iTXt"})
_ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})
_GRAY = 0
_BYTE_BITS = 8
_SIGNATURE_BYTES = 8
_CHUNK_OVERHEAD_BYTES = 12  # length, type, CRC


def read(data: memoryview) -> Header:
    """Read the size from IHDR and check that every chunk lies within the file.

    The check is needed because OpenCV allocates what a chunk declares: 56 bytes took 4 GB. For an animation, OpenCV
    returns a later frame, so the animation's chunks are left out and the static image remains.

    Raises:
        UnreadableImageError: IHDR is not first, a chunk is cut off, or there are too many chunks.
        struct.error: The data ends within a header.
    """
    kind, width, height, depth, color = struct.unpack_from(">4x4sIIBB", data, _SIGNATURE_BYTES)
    if kind != b"IHDR":
        raise UnreadableImageError("PNG: the first chunk is not IHDR")
    chunks = list(_chunks(data))
    if sum(kind in _COMPRESSED_TEXTS for kind, _ in chunks) > MAX_COMPRESSED_TEXTS:
        raise UnreadableImageError(f"PNG: more than {MAX_COMPRESSED_TEXTS} compressed text chunks")
    still = None
    if any(kind in _ANIMATION for kind, _ in chunks):
        static_chunks = (data[span] for kind, span in chunks if kind not in _ANIMATION)
        still = b"".join((data[:_SIGNATURE_BYTES], *static_chunks))
    transparent = next((data[span.start + 8 :] for kind, span in chunks if kind == b"tRNS"), None)
    return Header(
        format=ImageFormat.PNG,
        width=width,
        height=height,
        still=still,
        transparent_gray=_decoded_gray(transparent, depth) if color == _GRAY and transparent else None,
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
