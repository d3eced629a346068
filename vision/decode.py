"""Image file -> uint8[H, W, 3] RGB, upright, within a pixel limit.

Training and serving decode in the same way:

- **Formats** are detected by the first bytes, and only accepted formats reach a decoder: OpenCV for JPEG, PNG, WebP and
  BMP, and `vision.pillow_decoder` for TIFF, GIF, AVIF and HEIC. The first frame of an animation is decoded.
- **Size** is read by `vision.headers` and checked against the limit before a decoder allocates anything.
- **Damage**: a truncated file is rejected in all formats. A complete JPEG with damaged data inside is decoded as far
  as libjpeg repairs it, which cannot be detected.
- **Orientation**: EXIF's in JPEG, PNG and WebP, the tag in TIFF, ``irot`` and ``imir`` in AVIF and HEIC (whose EXIF is
  ignored, ISO/IEC 23000-22).
- **Transparency** is composited onto a background colour, and so is what the first frame of an animation leaves free.
  OpenCV would show the colours hidden below it.
- **16 bits** become 8 by rounding: 65535 is 255. Only TIFFs in colour lose the low byte, which is at most 1 less.
- **CMYK** JPEGs are read as Adobe's inverted ones, and no colour profile is applied.
"""

import functools
import importlib.util
import math
import struct
from collections.abc import Callable, Mapping

import cv2
import numpy as np
import numpy.typing as npt
from cv2.typing import MatLike

from vision.composite import UINT8_MAX, composite
from vision.errors import (
    ImageError,
    OutOfMemoryError,
    TooManyPixelsError,
    UnreadableImageError,
    UnsupportedFormatError,
)
from vision.headers import bmp, gif, heif, jpeg, png, tiff, webp
from vision.headers.header import BitFields, Crop, Header, ImageFormat

__all__ = [
    "Header",
    "ImageError",
    "ImageFormat",
    "OutOfMemoryError",
    "TooManyPixelsError",
    "UnreadableImageError",
    "UnsupportedFormatError",
    "accepted_formats",
    "decode",
    "decoded_size",
    "inspect",
    "peak_bytes",
    "read_header",
    "sniff",
]

UINT16_MAX = 65535

_READERS: Mapping[ImageFormat, Callable[[memoryview], Header]] = {
    ImageFormat.JPEG: jpeg.read,
    ImageFormat.PNG: png.read,
    ImageFormat.WEBP: webp.read,
    ImageFormat.GIF: gif.read,
    ImageFormat.BMP: bmp.read,
    ImageFormat.AVIF: heif.read_avif,
    ImageFormat.HEIC: heif.read_heic,
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
_FILE_TYPE_BYTES = 512  # the part of an AVIF or HEIC file that is searched for brands
_BRANDS: Mapping[ImageFormat, frozenset[bytes]] = {  # an AVIF may call itself a HEIF (`mif1`, `msf1`) too
    ImageFormat.AVIF: frozenset({b"avif", b"avis"}),
    ImageFormat.HEIC: frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"mif2", b"msf1"}),
}
_BY_PILLOW = frozenset({ImageFormat.TIFF, ImageFormat.GIF, ImageFormat.AVIF, ImageFormat.HEIC})
_HEIC_DECODER = "pi_heif"
_HEIC_REFUSAL = (
    "This is HEIC, as iPhones take photos, which this server does not decode. Send a JPEG: on an iPhone, choose "
    "Settings > Camera > Formats > Most Compatible, or export the photo as JPEG. Operators: install the extra `heif`."
)

