"""Long texts of a body, which are images in base64: they stay in the body and are unescaped piece by piece."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from gateway.http.hints import quote

LONG_TEXT_BYTES = 1024
"""Texts of more bytes are read as `LongText`. Of what a request may contain, only images and a few URLs are as long."""
PIECE_BYTES = 64 * 1024
MAX_REPR_BYTES = 30
PERCENT = ord("%")
HEX_VALUES = np.full(256, 16, np.uint8)
"""Value of each hexadecimal digit, by its code; 16 for all other characters."""
for _value, _digits in enumerate((*"0123456789", "aA", "bB", "cC", "dD", "eE", "fF")):
    HEX_VALUES[list(_digits.encode())] = _value
SURROGATE_PAIR = rb"\\u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}"
ESCAPE_SEQUENCES = re.compile(
    rb"(?:[^\\]{1,64}+|" + SURROGATE_PAIR + rb"|\\(?:u[0-9A-Fa-f]{4}|.)|\\){1,1024}+", re.DOTALL
)
"""At most 64 KiB of a JSON string that do not end within an escape sequence, or between the two of one character."""


@dataclass(frozen=True, slots=True, eq=False)
class LongText:
    """A text that stays in the body until it is decoded.

    Attributes:
        raw: Its bytes in the body.
        decode: Yields the bytes that they stand for, in pieces.
    """

    raw: memoryview
    decode: Callable[[memoryview], Iterator[bytes]]

    def __repr__(self) -> str:
        """Return the beginning of the text, for messages."""
        return quote(f"{str(self.raw[:MAX_REPR_BYTES], errors='replace')}…")

    def __str__(self) -> str:
        """Return the whole text.

        Raises:
            ValueError: The text has an invalid escape sequence.
        """
        return b"".join(self.pieces()).decode(errors="replace")

    def pieces(self) -> Iterator[bytes]:
        """Yield the text in UTF-8.

        Raises:
            ValueError: The text has an invalid escape sequence.
        """
        return self.decode(self.raw)


def decode_plain(raw: memoryview) -> Iterator[bytes]:
    """Yield text that is not escaped."""
    for start in range(0, len(raw), PIECE_BYTES):
        yield bytes(raw[start : start + PIECE_BYTES])


def decode_percent(raw: memoryview) -> Iterator[bytes]:
    """Yield a value of a URL-encoded form: `+` stands for a space, `%XX` for a byte."""
    start = 0
    while start < len(raw):
        piece = bytes(raw[start : start + PIECE_BYTES])
        cut = piece.rfind(b"%", -2)  # an escape sequence of three bytes that may continue in the next piece
        if cut > 0:
            piece = piece[:cut]
        start += len(piece)
        yield _unquote(piece.replace(b"+", b" "))


def _unquote(text: bytes) -> bytes:
    """Decode escape sequences as `urllib.parse.unquote_to_bytes` does, which takes longer if there are many."""
    characters = np.frombuffer(text + b"  ", np.uint8)
    high, low = HEX_VALUES[characters[1:-1]], HEX_VALUES[characters[2:]]
    is_escape = (characters[:-2] == PERCENT) & (high < 16) & (low < 16)  # noqa: PLR2004  # digits
    is_digit = np.zeros(len(characters), bool)
    is_digit[1:-1] |= is_escape
    is_digit[2:] |= is_escape
    return np.where(is_escape, high * 16 + low, characters[:-2])[~is_digit[:-2]].tobytes()


def decode_json_string(raw: memoryview) -> Iterator[bytes]:
    """Yield the value of a JSON string, given without its quotes."""
    for match in ESCAPE_SEQUENCES.finditer(raw):
        value: str = json.loads(b'"%b"' % match[0])
        yield value.encode(errors="replace")
