"""Decode TIFF, GIF, AVIF and HEIC with Pillow: libtiff, libavif with dav1d, and libheif with libde265.

Only decoder processes import this module, and what decodes without them. It loads everything that the decoders need,
since no file can be opened once such a process has shut itself off.
"""

import io
import os
import queue
import re
import threading
import warnings
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress

import cv2
import numpy as np
from cv2.typing import MatLike
from PIL import GifImagePlugin, Image, ImageCms, TiffImagePlugin, _avif

from vision.errors import ImageError, UnreadableImageError
from vision.headers.header import Header, ImageFormat, Size

with suppress(ImportError):
    import pi_heif
    from pi_heif import options as heif_options

    heif_options.DECODE_THREADS = 1
    heif_options.THUMBNAILS = heif_options.DEPTH_IMAGES = heif_options.AUX_IMAGES = False

__all__ = ["capture_messages", "decode"]

warnings.simplefilter("ignore", category=UserWarning)  # Pillow's remarks about a file
Image.MAX_IMAGE_PIXELS = None  # the size has been checked
# libtiff reads uncompressed images too: Pillow's own reader takes separate planes of 16 bits for such of 8.
TiffImagePlugin.READ_LIBTIFF = True
_BIG_TIFF, _BIG_TIFF_OF_PILLOW = b"MM\0+", b"MM+\0"  # big-endian: Pillow looks for the version in the third byte
TiffImagePlugin.PREFIXES.append(_BIG_TIFF_OF_PILLOW)
# Gray of 12 and 16 bits, which Pillow's table only has for one byte order or one photometric interpretation.
for _order, _photometric, _bits, _modes in (
    (b"MM", 0, 16, ("I;16B", "I;16B")),
    (b"MM", 1, 12, ("I;16", "I;12")),
):
    TiffImagePlugin.OPEN_INFO.setdefault((_order, _photometric, (1,), 1, (_bits,), ()), _modes)
_LOADED = (ImageCms,)  # Pillow imports it when it converts Lab

_STANDARD_ERROR = 2
_UINT8_MAX = 255
_CHUNK_BYTES = 1 << 16
_DAMAGED = "{}: the image is truncated, corrupt, or of an unsupported kind"
_ORIENTATION, _BITS, _PHOTOMETRIC, _COMPRESSION, _COLOR_MAP = 274, 258, 262, 259, 320
_PARTS = ((273, 279), (324, 325))  # offsets and lengths of strips, and of tiles
_DEFLATE, _WITH_WARNINGS = frozenset({8, 32946}), frozenset({2, 3, 4, 7})  # the latter are those of fax, and JPEG
_MAX_PIXEL_BYTES = 16  # beyond which a part of an image is not read
_DAMAGE = re.compile(rb"Fax\w+: (?:Bad|Premature|Uncompressed)|JPEGLib: (?:Corrupt|Premature)")
_WHITE_IS_ZERO = 0
# The entry of an item: its version and flags, its number, and its type. No reader knows the type `skip`.
_METADATA_ITEM = re.compile(rb"(infe[\2\3]\0\0[\0\1].{4,6})(?:Exif|mime)", re.DOTALL)
_NO_ITEM = rb"\1skip"

_is_captured = threading.Event()
_messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
_END_OF_MESSAGES = os.urandom(16)  # which no file can contain


def capture_messages() -> None:
    """Read what is written to the standard error of this process from now on, where libtiff complains about damage.

    It reports some kinds of damage in no other way. Without this, such images are decoded as far as possible.
    """
    reader, writer = os.pipe()
    os.dup2(writer, _STANDARD_ERROR)
    os.close(writer)
    threading.Thread(target=_read_messages, args=(reader,), daemon=True).start()
    _is_captured.set()


def _read_messages(reader: int) -> None:
    last = b""
    while chunk := os.read(reader, _CHUNK_BYTES):
        last = (last + chunk)[-_CHUNK_BYTES:]
        if last.endswith(_END_OF_MESSAGES):
            _messages.put(last.removesuffix(_END_OF_MESSAGES))
            last = b""


def _take_messages() -> bytes:
    """Return the last of what has been written to the standard error since the last call, if it is captured."""
    if not _is_captured.is_set():
        return b""
    os.write(_STANDARD_ERROR, _END_OF_MESSAGES)
    return _messages.get()


def decode(data: bytes | memoryview, header: Header, background: tuple[int, int, int]) -> MatLike:
    """Decode an image file, neither cropped nor turned by its header.

    Args:
        data: The whole file.
        header: Its header.
        background: RGB, 0..255, onto which transparent pixels are composited.

    Returns:
        uint8[H, W, 3], RGB.

    Raises:
        UnreadableImageError: The file is truncated, corrupt, of an unsupported kind, or not of the declared size.
        MemoryError: There was not enough memory.
    """
    try:
        image = _OPENERS[header.format](data)
        _check_size(image.size, header)
        return _LOADERS.get(header.format, _load)(image, data, background)
    except (MemoryError, ImageError):
        raise
    except Exception as error:  # Pillow raises errors of many types
        raise UnreadableImageError(_DAMAGED.format(header.format.upper())) from error


def _check_size(size: Size, header: Header) -> None:
    """Refuse an image of another size than the header's; libheif crops and turns."""
    declared = {(header.width, header.height), *header.inner_sizes}
    is_smaller = size[0] * size[1] <= max(width * height for width, height in declared)
    if not (is_smaller if header.format is ImageFormat.HEIC else size in declared):
        raise UnreadableImageError(f"{header.format.upper()}: the image does not have the size in its header")


class _Tiff(TiffImagePlugin.TiffImageFile):
    """A TIFF that Pillow does not turn, and whose EXIF it does not read."""

    def _setup(self) -> None:
        self.tag_v2.pop(_ORIENTATION, None)
        super()._setup()

    def load_end(self) -> None:
        """Leave out what Pillow reads of EXIF, which may be damaged."""


