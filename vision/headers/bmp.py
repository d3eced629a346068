"""BMP: core and info headers (Microsoft, "Bitmap Storage")."""

import struct

from vision.errors import UnreadableImageError
from vision.headers import memory
from vision.headers.header import BitFields, Header, ImageFormat

_PIXELS = 10  # where the offset of the pixels stands
_HEADER = 14  # after the file header
_COMPRESSION = _HEADER + 16
_CORE_HEADER_BYTES = 12
_INFO_HEADER_BYTES = 40
_MASKS = _HEADER + _INFO_HEADER_BYTES  # behind the info header, or within a larger one
_V3_HEADER_BYTES, _V4_HEADER_BYTES = 56, 108  # the first with a mask for alpha, and the first of Windows with one
_V5_HEADER_BYTES = 124  # the largest
_UNCOMPRESSED, _BIT_FIELDS, _ALPHA_BIT_FIELDS = 0, 3, 6
_BITS_WITHOUT_ALPHA, _HIGHEST_BYTE = 16, 0xFF000000
_DEFAULT_MASKS = {16: (0x7C00, 0x03E0, 0x001F), 32: (0xFF0000, 0x00FF00, 0x0000FF)}


def read(data: memoryview) -> Header:
    """Read the size from the header; a negative height means that rows are stored from the top down.

    Raises:
        UnreadableImageError: The header is larger than any kind, or the masks overlap or are not one run of bits each.
        struct.error: The data ends within a header.
    """
    (header_bytes,) = struct.unpack_from("<I", data, _HEADER)
    if header_bytes == _CORE_HEADER_BYTES:
        width, height = struct.unpack_from("<HH", data, _HEADER + 4)
        return _header(width, height, None)
    if header_bytes > _V5_HEADER_BYTES:
        raise UnreadableImageError(f"BMP: a header of {header_bytes} bytes is not supported")
    width, height, bits = struct.unpack_from("<iixxH", data, _HEADER + 4)
    bit_fields, compression = None, _UNCOMPRESSED
    if header_bytes >= _INFO_HEADER_BYTES:
        (compression,) = struct.unpack_from("<I", data, _COMPRESSION)
    if bits in _DEFAULT_MASKS and compression in {_UNCOMPRESSED, _BIT_FIELDS, _ALPHA_BIT_FIELDS}:
        bit_fields = _bit_fields(data, header_bytes, bits, compression, is_top_down=height < 0)
    return _header(width, abs(height), bit_fields)


def _bit_fields(data: memoryview, header_bytes: int, bits: int, compression: int, *, is_top_down: bool) -> BitFields:
    has_alpha_mask = header_bytes >= _V3_HEADER_BYTES or compression == _ALPHA_BIT_FIELDS
    (alpha,) = struct.unpack_from("<I", data, _MASKS + 12) if has_alpha_mask else (0,)
    if compression == _UNCOMPRESSED:  # browsers then take a mask of alpha for the highest byte
        is_alpha_used = alpha and bits > _BITS_WITHOUT_ALPHA and header_bytes >= _V4_HEADER_BYTES
        masks, alpha = _DEFAULT_MASKS[bits], _HIGHEST_BYTE if is_alpha_used else 0
    else:
        masks = struct.unpack_from("<III", data, _MASKS)
    if alpha >> bits:
        alpha = 0
    is_distinct = sum(masks) + alpha == masks[0] | masks[1] | masks[2] | alpha
    if not (
        is_distinct and all(_is_run(mask) and not mask >> bits for mask in masks) and (alpha == 0 or _is_run(alpha))
    ):
        raise UnreadableImageError("BMP: the masks of the colours are not supported")
    (offset,) = struct.unpack_from("<I", data, _PIXELS)
    return BitFields(offset, bits, (*masks, alpha), is_top_down)


def _is_run(mask: int) -> bool:
    run = mask >> ((mask & -mask).bit_length() - 1) if mask else 0
    return run > 0 and run & (run + 1) == 0


def _header(width: int, height: int, bit_fields: BitFields | None) -> Header:
    return Header(
        format=ImageFormat.BMP,
        width=width,
        height=height,
        unchanged=False,
        bit_fields=bit_fields,
        peak_bytes=memory.as_samples((width, height), channels=4, decoder_bytes=16 * width * abs(height)),
    )
