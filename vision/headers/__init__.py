"""The first look into an image file: its format, its size and its kind, before any decoder sees it.

Small parsers of our own, one module a format, because a decoder allocates what a header declares: 40 bytes of
WebP unpack to 16383 x 16383 pixels. Each reads no more than it needs, takes bounded time, and looks for every
size that the decoder behind will believe. Where a file could make that decoder waste time or memory in
another way, the parser refuses it; the reasons stand beside the limits.
"""

import struct
from collections.abc import Callable, Mapping

from vision.errors import UnreadableImageError, UnsupportedFormatError
from vision.headers import avif, bmp, gif, jpeg, png, tiff, webp
from vision.headers.header import Header, ImageFormat

_READERS: Mapping[ImageFormat, Callable[[memoryview], Header]] = {
    ImageFormat.JPEG: jpeg.read,
    ImageFormat.PNG: png.read,
    ImageFormat.WEBP: webp.read,
    ImageFormat.GIF: gif.read,
    ImageFormat.BMP: bmp.read,
    ImageFormat.AVIF: avif.read,
    ImageFormat.TIFF: tiff.read,
}
_SIGNATURES: Mapping[bytes, ImageFormat] = {
    b"\xff\xd8\xff": ImageFormat.JPEG,
    b"\x89PNG\r\n\x1a\n": ImageFormat.PNG,
    b"GIF87a": ImageFormat.GIF,
    b"GIF89a": ImageFormat.GIF,
    b"BM": ImageFormat.BMP,
    b"II*\0": ImageFormat.TIFF,
    b"MM\0*": ImageFormat.TIFF,
    b"II+\0": ImageFormat.TIFF,
    b"MM\0+": ImageFormat.TIFF,
}
_FILE_TYPE_BYTES = 512  # as far as the brands of an AVIF file are looked at
_AVIF_BRANDS = frozenset({b"avif", b"avis"})


def sniff(data: bytes | memoryview) -> ImageFormat | None:
    """Tell the format by the first bytes; None where it is not an accepted one."""
    start = bytes(data[:_FILE_TYPE_BYTES])
    for signature, image_format in _SIGNATURES.items():
        if start.startswith(signature):
            return image_format
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return ImageFormat.WEBP
    if start[4:8] == b"ftyp" and not _AVIF_BRANDS.isdisjoint(_brands(start)):
        return ImageFormat.AVIF
    return None


def _brands(start: bytes) -> list[bytes]:
    """Return the major and the compatible brands of a box ``ftyp`` (ISO/IEC 14496-12)."""
    end = int.from_bytes(start[:4], "big")
    return [start[8:12], *(start[index : index + 4] for index in range(16, min(end, len(start)), 4))]


def read_header(data: bytes | memoryview) -> Header:
    """Read format, size and kind without decoding.

    Args:
        data: A whole image file.

    Raises:
        UnsupportedFormatError: Not one of the accepted formats.
        UnreadableImageError: The header is missing, cut off, contradicts itself or declares no pixels.
    """
    view = memoryview(data).cast("B")
    image_format = sniff(view)
    if image_format is None:
        if not view:
            raise UnreadableImageError("the image is empty: 0 bytes")
        accepted = ", ".join(item.upper() for item in ImageFormat)
        raise UnsupportedFormatError(f"the image is in none of the accepted formats: {accepted}")
    try:
        header = _READERS[image_format](view)
    except (struct.error, IndexError, OverflowError) as error:  # an offset that leads out of the data
        raise UnreadableImageError(f"{image_format.upper()}: the file ends within its header") from error
    if header.width <= 0 or header.height <= 0:
        raise UnreadableImageError(f"{image_format.upper()}: a size of {header.width} x {header.height} pixels")
    return header
