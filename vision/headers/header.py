"""The header of an image file: what is known about the image before decoding."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

Size: TypeAlias = tuple[int, int]  # width, height


class ImageFormat(StrEnum):
    """The accepted file formats."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    GIF = "gif"
    BMP = "bmp"
    AVIF = "avif"
    TIFF = "tiff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Size of an image, and how OpenCV must decode it.

    Attributes:
        format: File format.
        width: Columns of the image as stored, before any orientation is applied.
        height: Rows of the image as stored.
        inner_sizes: Sizes of frames and tiles in the file, which a decoder allocates beside the image.
        still: The file without frames and metadata that OpenCV should not read, to decode instead; None to decode the
            file itself.
        unchanged: Decode with ``IMREAD_UNCHANGED``, the only mode that preserves transparency and 16 bits.
        sample_max: Largest value of a sample if the decoded samples are 16-bit integers.
        premultiplied: Whether decoded colours are already multiplied by alpha.
        transparent_gray: Decoded gray value that means transparent, which OpenCV does not report.
        orientation: EXIF orientation, 1..8, declared by the container and not applied by OpenCV.
        peak_bytes: Upper bound of the memory that decoding at full size takes; see `vision.preprocess.weigh`.
        scaled_bytes: The part of `peak_bytes` that shrinks with the pixels if a JPEG is decoded at a smaller size.
        is_plain: Whether decoding is known to be cheap, so that it needs no process of its own: an ordinary file of a
            common kind, without anything that a decoder could be made to waste time or memory on.
    """

    format: ImageFormat
    width: int
    height: int
    inner_sizes: tuple[Size, ...] = ()
    still: bytes | None = field(default=None, repr=False)
    unchanged: bool = True
    sample_max: int = 65535
    premultiplied: bool = False
    transparent_gray: int | None = None
    orientation: int = 1
    peak_bytes: int
    scaled_bytes: int = 0
    is_plain: bool = False
