"""Images in base64, decoded piece by piece, so that they take no more memory than the image.

In a URL-encoded form, `+` stands for a blank. Clients that do not escape the `+` of their base64 therefore send blanks.
Dropping them would shift all later bits, and many decoders show some picture nevertheless. A blank between digits is a
separator if it cannot have been a `+`, by the length of the text, or if all lines are equally long. Otherwise it is a
`+` in such a form, and refused elsewhere. A text in which some blanks may be separators and others `+` is refused.
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
# Several blanks in a row were `+`, unless a line break or a tab precedes them.
FIRST_LINE = re.compile(rb"(\S{4,1000})( |[\t\n\r\v\f]\s{0,63})(?=\S)")
LINE_WIDTHS = (64, 76)
"""Digits of a line, by RFC 7468 and RFC 2045."""
MIN_LINE_DIGITS = 60
"""Shorter lines are not separated by single blanks: an image of small repeated patterns may have a `+` there."""
MIN_LINES = 3
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
    end = _strip_end(text)
    length = len(text) - sum(map(text.count, WHITESPACE))
    blanks = text.count(BLANK)
    is_padded = text.endswith(PADDING)
    # Padded base64 is whole groups of four, and one digit more than that is never valid. More blanks may be of both
    # kinds.
    excludes_plus = length % GROUP_DIGITS == 0 and blanks < (GROUP_DIGITS if is_padded else 2)
    if blanks and (excludes_plus or _is_wrapped(text)):
        return b""
    is_complete = not (is_padded and (length + blanks) % GROUP_DIGITS)
    if blank_is_plus and is_complete and not (_is_indented(text) or _has_columns(text)):
        return PLUS
    may_lack_end = end.count(BLANK) >= GROUP_DIGITS
    if blanks or (not is_padded and (length % GROUP_DIGITS or may_lack_end)):
        raise LostPlusError("blanks between digits")
    return b""


def _strip_end(text: bytearray) -> bytearray:
    """Remove white space at the end in place: a copy of a long text would exceed the memory for its body.

    Returns:
        The beginning of the white space.
    """
    removed = bytearray()
    while (block := text[-STEP_BYTES:]) and (end := len(block.rstrip())) < len(block):
        removed = block[end:]
        del text[len(text) - len(block) + end :]
    return removed


def _is_wrapped(text: bytearray) -> bool:
    """Return whether white space only separates lines of the same length, and the last one is not longer.

    All lines are whole groups of four digits. A single `+` that was lost leaves the last one incomplete.
    """
    first = FIRST_LINE.match(text)
    if not first or len(first[1]) % GROUP_DIGITS:
        return False
    digits, separator = first.span(1)[1], first[2]
    if separator == BLANK and digits < MIN_LINE_DIGITS:
        return False
    period = digits + len(separator)
    end = len(text) - len(text) % period
    lines = np.frombuffer(text, np.uint8, end).reshape(-1, period)
    if BLANK in separator[1:] and len(lines) < MIN_LINES - 1:
        return False  # the last line may begin with a lost `+`
    is_regular = all((lines[:, digits + index] == byte).all() for index, byte in enumerate(separator))
    has_others = sum(map(text.count, WHITESPACE)) != len(lines) * len(separator)
    last = len(text) - end
    return is_regular and not has_others and last <= digits and last % GROUP_DIGITS == 0


def _is_indented(text: bytearray) -> bool:
    """Return whether each line but the first begins with blanks, and the first one is shorter."""
    breaks = text.count(b"\n")
    if breaks < MIN_LINES - 1 or text.count(b"\n ") != breaks:
        return False
    first = text.find(b"\n")
    return text.find(b"\n", first + 1) - first - 1 > first


def _has_columns(text: bytearray) -> bool:
    """Return whether there is a blank where lines of a usual width would be separated, but not also before each."""
    for width in LINE_WIDTHS:
        column, before = text[width :: width + 1], text[width - 1 :: width + 1]
        if len(column) >= MIN_LINES and not column.strip(BLANK) and before.strip(BLANK):
            return True
    return False
