"""The header of an image file: what is known about the image before decoding."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, TypeAlias

Size: TypeAlias = tuple[int, int]  # width, height


class Crop(NamedTuple):
    """Columns and rows of a rectangle; `right` and `bottom` are not part of it."""

    left: int
    top: int
    right: int
    bottom: int


class BitFields(NamedTuple):
    """How a BMP stores the colours of a pixel within a number of 16 or 32 bits.

    Attributes:
        offset: Where the rows begin, each of which takes a multiple of four bytes.
        bits: Bits of a pixel.
        masks: Bits of red, green, blue and alpha, each of them one run; 0 for no alpha.
        is_top_down: Whether the first row is the topmost one.
    """

    offset: int
    bits: int
    masks: tuple[int, int, int, int]
    is_top_down: bool


class ImageFormat(StrEnum):
    """The accepted file formats."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    GIF = "gif"
    BMP = "bmp"
    AVIF = "avif"
    HEIC = "heic"
    TIFF = "tiff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Size of an image, and how it must be decoded.

    Attributes:
        format: File format.
        width: Columns of the image as stored, before any orientation is applied.
        height: Rows of the image as stored.
        inner_sizes: Sizes of frames and tiles in the file, which a decoder allocates beside the image.
        still: The file without frames and metadata that its decoder should not read, to decode instead; None to decode
            the file itself.
        unchanged: Decode with ``IMREAD_UNCHANGED``, the only mode of OpenCV that preserves transparency and 16 bits.
        transparent_gray: Decoded gray value that means transparent, which OpenCV does not report.
        frame: Where `still` lies on the image, if it covers only a part; the rest is transparent.
        bit_fields: How the pixels of a BMP are stored, if OpenCV would read them incorrectly.
        crop: The part of the decoded image to show; None for all of it.
        orientation: EXIF orientation, 1..8, to be applied to the decoded image.
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
    transparent_gray: int | None = None
    frame: Crop | None = None
    bit_fields: BitFields | None = None
    crop: Crop | None = None
    orientation: int = 1
    peak_bytes: int
    scaled_bytes: int = 0
    is_plain: bool = False
