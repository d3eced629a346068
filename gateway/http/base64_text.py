"""Images in base64, decoded piece by piece, so that they take no more memory than the image.

In a URL-encoded form, `+` stands for a blank. Clients that do not escape the `+` of their base64 therefore send blanks.
Dropping them would shift all later bits, and many decoders show some picture nevertheless. A blank between digits is a
separator if the text is complete without it or all lines are equally long. Otherwise it is a `+` in such a form, and
refused elsewhere.
"""

import binascii
import io
import re
import string
from collections.abc import Callable, Iterable, Iterator

import numpy as np

DATA_URI = re.compile(rb"data:.{0,1000}?;[ ]?base64[ ]?,", re.IGNORECASE | re.DOTALL)  # RFC 2397, also with name="a,b"
URL_SAFE = bytes.maketrans(b"-_", b"+/")  # RFC 4648 section 5
WHITESPACE = string.whitespace.encode()
BLANK, PLUS, PADDING = b" ", b"+", b"="
LINE_BREAKS = WHITESPACE.replace(BLANK, b"")
FIRST_LINE = re.compile(rb"(\S{4,1000})(\s{1,64})(?=\S)")
GROUP_DIGITS = 4
STEP_BYTES = 64 * 1024

Pieces = Callable[[], Iterable[bytes]]


class LostPlusError(ValueError):
    """There are blanks between the digits, and each may have been a `+`."""


class _BlankError(ValueError):
    """There is a blank after the first digit."""


def decode_base64(pieces: Pieces, *, blank_is_plus: bool = False) -> bytes:
    """Decode base64, plain or URL-safe, with or without padding, line breaks and data URI prefix.

    Args:
        pieces: Returns the pieces of the text, again each time that it is called.
        blank_is_plus: Whether a blank between digits stands for `+`, as in a URL-encoded form.

    Raises:
        LostPlusError: Blanks stand between the digits, do not separate lines, and do not stand for `+`.
        ValueError: The text is not base64.
    """
    try:
        return _decode(pieces(), blank=None)
    except _BlankError:
        blank = _replacement_of_blanks(pieces(), blank_is_plus=blank_is_plus)
    return _decode(pieces(), blank=blank)


def _decode(pieces: Iterable[bytes], *, blank: bytes | None) -> bytes:
    """Decode base64.

    Args:
        pieces: The text.
        blank: What replaces blanks after the first digit; None if there may be none.

    Raises:
        _BlankError: There is one.
        ValueError: The text is not base64.
    """
    data = io.BytesIO()
    digits, is_padded = b"", False
    for piece in _without_prefix(pieces):
        added, padding, rest = piece.translate(URL_SAFE, LINE_BREAKS).partition(PADDING)
        if rest.strip(PADDING + BLANK) or (is_padded and added.strip(BLANK)):
            raise ValueError("digits after the padding")
        if BLANK in added and not is_padded:
            if blank is None:
                raise _BlankError("a blank after the first digit")
            added = added.replace(BLANK, blank)
        is_padded = is_padded or bool(padding)
        digits += added.strip(BLANK)
        end = len(digits) - len(digits) % GROUP_DIGITS
        data.write(binascii.a2b_base64(digits[:end], strict_mode=True))
        digits = digits[end:]
    if blank == PLUS and not is_padded and not digits.strip(PLUS):
        digits = b""  # these were blanks at the end: no base64 without padding ends so
    data.write(binascii.a2b_base64(digits + PADDING * (-len(digits) % GROUP_DIGITS), strict_mode=True))
    return data.getvalue()


def _without_prefix(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the pieces without the white space and the data URI prefix at the beginning.

    No blank there stands for `+`: no accepted file begins with the bits that a first digit `+` means.
    """
    is_beginning = True
    for piece in pieces:
        text = piece
        if is_beginning:
            text = piece.lstrip(WHITESPACE)
            prefix = DATA_URI.match(text)
            text = text[prefix.end() :].lstrip(WHITESPACE) if prefix else text
            is_beginning = not text
        yield text


def _replacement_of_blanks(pieces: Iterable[bytes], *, blank_is_plus: bool) -> bytes:
    """Return what replaces the blanks of a text: nothing if they separate lines, or `+`.

    Raises:
        LostPlusError: This cannot be decided.
    """
    text = bytearray()
    for piece in _without_prefix(pieces):
        text += piece
    _strip_end(text)
    length = len(text) - sum(map(text.count, WHITESPACE))
    blanks = text.count(BLANK)
    is_padded = text.endswith(PADDING)
    # Padded base64 is whole groups of four, and one digit more than that is never valid.
    excludes_plus = length % GROUP_DIGITS == 0 and (
        blanks % GROUP_DIGITS > 0 if is_padded else blanks % GROUP_DIGITS == 1
    )
    if blanks and (excludes_plus or _is_wrapped(text)):
        return b""
    if blank_is_plus and not (is_padded and (length + blanks) % GROUP_DIGITS):
        return PLUS
    if blanks or (length % GROUP_DIGITS and not is_padded):
        raise LostPlusError("blanks between digits")
    return b""


def _strip_end(text: bytearray) -> None:
    """Remove white space at the end in place: a copy of a long text would exceed the memory for its body."""
    while (block := text[-STEP_BYTES:]) and (end := len(block.rstrip())) < len(block):
        del text[len(text) - len(block) + end :]


def _is_wrapped(text: bytearray) -> bool:
    """Return whether white space only separates lines of the same length, and the last one is not longer.

    All lines are whole groups of four digits. A single `+` that was lost leaves the last one incomplete.
    """
    first = FIRST_LINE.match(text)
    if not first or len(first[1]) % GROUP_DIGITS:
        return False
    digits, separator = first.span(1)[1], first[2]
    period = digits + len(separator)
    end = len(text) - len(text) % period
    lines = np.frombuffer(text, np.uint8, end).reshape(-1, period)
    is_regular = all((lines[:, digits + index] == byte).all() for index, byte in enumerate(separator))
    has_others = sum(map(text.count, WHITESPACE)) != len(lines) * len(separator)
    last = len(text) - end
    return is_regular and not has_others and last <= digits and last % GROUP_DIGITS == 0
