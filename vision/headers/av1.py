"""AV1: the largest frame size of a bitstream (AV1 Bitstream Specification 1.0.0, sections 5.3 and 5.5)."""

from collections.abc import Callable

from vision.errors import UnreadableImageError
from vision.headers.header import Size

MAX_SEQUENCE_HEADER_BYTES = 1_024  # 32 operating points of 13 bytes, and the same again for everything else
MAX_UVLC_ZEROS = 32

_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME, _REDUNDANT_FRAME_HEADER, _TILE_LIST = 1, 3, 6, 7, 8
_FRAMES = frozenset({_FRAME_HEADER, _FRAME, _REDUNDANT_FRAME_HEADER, _TILE_LIST})
_LEB128_BYTES = 8


def frame_sizes(stream: bytes, *, max_frames: int, count: Callable[[], None]) -> list[Size]:
    """Return the largest size of each frame in `stream`, as its sequence header declares it.

    A decoder also decodes frames that are not shown: 4,000 of them in a file of 888 kB took minutes.

    Args:
        stream: AV1 data.
        max_frames: How many frames a valid file contains.
        count: Called for each unit; it may raise an exception.

    Raises:
        UnreadableImageError: A length is invalid, the sequence header ends early, or there are two, or too many frames.
        IndexError: The stream ends within a unit's header.
    """
    sizes: list[Size] = []
    frames = position = 0
    while position < len(stream):
        count()
        header = stream[position]
        has_extension, has_size, kind = header >> 2 & 1, header >> 1 & 1, header >> 3 & 15
        position += 1 + has_extension
        length = len(stream) - position
        if has_size:
            length, position = _leb128(stream, position)
        if kind == _SEQUENCE_HEADER:
            payload = stream[position : position + min(length, MAX_SEQUENCE_HEADER_BYTES)]
            sizes.append(_sequence_size(_Bits(payload)))
        frames += kind in _FRAMES
        if frames > max_frames or len(sizes) > 1:
            raise UnreadableImageError("AVIF: a still image has more than one frame")
        position += length
    return sizes * max(1, frames)


def _leb128(stream: bytes, position: int) -> tuple[int, int]:
    """Decode a number of 7 bits per byte, lowest first; return it and the offset after it."""
    value = 0
    for index in range(_LEB128_BYTES):
        byte = stream[position + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:  # noqa: PLR2004  # the top bit is set if more bytes follow
            return value, position + index + 1
    raise UnreadableImageError("AVIF: a length in the AV1 data is invalid")


class _Bits:
    """Reader of big-endian bit fields."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._remaining = 8 * len(data)

    def take(self, count: int) -> int:
        self._remaining -= count
        if self._remaining < 0:
            raise UnreadableImageError("AVIF: an AV1 sequence header ends early")
        return self._value >> self._remaining & ((1 << count) - 1)


def _sequence_size(bits: _Bits) -> Size:
    """Read sequence_header_obu() up to the maximum frame size."""
    bits.take(4)  # seq_profile, still_picture
    if bits.take(1):  # reduced_still_picture_header
        bits.take(5)  # seq_level_idx
    else:
        delay_bits = _skip_timing(bits)
        _skip_operating_points(bits, delay_bits)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    width = bits.take(width_bits) + 1
    return width, bits.take(height_bits) + 1


def _skip_timing(bits: _Bits) -> int:
    """Skip timing_info() and decoder_model_info(); return the bits of a delay in the latter, 0 without it."""
    if not bits.take(1):  # timing_info_present_flag
        return 0
    bits.take(64)  # num_units_in_display_tick, time_scale
    if bits.take(1):  # equal_picture_interval
        leading_zeros = 0
        while not bits.take(1):
            leading_zeros += 1
            if leading_zeros == MAX_UVLC_ZEROS:  # the largest number (4.10.3)
                raise UnreadableImageError("AVIF: a number in an AV1 sequence header is invalid")
        bits.take(leading_zeros)  # num_ticks_per_picture_minus_1, uvlc()
    if not bits.take(1):  # decoder_model_info_present_flag
        return 0
    delay_bits = bits.take(5) + 1
    bits.take(42)  # num_units_in_decoding_tick and two more lengths
    return delay_bits


def _skip_operating_points(bits: _Bits, delay_bits: int) -> None:
    has_display_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)  # operating_point_idc
        if bits.take(5) > 7:  # noqa: PLR2004  # seq_level_idx: level 4.0 and above have a tier
            bits.take(1)
        if delay_bits and bits.take(1):  # decoder_model_present_for_this_op
            bits.take(2 * delay_bits + 1)  # operating_parameters_info()
        if has_display_delay and bits.take(1):
            bits.take(4)
