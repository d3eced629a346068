"""WebP: the canvas and the first frame on it (RFC 9649; VP8 frame header: RFC 6386, 9.1)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from vision.errors import UnreadableImageError
from vision.headers import memory
from vision.headers.header import Crop, Header, ImageFormat, Size
from vision.headers.tiff import UPRIGHT, exif_orientation

MAX_CHUNKS = 65_536
# Lossless data takes a group of prefix codes, up to 20 kB of tables, for 31 of its bits: 295 kB took 1.3 GB. An
# encoder writes 2,600 groups at most (libwebp, MAX_HUFF_IMAGE_SIZE).
GROUP_BYTES = 20_600
GROUP_BITS = 31
MAX_GROUPS = 2_600
BLOCK_SIDE = 4  # pixels of the smallest area that has a group of its own

_FIRST_CHUNK = 12  # after "RIFF", the length and "WEBP"
_CHUNK_HEADER_BYTES = 8
_ANMF_HEADER_BYTES = 16
_LOW_14_BITS = 0x3FFF
_FRAMES = frozenset({b"VP8 ", b"VP8L"})
# What the pixels depend on. Metadata and further frames stay away from the decoder, which can be made to waste time on
# them.
_PIXEL_CHUNKS = _FRAMES | {b"VP8X", b"ALPH", b"ANMF"}
_ALPHA_FLAG, _EXIF_FLAG = 0x10, 0x08  # of VP8X
_PIXEL_FLAGS = _ALPHA_FLAG | 0x02  # the other one marks animations
_VP8_START_CODE = b"\x9d\x01\x2a"
_VP8L_SIGNATURE = 0x2F
_RGB, _RGBA = 3, 4


@dataclass(frozen=True, slots=True)
class _Chunk:
    kind: bytes
    content: memoryview

    @property
    def file_bytes(self) -> int:
        return _CHUNK_HEADER_BYTES + len(self.content) + len(self.content) % 2


def read(data: memoryview) -> Header:
    """Read the size of the canvas (VP8X), or of the frame if there is no canvas.

    Raises:
        UnreadableImageError: The file contains no frame, is cut off, or has a chunk twice.
        struct.error: The data ends within a header.
    """
    (riff_bytes,) = struct.unpack_from("<I", data, 4)
    end = riff_bytes + _CHUNK_HEADER_BYTES
    chunks = _by_kind(data[_FIRST_CHUNK:end])
    animation = chunks.get(b"ANMF")
    parts = _by_kind(animation.content[_ANMF_HEADER_BYTES:]) if animation else chunks
    bitstream = parts.get(b"VP8 ") or parts.get(b"VP8L")
    if bitstream is None or end > len(data):
        raise UnreadableImageError("WebP: the file contains no image, or is cut off")
    frame = _lossy(bitstream.content) if bitstream.kind == b"VP8 " else _lossless(bitstream.content)
    canvas = chunks.get(b"VP8X")
    width, height = size = _canvas(canvas.content) if canvas else frame
    flags = canvas.content[0] if canvas else 0
    orientation = exif_orientation(chunks[b"EXIF"].content) if flags & _EXIF_FLAG and b"EXIF" in chunks else UPRIGHT
    lossless_bytes = sum(len(parts[kind].content) for kind in (b"VP8L", b"ALPH") if kind in parts)
    groups = min(-(-frame[0] // BLOCK_SIDE) * -(-frame[1] // BLOCK_SIDE), lossless_bytes * 8 // GROUP_BITS)
    decoder_bytes = min(groups, MAX_GROUPS) * GROUP_BYTES
    decoder_bytes += frame[0] * frame[1] * 5 if lossless_bytes else 0  # ARGB, and the plane of alpha
    decoder_bytes += width * height * _RGBA if animation else 0
    may_have_alpha = flags or bitstream.kind == b"VP8L" or b"ALPH" in parts
    return Header(
        format=ImageFormat.WEBP,
        width=width,
        height=height,
        inner_sizes=(frame,),
        still=_still(data, parts, frame),
        frame=_frame_place(animation.content, frame, size) if animation else None,
        orientation=orientation,
        peak_bytes=2 * len(data)
        + memory.as_samples(
            size,
            channels=_RGBA if may_have_alpha else _RGB,
            turned=orientation != UPRIGHT,
            decoder_bytes=decoder_bytes,
        ),
        is_plain=not animation and frame == size and groups <= MAX_GROUPS,
    )


def _by_kind(data: memoryview) -> dict[bytes, _Chunk]:
    """Return the first frame's chunks of each type, in their order."""
    chunks: dict[bytes, _Chunk] = {}
    for chunk in _chunks(data):
        if chunk.kind not in chunks and (chunk.kind in _PIXEL_CHUNKS or chunk.kind == b"EXIF"):
            chunks[chunk.kind] = chunk
        elif chunk.kind != b"ANMF" and chunk.kind in _PIXEL_CHUNKS:
            raise UnreadableImageError(f"WebP: {chunk.kind.decode()} appears twice")
    if len(chunks.keys() & (_FRAMES | {b"ANMF"})) > 1:
        raise UnreadableImageError("WebP: the file contains images of two kinds")
    return chunks


