"""Small pictures that were made to cost a decoder much memory or time."""

import base64
import struct
import zlib

import cv2
import numpy as np

SIDE = 7071
"""Side of a square image of 50 million pixels, which is the default of GATEWAY_MAX_PIXELS."""

_PNG_START = b"\x89PNG\r\n\x1a\n"
_RGB, _RGBA = 2, 6

# One flat AV1 key frame of SIDE x SIDE pixels, as aomenc encodes it: the boxes before the data, with its length at
# _LENGTH_AT; the sequence header; the beginnings of a frame that is shown, and of one that is only decoded; the tiles.
_AVIF_HEAD = base64.b64decode(
    "AAAAHGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZgAAANJtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAAA5waXRtAAAAAAAB"
    "AAAAHmlsb2MAAAAARAAAAQABAAAAAQAAAPYAAADsAAAAI2lpbmYAAAAAAAEAAAAVaW5mZQIAAAAAAQAAYXYwMQAAAABWaXBycAAAADhpcGNvAAAAFGlz"
    "cGUAAAAAAAAbnwAAG58AAAAQcGl4aQAAAAADCAgIAAAADGF2MUOBHwwAAAAAFmlwbWEAAAAAAAAAAQABAwECgw=="
)
_LENGTH_AT = _AVIF_HEAD.index(struct.pack(">II", len(_AVIF_HEAD) + 8, 236)) + 4
_AV1_HEADERS = base64.b64decode("EgAKCwAAAPszc9uecmAC")
_SHOWN, _HIDDEN = base64.b64decode("MtoBEE5/gAACAA=="), base64.b64decode("MtsBDH+Tn+AAAIA=")
_TILES = base64.b64decode(
    "ABU4+X4tkgEe+NcPWwe34U5+qGt1L/AkGDj5fi2SAQyOK0KzA/pzb50LmapxA9IRJVIVOPl+LZIBHvjXD1sHt+FOfqhrdS/wJBg4+X4tkgEMjitCswP6"
    "c2+dC5mqcQPSESVSFTj5fi2SAR741w9bB7fhTn6oa3Uv8CQYOPl+LZIBDI4rQrMD+nNvnQuZqnED0hElUhw4+X4tkgEe+NcPWwe34U5+qGt1L+/OcFF6"
    "G7ZMJzj5fi2SAQyOK0KzA/pzb50LmapxA9IRJI+8LMC5JjqeKA=="
)


def flat(extension: str, side: int) -> bytes:
    """Encode a black square as `.avif`, `.gif`, `.jpg`, `.tif` or `.webp`: few bytes for many pixels."""
    return cv2.imencode(extension, np.zeros((side, side, 3), np.uint8))[1].tobytes()


def avif(hidden_frames: int = 0) -> bytes:
    """Return an AVIF of 50 million pixels whose data holds frames that are decoded but not shown."""
    data = _AV1_HEADERS + (_HIDDEN + _TILES) * hidden_frames + _SHOWN + _TILES
    length = struct.pack(">I", len(data))
    return (
        _AVIF_HEAD[:_LENGTH_AT]
        + length
        + _AVIF_HEAD[_LENGTH_AT + 4 :]
        + struct.pack(">I", len(data) + 8)
        + b"mdat"
        + data
    )


def png_with_a_chunk_behind_its_end(kind: bytes = b"IDAT", declared_bytes: int = 0xFFFFFFF0) -> bytes:
    """Return a PNG without pixels, and behind its end the beginning of a chunk that declares up to 4 GiB."""
    start = _png_header(3, 3, depth=8, color=_RGB) + _chunk(b"IEND", b"")
    return _PNG_START + start + struct.pack(">I", declared_bytes) + kind + bytes(16)


def png(width: int = SIDE, height: int = SIDE, *, depth: int = 16) -> bytes:
    """Return a transparent PNG, of which each pixel takes four samples of 8 or 16 bits."""
    row_bytes = 1 + width * 4 * depth // 8
    return (
        _PNG_START
        + _png_header(width, height, depth=depth, color=_RGBA)
        + _chunk(b"IDAT", zeros(row_bytes * height))
        + _chunk(b"IEND", b"")
    )


def tiff(width: int, height: int, tile_height: int) -> bytes:
    """Return a TIFF that gives the height of its tiles and not their width."""
    data = zeros(width * height * 3)  # decoders allocate the whole tile all the same
    tags = dict(zip((256, 257, 259, 262, 277, 284, 323, 324), (width, height, 8, 2, 3, 1, tile_height, 8), strict=True))
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in (tags | {325: len(data)}).items()]
    bits_at = 8 + len(data) + 2 + 12 * (len(entries) + 1) + 4
    entries.insert(2, struct.pack("<HHII", 258, 3, 3, bits_at))
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4) + struct.pack("<HHH", 8, 8, 8)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


def jpeg_of_many_scans(width: int = SIDE, height: int = SIDE, scans: int = 99) -> bytes:
    """Return a progressive JPEG of one component whose scans have no data."""
    frame = _segment(0xC2, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0")
    tables = _segment(0xDB, b"\0" + b"\1" * 64) + _segment(0xC4, b"\0\0\1" + bytes(14) + b"\0")
    tables += _segment(0xC4, b"\x10\0\2" + bytes(14) + b"\0\1")
    first, further = _segment(0xDA, b"\1\1\0\0\0\0"), _segment(0xDA, b"\1\1\0\1\x3f\0")
    return b"\xff\xd8" + tables + frame + first + further * (scans - 1) + b"\xff\xd9"


def bmp(width: int = SIDE, height: int = SIDE) -> bytes:
    """Return a run-length encoded BMP that ends at once."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 2, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 14 + 40 + 1024 + 2, 0, 0, 14 + 40 + 1024) + header + bytes(1024) + b"\0\1"


def zeros(size: int) -> bytes:
    """Return zeros in zlib's format, which makes a thousandth of them, without holding all of them."""
    compressor, block = zlib.compressobj(9), bytes(1 << 20)
    pieces = [compressor.compress(block[: min(len(block), size - start)]) for start in range(0, size, len(block))]
    return b"".join(pieces) + compressor.flush()


def _png_header(width: int, height: int, *, depth: int, color: int) -> bytes:
    return _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data
