"""Parse and format JSON like RapidJSON 1.1 with the flags that TensorFlow Serving sets.

Differences from Python's json: parsing stops after the first document, Inf and -NaN are numbers, the first of two
equal keys wins, bytes that are not UTF-8 pass through (here as surrogate escapes), and errors have an offset in bytes.
Python's parser is used for texts on which both agree; the slower parser below handles the rest and finds errors.
"""

import json
import math
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NoReturn, TypeAlias

Json: TypeAlias = Any
"""None, bool, int, float, str, list or dict."""

_WHITE_SPACE = " \t\n\r"
_WHITE_SPACES = re.compile(f"[{_WHITE_SPACE}]*")
_BYTE_ORDER_MARK = "\ufeff"

# Python's parser accepts these, RapidJSON does not: half of a surrogate pair, a number beyond a double's range.
_SUSPICIOUS = re.compile(r"\\u[dD][89a-fA-F]|\d[eE]\+?\d{3}|(?<!\d)\d{300}")

_INTEGER = re.compile(r"-?(?:0|[1-9]\d*)")
_DIGITS = re.compile(r"\d+")
_SIGNED_DIGITS = re.compile(r"[+-]?\d+")
_SHORT_NUMBERS = re.compile(r"(?:-?(?:0|[1-9]\d{0,15})(?:\.\d{1,20})?,[ \t\n\r]*)+")
_CONSTANT = re.compile(r"(-?)(NaN|Inf(?:inity)?)")
_PLAIN_TEXT = re.compile(r'[^"\\\x00-\x1f]*')
_HEX = re.compile(r"[0-9a-fA-F]{4}")
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_LITERALS = {"n": ("null", None), "t": ("true", True), "f": ("false", False)}

_MAX_QUOTE_CHARACTERS = 2**18
"""Indentation makes the text of deeply nested objects quadratic in their size."""
_PLAIN_DIGITS = 21
"""RapidJSON writes numbers with more digits in exponent form."""


class JsonError(ValueError):
    """The text is not valid JSON."""


def parse(body: bytes) -> Json:
    """Parse the first JSON document of a text.

    Raises:
        JsonError: It is not valid; the message is RapidJSON's, with the offset in bytes.
    """
    if not body:
        raise JsonError("The document is empty")
    text = body.decode("utf-8", "surrogateescape").removeprefix(_BYTE_ORDER_MARK)
    try:
        if not _SUSPICIOUS.search(text):
            value, _ = _DECODER.raw_decode(text.lstrip(_WHITE_SPACE))
            return value
    except ValueError:
        pass
    except RecursionError:
        raise JsonError("Nested too deeply") from None
    return _Reader(text).document()


def format_value(value: Json) -> str:
    """Format a value as error messages quote it: objects indented, lists on one line; a long text is cut off."""
    stack = [_tokens(value, "")]
    pieces: list[str] = []
    size = 0
    while stack and size <= _MAX_QUOTE_CHARACTERS:
        token = next(stack[-1], None)
        if token is None:
            stack.pop()
        elif isinstance(token, str):
            pieces.append(token)
            size += len(token)
        else:
            stack.append(_tokens(*token))
    text = "".join(pieces)
    return f"{text[:_MAX_QUOTE_CHARACTERS]}..." if stack or size > _MAX_QUOTE_CHARACTERS else text


def _tokens(value: Json, indent: str) -> Iterator[str | tuple[Json, str]]:
    """Yield the text of a value; a value inside it is yielded as such, with its indentation."""
    inner = indent + "    "
    if isinstance(value, dict):
        for number, (key, member) in enumerate(value.items()):
            yield f"{',' if number else '{'}\n{inner}{_quote(key)}: "
            yield member, inner
        yield f"\n{indent}}}" if value else "{}"
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield ", " if number else "["
            yield item, inner
        yield "]" if value else "[]"
    else:
        yield _format_scalar(value)


def _format_scalar(value: Json) -> str:
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, float) or (isinstance(value, int) and not -(2**63) <= value < 2**64):
        return _format_float(float(value))
    return json.dumps(value)


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _format_float(value: float) -> str:
    if not math.isfinite(value):
        return ""  # RapidJSON's writer fails, and TensorFlow Serving ignores that
    sign, digit_tuple, exponent = Decimal(repr(value)).normalize().as_tuple()
    digits = "".join(map(str, digit_tuple))
    point = len(digits) + int(exponent)
    minus = "-" if sign else ""
    if 0 < point <= _PLAIN_DIGITS:
        whole, fraction = digits[:point].ljust(point, "0"), digits[point:] or "0"
        return f"{minus}{whole}.{fraction}"
    if -6 < point <= 0:  # noqa: PLR2004  # the same for numbers below one
        return f"{minus}0.{digits.rjust(len(digits) - point, '0')}"
    mantissa = f"{digits[0]}.{digits[1:]}" if len(digits) > 1 else digits
    return f"{minus}{mantissa}e{point - 1}"


