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
from typing import TypeAlias

import cv2
import numpy as np
from cv2.typing import MatLike
from PIL import GifImagePlugin, Image, ImageCms, TiffImagePlugin, _avif

from vision.composite import UINT8_MAX, composite
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

Color: TypeAlias = tuple[int, int, int]  # RGB, 0..255

_STANDARD_ERROR = 2
_CHUNK_BYTES = 1 << 16
_OUT_OF_MEMORY, _BEYOND_LIMITS = "Memory allocation error", "Security limit"  # of libheif
_DAMAGED = "{}: the image is truncated, corrupt, or of an unsupported kind"
_BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _COLOR_MAP = 258, 259, 262, 274, 277, 320
_PARTS = ((273, 279), (324, 325))  # offsets and lengths of strips, and of tiles
_DEFLATE, _FAX, _JPEG = frozenset({8, 32946}), frozenset({2, 3, 4}), 7
_WEBP = 50001
_UINT16_MAX = 65535
_MAX_PIXEL_BYTES = 16  # beyond which a part of an image is not read
_DAMAGE = re.compile(rb"Fax\w+: (?:Bad|Premature|Uncompressed)|JPEGLib: (?:Corrupt|Premature)")
# Said of values that mean nothing for the pixels, or for which there is a default.
_REMARK = re.compile(
    rb'_TIFFVSetField: tempfile\.tif: Bad value [0-9]{1,10} for "(?:Orientation|ResolutionUnit)" tag\.\n'
)
_WHITE_IS_ZERO, _RGB_SAMPLES = 0, 3
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


def decode(data: bytes | memoryview, header: Header, background: Color) -> MatLike:
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
        return _DECODERS[header.format](data, header, background)
    except (MemoryError, ImageError):
        raise
    except Exception as error:  # Pillow raises errors of many types
        if _BEYOND_LIMITS in str(error):
            reason = "HEIC: the image is cropped by too much, or beyond the limits of the decoder"
            raise UnreadableImageError(reason) from error
        if _OUT_OF_MEMORY in str(error):
            raise MemoryError from error
        raise UnreadableImageError(_DAMAGED.format(header.format.upper())) from error


def _check_size(size: Size, header: Header) -> None:
    """Refuse an image of another size than the header's; libheif crops and turns."""
    declared = {(header.width, header.height), *header.inner_sizes}
    is_smaller = size[0] * size[1] <= max(width * height for width, height in declared)
    if not (is_smaller if header.format is ImageFormat.HEIC else size in declared):
        raise UnreadableImageError(f"{header.format.upper()}: the image does not have the size in its header")


def _to_rgb(image: Image.Image, background: Color) -> MatLike:
    """Convert an image of any mode of 8 bits to uint8 RGB."""
    if image.mode in {"La", "RGBa"}:
        image = image.convert(image.mode.upper())
    if image.has_transparency_data:
        rgba = np.asarray(image if image.mode == "RGBA" else image.convert("RGBA"))
        return composite(rgba[..., :3], rgba[..., 3], background)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _decode_gif(data: bytes | memoryview, header: Header, background: Color) -> MatLike:
    """Decode the first frame; what it leaves free of the canvas is transparent, as in browsers."""
    image = GifImagePlugin.GifImageFile(io.BytesIO(data))
    _check_size(image.size, header)
    image.load()
    left, top, right, bottom = frame = image.dispose_extent or (0, 0, *image.size)
    canvas = np.full((header.height, header.width, 3), background, np.uint8)
    canvas[top:bottom, left:right] = _to_rgb(image.crop(frame), background)
    return canvas


def _decode_avif(data: bytes | memoryview, header: Header, background: Color) -> MatLike:
    """Decode the primary image or the first frame, without metadata: libavif refuses an image of damaged EXIF."""
    decoder = _avif.AvifDecoder(_METADATA_ITEM.sub(_NO_ITEM, bytes(data)), "auto", 1)
    size, _, mode, *_ = decoder.get_info()
    _check_size(size, header)
    pixels, *_ = decoder.get_frame(0)
    del decoder  # frees its frames
    return _from_samples(pixels, mode, size, background)


def _decode_heic(data: bytes | memoryview, header: Header, background: Color) -> MatLike:
    file = pi_heif.open_heif(io.BytesIO(data))
    image = file[file.primary_index]
    _check_size(image.size, header)
    return _from_samples(np.asarray(_HeifSamples(image)), image.mode, image.size, background)