# libjpeg can leave out high frequencies and decode to a half, a quarter or an eighth, rounded up, in less time.
# OpenCV's flags for gray only set the scale; the flags for colour contradict IMREAD_COLOR_RGB.
_REDUCED = {
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    1: 0,
}
_DAMAGED = "{}: the image is truncated, corrupt, or of an unsupported kind"
_OUT_OF_MEMORY = "there was not enough memory to decode the image"
_MASK_BITS = 16  # the highest of a channel that are read
_GRAY_DIMENSIONS = 2
_BGRA_CHANNELS = 4
# The operation that makes an image of each EXIF orientation upright (EXIF 2.32, table 6).
_TURNS: Mapping[int, Callable[[MatLike], MatLike]] = {
    1: lambda image: image,
    2: lambda image: cv2.flip(image, 1),
    3: lambda image: cv2.rotate(image, cv2.ROTATE_180),
    4: lambda image: cv2.flip(image, 0),
    5: cv2.transpose,
    6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.rotate(cv2.transpose(image), cv2.ROTATE_180),
    8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


def sniff(data: bytes | memoryview) -> ImageFormat | None:
    """Detect the format by the first bytes; None if it is not an accepted one."""
    start = bytes(data[:_FILE_TYPE_BYTES])
    for signature, image_format in _SIGNATURES.items():
        if start.startswith(signature):
            return image_format
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return ImageFormat.WEBP
    if start[4:8] == b"ftyp":
        brands = _brands(start)
        return next((image_format for image_format, known in _BRANDS.items() if not known.isdisjoint(brands)), None)
    return None


def accepted_formats() -> list[ImageFormat]:
    """Return the formats that this installation decodes; HEIC needs the extra `heif`."""
    return [image_format for image_format in ImageFormat if image_format is not ImageFormat.HEIC or _decodes_heic()]


@functools.cache
def _decodes_heic() -> bool:
    return importlib.util.find_spec(_HEIC_DECODER) is not None


def _brands(start: bytes) -> list[bytes]:
    """Return the major and the compatible brands of a box ``ftyp`` (ISO/IEC 14496-12)."""
    end = int.from_bytes(start[:4], "big")
    return [start[8:12], *(start[index : index + 4] for index in range(16, min(end, len(start)), 4))]


def _accepted_format(data: memoryview) -> ImageFormat:
    image_format = sniff(data)
    if image_format is None:
        accepted = ", ".join(item.upper() for item in accepted_formats())
        raise UnsupportedFormatError(f"the image is in none of the accepted formats: {accepted}")
    if image_format is ImageFormat.HEIC and not _decodes_heic():
        raise UnsupportedFormatError(_HEIC_REFUSAL, kind="HEIC, as iPhones take photos")
    return image_format


def read_header(data: bytes | memoryview) -> Header:
    """Read format, size and kind without decoding.

    Args:
        data: A whole image file.

    Raises:
        UnsupportedFormatError: The format is not an accepted one.
        UnreadableImageError: The header is missing, cut off, contradicts itself or declares no pixels.
        OutOfMemoryError: There was not enough memory.
    """
    view = memoryview(data).cast("B")
    if not view:
        raise UnreadableImageError("the image is empty: 0 bytes")
    image_format = _accepted_format(view)
    try:
        header = _READERS[image_format](view)
    except ImageError:
        raise
    except (struct.error, IndexError, OverflowError) as error:  # an offset outside the data
        raise UnreadableImageError(f"{image_format.upper()}: the file ends within its header") from error
    except MemoryError as error:
        raise OutOfMemoryError(_OUT_OF_MEMORY) from error
    except Exception as error:  # a parser that fails on a file reports the file as unreadable
        raise UnreadableImageError(f"{image_format.upper()}: the header is invalid") from error
    if header.width <= 0 or header.height <= 0:
        raise UnreadableImageError(
            f"{image_format.upper()}: a size of {header.width} x {header.height} pixels is invalid"
        )
    return header


def inspect(data: bytes | memoryview, *, max_pixels: int) -> Header:
    """Read the header and check the size of everything that a decoder would allocate.

    Args:
        data: A whole image file.
        max_pixels: Largest number of pixels, width times height, that the file may declare.

    Raises:
        UnsupportedFormatError: The format is not an accepted one.
        TooManyPixelsError: The file declares more than `max_pixels`.
        UnreadableImageError: The header is missing, cut off, contradicts itself or declares no pixels.
        OutOfMemoryError: There was not enough memory.
    """
    header = read_header(data)
    for width, height in ((header.width, header.height), *header.inner_sizes):
        if width * height > max_pixels:
            raise TooManyPixelsError(width, height, max_pixels)
    return header


def decode(
    data: bytes | memoryview,
    *,
    max_pixels: int,
    background: tuple[int, int, int] = (255, 255, 255),
    cover: tuple[int, int] | None = None,
    header: Header | None = None,
) -> npt.NDArray[np.uint8]:
    """Decode an image file.

    Args:
        data: The whole file.
        max_pixels: Largest number of pixels, width times height, that the file may declare.
        background: RGB, 0..255, onto which transparent pixels are composited.
        cover: A size (height, width) that the result need not exceed. A JPEG is then decoded at a half, a quarter
            or an eighth of its size if that is still at least as large as `cover` in either orientation. Other
            formats are decoded at full size. With None, so is a JPEG.
        header: What `inspect` returned for `data`, if it was called before.

    Returns:
        uint8[H, W, 3], RGB, C-contiguous; perhaps not writeable.

    Raises:
        UnsupportedFormatError: The format is not an accepted one.
        TooManyPixelsError: The file declares more than `max_pixels`.
        UnreadableImageError: The file is empty, truncated, corrupt, or of an unsupported kind.
        OutOfMemoryError: There was not enough memory.
    """
    header = header or inspect(data, max_pixels=max_pixels)
    encoded = data if header.still is None else header.still
    damage = UnreadableImageError(_DAMAGED.format(header.format.upper()))
    try:
        if header.format in _BY_PILLOW:
            from vision import pillow_decoder  # noqa: PLC0415  # no process that decodes plain images only needs it

            image: MatLike | None = pillow_decoder.decode(encoded, header, background)
        else:
            image = _decode_with_opencv(encoded, header, background, cover)
        if image is None or image.dtype != np.uint8:
            raise damage
        return _TURNS[header.orientation](_arrange(image, header, background)).astype(np.uint8, copy=False)
    except MemoryError as error:
        raise OutOfMemoryError(_OUT_OF_MEMORY) from error
    except cv2.error as error:
        if error.code == cv2.Error.STS_NO_MEM:
            raise OutOfMemoryError(_OUT_OF_MEMORY) from error
        raise damage from error


def peak_bytes(header: Header, *, cover: tuple[int, int] | None) -> int:
    """Return an upper bound of the memory that decoding at a size that covers `cover` takes; see `decode`."""
    return header.peak_bytes - header.scaled_bytes + math.ceil(header.scaled_bytes / _reduction(header, cover) ** 2)


def decoded_size(header: Header, cover: tuple[int, int] | None) -> tuple[int, int]:
    """Return width and height, as stored, at which a file is decoded; see `decode`."""
    reduction = _reduction(header, cover)
    return -(-header.width // reduction), -(-header.height // reduction)  # libjpeg rounds up


def _reduction(header: Header, cover: tuple[int, int] | None) -> int:
    """Return the divisor of both sides at which a JPEG still covers `cover`; 1 for full size."""
    if cover is None or header.format is not ImageFormat.JPEG:
        return 1
    shorter, longer = min(header.width, header.height), max(cover)
    return next((divisor for divisor in _REDUCED if -(-shorter // divisor) >= longer), 1)  # libjpeg rounds up


def _decode_with_opencv(
    data: bytes | memoryview, header: Header, background: tuple[int, int, int], cover: tuple[int, int] | None
) -> MatLike | None:
    """Decode to RGB, neither placed nor turned; None if OpenCV fails."""
    if header.bit_fields is not None:
        bgra = _read_bit_fields(data, header.width, header.height, header.bit_fields)
        if header.bit_fields.masks[3]:
            return composite(bgra[..., 2::-1], bgra[..., 3], background)
        return cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGB)
    encoded = np.frombuffer(data, np.uint8)
    if header.unchanged:
        image = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
        return None if image is None else _to_rgb(image, header, background)
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.imdecode(encoded, flags | _REDUCED[_reduction(header, cover)])


def _arrange(image: MatLike, header: Header, background: tuple[int, int, int]) -> MatLike:
    """Place a frame on its canvas, or crop an image, as its header says."""
    if header.frame is not None:
        canvas = np.full((header.height, header.width, 3), background, np.uint8)
        canvas[_rows_and_columns(header.frame)] = image
        return canvas
    return image if header.crop is None else np.ascontiguousarray(image[_rows_and_columns(header.crop)])


def _rows_and_columns(crop: Crop) -> tuple[slice, slice]:
    return slice(crop.top, crop.bottom), slice(crop.left, crop.right)


def _read_bit_fields(data: bytes | memoryview, width: int, height: int, fields: BitFields) -> MatLike:
    """Read the pixels of a BMP by their masks: uint8[H, W, 4] BGRA."""
    row_pixels = -(-width * fields.bits // 32) * 32 // fields.bits
    if len(data) < fields.offset + row_pixels * height * fields.bits // 8:
        raise UnreadableImageError("BMP: the file is truncated")
    kind = np.dtype(f"<u{fields.bits // 8}")
    pixels = np.frombuffer(data, kind, row_pixels * height, fields.offset).reshape(height, row_pixels)[:, :width]
    if not fields.is_top_down:
        pixels = pixels[::-1]
    bgra = np.full((height, width, 4), UINT8_MAX, np.uint8)
    for channel, mask in zip((2, 1, 0, 3), fields.masks, strict=True):
        if mask:
            shift = max((mask & -mask).bit_length() - 1, mask.bit_length() - _MASK_BITS)
            most = mask >> shift
            values = np.right_shift(pixels & kind.type(mask), shift)
            levels = (np.arange(most + 1, dtype=np.uint32) * UINT8_MAX + most // 2) // most
            bgra[..., channel] = values if most == UINT8_MAX else levels.astype(np.uint8)[values]
    return bgra


def _to_rgb(image: MatLike, header: Header, background: tuple[int, int, int]) -> MatLike:
    """Convert gray, BGR or BGRA of 8 or 16 bits to uint8 RGB."""
    samples = image
    if image.dtype == np.uint16:
        samples = cv2.convertScaleAbs(image, alpha=UINT8_MAX / UINT16_MAX)  # rounds
    if image.ndim == _GRAY_DIMENSIONS:
        rgb = cv2.cvtColor(samples, cv2.COLOR_GRAY2RGB)
        if header.transparent_gray is not None:
            np.copyto(rgb, np.array(background, np.uint8), where=(image == header.transparent_gray)[..., None])
        return rgb
    if image.shape[2] == _BGRA_CHANNELS:
        return composite(samples[..., 2::-1], samples[..., 3], background)
    return cv2.cvtColor(samples, cv2.COLOR_BGR2RGB)