def _first_wins(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members: dict[str, Json] = {}
    for key, value in pairs:
        members.setdefault(key, value)
    return members


_DECODER = json.JSONDecoder(object_pairs_hook=_first_wins)


class _Reader:
    """The recursive parser of rapidjson/reader.h, with the same errors."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0

    def document(self) -> Json:
        self._skip_white_space()
        if not self._peek():
            self._fail("The document is empty.")
        try:
            return self._value()
        except RecursionError:
            raise JsonError("Nested too deeply") from None

    def _value(self) -> Json:
        match self._peek():
            case "{":
                return self._object()
            case "[":
                return self._array()
            case '"':
                return self._string()
            case "n" | "t" | "f" as letter:
                return self._literal(letter)
            case _:
                return self._number()

    def _literal(self, first: str) -> Json:
        literal, value = _LITERALS[first]
        for letter in literal:
            if not self._take(letter):
                self._fail("Invalid value.")
        return value

    def _object(self) -> Json:
        self._position += 1
        pairs: list[tuple[str, Json]] = []
        self._skip_white_space()
        if self._take("}"):
            return {}
        while True:
            if self._peek() != '"':
                self._fail("Missing a name for object member.")
            name = self._string()
            self._skip_white_space()
            if not self._take(":"):
                self._fail("Missing a colon after a name of object member.")
            self._skip_white_space()
            pairs.append((name, self._value()))
            self._skip_white_space()
            if self._take("}"):
                return _first_wins(pairs)
            if not self._take(","):
                self._fail("Missing a comma or '}' after an object member.")
            self._skip_white_space()

    def _array(self) -> Json:
        self._position += 1
        items: list[Json] = []
        self._skip_white_space()
        if self._take("]"):
            return items
        while True:
            items += self._numbers()
            items.append(self._value())
            self._skip_white_space()
            if self._take("]"):
                return items
            if not self._take(","):
                self._fail("Missing a comma or ']' after an array element.")
            self._skip_white_space()

    def _numbers(self) -> list[Json]:
        """Parse a run of short numbers with Python's parser, for speed; the list's last number is not included."""
        run = _SHORT_NUMBERS.match(self._text, self._position)
        if run is None:
            return []
        self._position = run.end()
        numbers: list[Json] = json.loads(f"[{run[0].rstrip(_WHITE_SPACE)[:-1]}]")
        return numbers

    def _string(self) -> str:
        self._position += 1
        parts = []
        while True:
            plain = _PLAIN_TEXT.match(self._text, self._position)
            assert plain is not None  # noqa: S101  # the pattern matches the empty string
            parts.append(plain[0])
            self._position = plain.end()
            if self._take('"'):
                return "".join(parts)
            if self._peek() == "\\":
                parts.append(self._escape())
            elif self._peek() in ("", "\0"):
                self._fail("Missing a closing quotation mark in string.")
            else:
                self._fail("Invalid escape character in string.")

    def _escape(self) -> str:
        start = self._position
        letter = self._text[start + 1 : start + 2]
        self._position += 2
        if letter in _ESCAPES:
            return _ESCAPES[letter]
        if letter != "u":
            self._fail("Invalid escape character in string.", start)
        code = self._hex(start)
        if not 0xD800 <= code <= 0xDFFF:  # noqa: PLR2004  # surrogates
            return chr(code)
        if code > 0xDBFF or self._text[self._position : self._position + 2] != "\\u":  # noqa: PLR2004  # no first half
            self._fail("The surrogate pair in string is invalid.", start)
        self._position += 2
        second = self._hex(start)
        if not 0xDC00 <= second <= 0xDFFF:  # noqa: PLR2004  # no second half
            self._fail("The surrogate pair in string is invalid.", start)
        return chr(0x10000 + ((code - 0xD800) << 10 | second - 0xDC00))

    def _hex(self, start: int) -> int:
        digits = _HEX.match(self._text, self._position)
        if digits is None:
            self._fail("Incorrect hex digit after \\u escape in string.", start)
        self._position = digits.end()
        return int(digits[0], 16)

    def _number(self) -> int | float:
        start = self._position
        constant = _CONSTANT.match(self._text, start)
        if constant:
            self._position = constant.end()
            return float(constant[0])
        integer = _INTEGER.match(self._text, start)
        if integer is None:
            self._fail("Invalid value.", start + (self._peek() == "-"))
        self._position = integer.end()
        is_float = self._part(".", _DIGITS, "Miss fraction part in number.")
        is_float |= self._part("e", _SIGNED_DIGITS, "Miss exponent in number.")
        literal = self._text[start : self._position]
        value = float(literal)
        if math.isinf(value):
            self._fail("Number too big to be stored in double.", start)
        return value if is_float else int(Decimal(literal))

    def _part(self, mark: str, digits: re.Pattern[str], problem: str) -> bool:
        if self._peek().lower() != mark:
            return False
        self._position += 1
        match = digits.match(self._text, self._position)
        if match is None:
            self._fail(problem, self._position + (self._peek() in ("+", "-")))
        self._position = match.end()
        return True

    def _peek(self) -> str:
        return self._text[self._position : self._position + 1]

    def _take(self, character: str) -> bool:
        if self._peek() != character:
            return False
        self._position += 1
        return True

    def _skip_white_space(self) -> None:
        match = _WHITE_SPACES.match(self._text, self._position)
        assert match is not None  # noqa: S101  # the pattern matches the empty string
        self._position = match.end()

    def _fail(self, problem: str, position: int | None = None) -> NoReturn:
        before = self._text[: self._position if position is None else position]
        raise JsonError(f"{problem} at offset: {len(before.encode('utf-8', 'surrogateescape'))}")