class _HeifSamples:
    """The samples of an image of pi-heif, whose memory ends with it, for `numpy.asarray`, which keeps this object."""

    def __init__(self, image: "pi_heif.HeifFile | pi_heif.HeifImage") -> None:
        self._image = image
        self.__array_interface__ = np.frombuffer(image.data, np.uint8).__array_interface__


def _from_samples(samples: bytes | MatLike, mode: str, size: Size, background: Color) -> MatLike:
    """Convert samples to RGB; the usual ones without Pillow, which would hold three copies of them."""
    if mode == "I;16":
        gray = np.frombuffer(samples, np.uint16).reshape(size[1], size[0])
        return cv2.cvtColor(cv2.convertScaleAbs(gray, alpha=UINT8_MAX / _UINT16_MAX), cv2.COLOR_GRAY2RGB)
    if mode not in {"L", "RGB", "RGBA"}:
        return _to_rgb(Image.frombytes(mode, size, samples), background)
    pixels = np.frombuffer(samples, np.uint8).reshape(size[1], size[0], len(mode))
    if mode == "L":
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    return composite(pixels[..., :3], pixels[..., 3], background) if mode == "RGBA" else pixels


class _Tiff(TiffImagePlugin.TiffImageFile):
    """A TIFF that Pillow does not turn, and whose EXIF it does not read."""

    def _setup(self) -> None:
        tags = self.tag_v2
        tags.pop(_ORIENTATION, None)
        compression = tags.get(_COMPRESSION, 1)
        if compression not in TiffImagePlugin.COMPRESSION_INFO or compression == _WEBP:  # libtiff is built without it
            number = f", number {compression}," if isinstance(compression, int) else ""
            raise UnreadableImageError(f"TIFF: its compression{number} is not supported")
        if _PHOTOMETRIC not in tags:  # as libtiff guesses
            is_gray = tags.get(_SAMPLES, 1) < _RGB_SAMPLES
            tags[_PHOTOMETRIC] = (_WHITE_IS_ZERO if compression in _FAX else 1) if is_gray else 2
        super()._setup()

    def load_end(self) -> None:
        """Leave out what Pillow reads of EXIF, which may be damaged."""


def _open_tiff(data: bytes | memoryview) -> _Tiff:
    if data[:4] != _BIG_TIFF:
        return _Tiff(io.BytesIO(data))
    image = _Tiff(io.BytesIO(_BIG_TIFF_OF_PILLOW + bytes(data[4:])))
    image.fp = io.BytesIO(data)  # for libtiff
    return image


def _decode_tiff(data: bytes | memoryview, header: Header, background: Color) -> MatLike:
    image = _open_tiff(data)
    _check_size(image.size, header)
    tags = image.tag_v2
    compression = tags.get(_COMPRESSION)
    if compression in _DEFLATE:
        _check_deflate(tags, data, max_bytes=image.width * image.height * _MAX_PIXEL_BYTES)
    _take_messages()
    image.load()
    if _REMARK.sub(b"", _take_messages()):  # an error that did not stop libtiff
        raise UnreadableImageError(_DAMAGED.format("TIFF"))
    if compression in {*_FAX, _JPEG}:
        _check_warnings(data)
    if image.mode.startswith("I;16"):
        most = (1 << tags[_BITS][0]) - 1
        gray = cv2.convertScaleAbs(np.asarray(image).astype(np.uint16), alpha=UINT8_MAX / most)  # rounds
        if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            gray = cv2.bitwise_not(gray)
        return cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)
    if image.mode in {"I", "F"}:
        raise UnreadableImageError("TIFF: samples of more than 16 bits are not supported")
    if image.mode in {"P", "PA"} and max(tags[_COLOR_MAP]) <= UINT8_MAX:  # of old programs
        image.putpalette(bytes(tags[_COLOR_MAP]), "RGB;L")
    return _to_rgb(image, background)


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
    with suppress(cv2.error):  # Pillow has decoded it
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    cv2.utils.logging.setLogLevel(level)
    if _DAMAGE.search(_take_messages()):
        raise UnreadableImageError(_DAMAGED.format("TIFF"))


_DECODERS: Mapping[ImageFormat, Callable[[bytes | memoryview, Header, Color], MatLike]] = {
    ImageFormat.TIFF: _decode_tiff,
    ImageFormat.GIF: _decode_gif,
    ImageFormat.AVIF: _decode_avif,
    ImageFormat.HEIC: _decode_heic,
}
