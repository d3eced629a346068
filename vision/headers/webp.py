"""WebP: the canvas and the first frame on it (RFC 9649; VP8 frame header: RFC 6386, 9.1)."""

import struct
from collections.abc import Iterator

from vision.errors import UnreadableImageError
from vision.headers import memory
from vision.headers.header import Header, ImageFormat, Size

MAX_CHUNKS = 1_000  # before the first frame
MAX_PLAIN_METADATA_BYTES = 65_536
# Each group of prefix codes takes up to 20 kB of tables, and 31 bits of the file if there are thousands of them.
GROUP_TABLE_BYTES = 20_600
GROUP_BITS = 31
BLOCK_SIDE = 4  # pixels; a block is the smallest area that has a group of its own
MAX_PLAIN_GROUPS = 3_000
# An encoder writes at most 2,600 groups (libwebp, MAX_HUFF_IMAGE_SIZE).
ENCODER_GROUPS = 2_600

_FIRST_CHUNK = 12  # after "RIFF", the length and "WEBP"
_CHUNK_HEADER_BYTES = 8
_ANMF_HEADER_BYTES = 16
_LOW_14_BITS = 0x3FFF
_FRAMES = frozenset({b"VP8 ", b"VP8L"})
_ANIMATION = frozenset({b"ANIM", b"ANMF"})
_METADATA = frozenset({b"EXIF", b"XMP ", b"ICCP"})
_PLAIN_CHUNKS = _FRAMES | _METADATA | {b"VP8X", b"ALPH"}
_RGB, _RGBA = 3, 4
_ARGB_BYTES = 4


def read(data: memoryview) -> Header:
    """Read the size of the canvas (VP8X), or of the frame if there is no canvas.

    Raises:
        UnreadableImageError: The file contains no frame, or one chunk twice.
        struct.error: The data ends within a header.
    """
    canvas = None
    lossless_bytes = 0
    for kind, payload, length in _chunks(data):
        if kind == b"VP8X":
            if canvas is not None:
                raise UnreadableImageError("WebP: VP8X appears twice")
            canvas = _canvas(data, payload)
        elif kind == b"ALPH":
            lossless_bytes += length
        elif kind in _FRAMES:
            frame = _lossy(data, payload) if kind == b"VP8 " else _lossless(data, payload)
            lossless_bytes += length if kind == b"VP8L" else 0
            size = canvas or frame
            groups = _groups(frame, lossless_bytes)
            return Header(
                format=ImageFormat.WEBP,
                width=size[0],
                height=size[1],
                inner_sizes=(frame,),
                peak_bytes=_peak_bytes(size, frame, groups) + len(data),
                is_plain=frame == size and groups <= MAX_PLAIN_GROUPS and _is_plain(data),
            )
    raise UnreadableImageError("WebP: the file contains no image")


def _groups(frame: Size, lossless_bytes: int) -> int:
    """Return how many groups of prefix codes the lossless data can declare at most (RFC 9649, 4.2 and 6.2)."""
    blocks = -(-frame[0] // BLOCK_SIDE) * -(-frame[1] // BLOCK_SIDE)
    return min(blocks, lossless_bytes * 8 // GROUP_BITS)


def _peak_bytes(size: Size, frame: Size, groups: int) -> int:
    decoder_bytes = frame[0] * frame[1] * _ARGB_BYTES + min(groups, ENCODER_GROUPS) * GROUP_TABLE_BYTES
    if size != frame:  # an animation is drawn on canvases
        decoder_bytes += 2 * size[0] * size[1] * _ARGB_BYTES
    return memory.as_samples(size, channels=_RGBA, turned=True, decoder_bytes=decoder_bytes)


def _is_plain(data: memoryview) -> bool:
    """Return whether the file is one still image with little metadata and nothing behind it."""
    (riff_bytes,) = struct.unpack_from("<I", data, 4)
    kinds = []
    position = _FIRST_CHUNK
    for kind, payload, length in _chunks(data):
        kinds.append(kind)
        if kind in _METADATA and length > MAX_PLAIN_METADATA_BYTES:
            return False
        position = payload + length + length % 2
    frames = sum(kind in _FRAMES for kind in kinds)
    return (
        len(set(kinds)) == len(kinds)
        and _PLAIN_CHUNKS.issuperset(kinds)
        and frames == 1
        and position == riff_bytes + _CHUNK_HEADER_BYTES == len(data)
    )


def _chunks(data: memoryview) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, position and length of the payload of each chunk; those of an animation's frames stand beside it."""
    position = _FIRST_CHUNK
    for _ in range(MAX_CHUNKS):
        if position >= len(data):
            return
        kind, length = struct.unpack_from("<4sI", data, position)
        payload = position + _CHUNK_HEADER_BYTES
        yield kind, payload, length
        position = payload + (_ANMF_HEADER_BYTES if kind == b"ANMF" else length + length % 2)


def _canvas(data: memoryview, payload: int) -> Size:
    width_low, width_high, height_low, height_high = struct.unpack_from("<4xHBHB", data, payload)
    return (width_low | width_high << 16) + 1, (height_low | height_high << 16) + 1


def _lossy(data: memoryview, payload: int) -> Size:
    width, height = struct.unpack_from("<6xHH", data, payload)
    return width & _LOW_14_BITS, height & _LOW_14_BITS  # the other bits: scaling, which decoders ignore


def _lossless(data: memoryview, payload: int) -> Size:
    (bits,) = struct.unpack_from("<xI", data, payload)
    return (bits & _LOW_14_BITS) + 1, (bits >> 14 & _LOW_14_BITS) + 1
