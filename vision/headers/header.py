"""What the first look into an image file tells."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

Size: TypeAlias = tuple[int, int]  # width, height


class ImageFormat(StrEnum):
    """The file formats that are accepted."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    GIF = "gif"
    BMP = "bmp"
    AVIF = "avif"
    TIFF = "tiff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Size of a picture and how OpenCV has to be asked for it.

    Attributes:
        format: File format.
        width: Columns of the picture as stored, before any orientation is applied.
        height: Rows of the picture as stored.
        parts: Sizes of frames and tiles inside, which a decoder allocates beside the picture.
        still: A file with the first frame alone, to be decoded in place of an animation.
        unchanged: Decode with ``IMREAD_UNCHANGED``, which alone keeps transparency and 16 bits.
        sample_max: Value of a fully lit sample where the decoded samples are 16-bit integers.
        premultiplied: Decoded colours are already multiplied by alpha.
        transparent_gray: The decoded gray that stands for transparency, which OpenCV does not tell.
        orientation: EXIF orientation, 1..8, that the container itself declares and OpenCV does not apply.
    """

    format: ImageFormat
    width: int
    height: int
    parts: tuple[Size, ...] = ()
    still: bytes | None = field(default=None, repr=False)
    unchanged: bool = True
    sample_max: int = 65535
    premultiplied: bool = False
    transparent_gray: int | None = None
    orientation: int = 1