def _chunks(data: memoryview) -> Iterator[_Chunk]:
    position = 0
    for _ in range(MAX_CHUNKS):
        if position >= len(data):
            return
        kind, length = struct.unpack_from("<4sI", data, position)
        position += _CHUNK_HEADER_BYTES
        if position + length > len(data):
            raise UnreadableImageError("WebP: the file ends within a chunk")
        yield _Chunk(kind, data[position : position + length])
        position += length + length % 2
    raise UnreadableImageError(f"WebP: more than {MAX_CHUNKS} chunks")


def _still(data: memoryview, parts: dict[bytes, _Chunk], frame: Size) -> bytes | None:
    """Return the image, or an animation's first frame on a canvas of its own size, as a file without metadata.

    None if there is nothing to leave out: no further frames, no metadata, and no data behind the end.
    """
    pixel_chunks = [chunk for chunk in parts.values() if chunk.kind in _PIXEL_CHUNKS]
    if _FIRST_CHUNK + sum(chunk.file_bytes for chunk in pixel_chunks) == len(data):
        return None
    body = b"WEBP"
    if b"VP8X" in parts:
        content = parts[b"VP8X"].content
        body += _chunk_bytes(b"VP8X", bytes([content[0] & _PIXEL_FLAGS]) + bytes(content[1:]))
    elif b"ALPH" in parts:
        sides = b"".join((side - 1).to_bytes(3, "little") for side in frame)
        body += _chunk_bytes(b"VP8X", bytes([_ALPHA_FLAG, 0, 0, 0]) + sides)
    for kind in (b"ALPH", b"VP8 ", b"VP8L"):
        if kind in parts:
            body += _chunk_bytes(kind, bytes(parts[kind].content))
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _chunk_bytes(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def _frame_place(anmf: memoryview, frame: Size, canvas: Size) -> Crop | None:
    """Return where an animation's first frame lies on the canvas; None if it covers all of it."""
    left, top = (2 * int.from_bytes(anmf[start : start + 3], "little") for start in (0, 3))
    place = Crop(left, top, left + frame[0], top + frame[1])
    if place.right > canvas[0] or place.bottom > canvas[1]:
        raise UnreadableImageError("WebP: the first frame extends beyond the canvas")
    return None if place == (0, 0, *canvas) else place


def _canvas(vp8x: memoryview) -> Size:
    width_low, width_high, height_low, height_high = struct.unpack_from("<4xHBHB", vp8x)
    return (width_low | width_high << 16) + 1, (height_low | height_high << 16) + 1


def _lossy(vp8: memoryview) -> Size:
    width, height = struct.unpack_from("<6xHH", vp8)
    if vp8[0] & 1 or vp8[3:6] != _VP8_START_CODE:
        raise UnreadableImageError("WebP: the frame is not a VP8 key frame")
    return width & _LOW_14_BITS, height & _LOW_14_BITS  # the other bits: scaling, which decoders ignore


def _lossless(vp8l: memoryview) -> Size:
    signature, bits = struct.unpack_from("<BI", vp8l)
    if signature != _VP8L_SIGNATURE:
        raise UnreadableImageError("WebP: the signature of the lossless frame is missing")
    return (bits & _LOW_14_BITS) + 1, (bits >> 14 & _LOW_14_BITS) + 1