def _open_tiff(data: bytes | memoryview) -> Image.Image:
    if data[:4] != _BIG_TIFF:
        return _Tiff(io.BytesIO(data))
    image = _Tiff(io.BytesIO(_BIG_TIFF_OF_PILLOW + bytes(data[4:])))
    image.fp = io.BytesIO(data)  # for libtiff
    return image


def _open_avif(data: bytes | memoryview) -> Image.Image:
    """Open an AVIF without its metadata: libavif refuses an image whose EXIF is damaged."""
    decoder = _avif.AvifDecoder(_METADATA_ITEM.sub(_NO_ITEM, bytes(data)), "auto", 1)
    size, _, mode, *_ = decoder.get_info()
    pixels, *_ = decoder.get_frame(0)
    return Image.frombytes(mode, size, pixels)


def _open_heic(data: bytes | memoryview) -> Image.Image:
    file = pi_heif.open_heif(io.BytesIO(data))
    primary = file[file.primary_index]
    return Image.frombytes(primary.mode, primary.size, primary.data, "raw", primary.mode, primary.stride)


_OPENERS: Mapping[ImageFormat, Callable[[bytes | memoryview], Image.Image]] = {
    ImageFormat.TIFF: _open_tiff,
    ImageFormat.GIF: lambda data: GifImagePlugin.GifImageFile(io.BytesIO(data)),
    ImageFormat.AVIF: _open_avif,
    ImageFormat.HEIC: _open_heic,
}


def _load(image: Image.Image, _: bytes | memoryview, background: tuple[int, int, int]) -> MatLike:
    if image.mode in {"La", "RGBa"}:
        image = image.convert(image.mode.upper())
    if not image.has_transparency_data:
        return np.array(image.convert("RGB"))
    return _place(image, (0, 0), image.size, background)


def _place(
    image: Image.Image, position: tuple[int, int], size: tuple[int, int], background: tuple[int, int, int]
) -> MatLike:
    """Composite an image onto a canvas of the background colour."""
    rgba = image.convert("RGBA")
    canvas = Image.new("RGB", size, background)
    canvas.paste(rgba, position, rgba)
    return np.array(canvas)


def _load_gif(image: Image.Image, _: bytes | memoryview, background: tuple[int, int, int]) -> MatLike:
    """Load the first frame; what it leaves free of the canvas is transparent, as in browsers."""
    assert isinstance(image, GifImagePlugin.GifImageFile)  # noqa: S101  # for the type checker
    image.load()
    frame = image.dispose_extent or (0, 0, *image.size)
    return _place(image.crop(frame), frame[:2], image.size, background)


def _load_tiff(image: Image.Image, data: bytes | memoryview, background: tuple[int, int, int]) -> MatLike:
    assert isinstance(image, TiffImagePlugin.TiffImageFile)  # noqa: S101  # for the type checker
    tags = image.tag_v2
    compression = tags.get(_COMPRESSION)
    if compression in _DEFLATE:
        _check_deflate(tags, data, max_bytes=image.width * image.height * _MAX_PIXEL_BYTES)
    _take_messages()
    image.load()
    if _take_messages():  # an error that did not stop libtiff
        raise UnreadableImageError(_DAMAGED.format("TIFF"))
    if compression in _WITH_WARNINGS:
        _check_warnings(data)
    if image.mode.startswith("I;16"):
        most = (1 << tags[_BITS][0]) - 1
        gray = cv2.convertScaleAbs(np.asarray(image).astype(np.uint16), alpha=_UINT8_MAX / most)  # rounds
        if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            gray = cv2.bitwise_not(gray)
        return cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)
    if image.mode in {"I", "F"}:
        raise UnreadableImageError("TIFF: samples of more than 16 bits are not supported")
    if image.mode in {"P", "PA"} and max(tags[_COLOR_MAP]) <= _UINT8_MAX:  # of old programs
        image.putpalette(bytes(tags[_COLOR_MAP]), "RGB;L")
    return _load(image, data, background)


def _check_deflate(tags: TiffImagePlugin.ImageFileDirectory_v2, data: bytes | memoryview, *, max_bytes: int) -> None:
    """Check the checksums of deflate, which libtiff does not."""
    view = memoryview(data)
    for offsets, lengths in _PARTS:
        for offset, length in zip(tags.get(offsets, ()), tags.get(lengths, ()), strict=False):
            _inflate(view[offset : offset + length], max_bytes)


def _inflate(part: memoryview, max_bytes: int) -> None:
    """Decompress the first bytes of a part of an image without keeping them.

    Raises:
        zlib.error: The data or their checksum are wrong. They may be cut off, which libtiff notices.
    """
    decompressor = zlib.decompressobj()
    pending: bytes | memoryview = part
    while pending and not decompressor.eof and max_bytes > 0:
        max_bytes -= len(decompressor.decompress(pending, _CHUNK_BYTES))
        pending = decompressor.unconsumed_tail


def _check_warnings(data: bytes | memoryview) -> None:
    """Check what libtiff warns of, which it does in OpenCV but not in Pillow: lines or JPEGs that end early.

    Raises:
        UnreadableImageError: There are such warnings.
    """
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_WARNING)
    cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    cv2.utils.logging.setLogLevel(level)
    if _DAMAGE.search(_take_messages()):
        raise UnreadableImageError(_DAMAGED.format("TIFF"))


_LOADERS: Mapping[ImageFormat, Callable[[Image.Image, bytes | memoryview, tuple[int, int, int]], MatLike]] = {
    ImageFormat.GIF: _load_gif,
    ImageFormat.TIFF: _load_tiff,
}
