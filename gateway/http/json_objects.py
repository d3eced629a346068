"""JSON bodies: limited before they are parsed, because the cost of a parser depends on structure, not only on size.

Without limits, 10 MiB of JSON can become 250 MiB of empty objects. Long strings, which hold images in base64, are cut
out first and stay in the body until they are decoded, so that an image is in memory twice and not four times.
"""

import itertools
import json
import re
import secrets
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from gateway.errors import BadRequestError
from gateway.http.hints import quote
from gateway.http.long_text import LONG_TEXT_BYTES, LongText, decode_json_string, decode_plain

MAX_SHORT_BYTES = 512 * 1024
"""Limit on a body without its long strings, whose values can take ten times as much memory."""
# Looking behind, it tries a run of such bytes only once, from its beginning.
NUMBERS = re.compile(rb"(?<![-+.0-9eE,\s\[\]])[-+.0-9eE,\s\[\]]{%d,}+" % LONG_TEXT_BYTES)
STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
REASONS = (
    ("Expecting value", "a value is expected"),
    ("Expecting property name", "a name in double quotes is expected"),
    ("Expecting ':'", "a colon is expected"),
    ("Expecting ','", "a comma or the end of the object or list is expected"),
    ("Illegal trailing comma", "a comma is followed by the end of the object or list"),
    ("Unterminated string", "a string begins that does not end"),
    ("Invalid control character", "a string contains a line break or another control character, which must be escaped"),
    ("Invalid \\", "a backslash begins no valid escape sequence"),
    ("Extra data", "something follows the end of the object"),
)
"""What the parser's messages begin with, and what they mean."""
SHELL_QUOTES = re.compile(rb"\s*+(?:'\s*+\{|\{\s*+(?:\\|[A-Za-z_]{1,40}\s*+:))")
SHELL_HINT = " A shell may have kept or removed quotes: with curl, put the JSON in a file and send it by `-d @FILE`."
NESTING = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


@dataclass(frozen=True, slots=True)
class JsonLimits:
    """Limits on a JSON body.

    Attributes:
        max_depth: Maximum nesting of arrays and objects.
        max_values: Maximum number of values and names.
        max_short_bytes: Maximum size without long strings.
    """

    max_depth: int
    max_values: int
    max_short_bytes: int = MAX_SHORT_BYTES


def parse_json_object(
    body: bytes, limits: JsonLimits, *, make_numbers: Callable[[memoryview], object] | None = None
) -> dict[str, Any]:
    """Parse a JSON object in UTF-8 (RFC 8259); an empty body counts as an empty object.

    Strings of more than `LONG_TEXT_BYTES` are returned as `LongText`.

    Args:
        body: The object.
        limits: Limits on it.
        make_numbers: Makes what lists of numbers of more than `LONG_TEXT_BYTES`, nested or not, are returned as. None
            for lists, to which the limits apply.

    Raises:
        BadRequestError: It is not valid JSON, not an object, or exceeds the limits.
    """
    encoding = json.detect_encoding(body)
    if not encoding.startswith("utf-8"):
        raise _invalid("it is not UTF-8 text. Send it in UTF-8 (RFC 8259)")
    start = len(BOM_UTF8) if encoding == "utf-8-sig" else 0
    spans = [(begin, end) for begin, end in _strings(body, start, limits) if end - begin > LONG_TEXT_BYTES]
    if make_numbers is not None:
        spans = sorted([*spans, *_number_lists(body, start, limits)])
    if len(body) - sum(end - begin for begin, end in spans) > limits.max_short_bytes:
        # A more helpful reason, if that is the cause.
        _check_structure(body[start : start + limits.max_short_bytes], limits)
        raise BadRequestError(
            f"The JSON body has more than {limits.max_short_bytes} bytes in addition to its images. Send images as "
            "strings of base64."
        )
    # If the client could guess a placeholder, it could send an image once and refer to it many times.
    secret = secrets.token_hex() if spans else ""
    long_values: dict[object, object] = {}
    short = bytearray()
    removed = [(0, start)]
    for begin, end in spans:
        placeholder = f"{secret}{begin}"
        if make_numbers is not None and body.startswith(b"[", begin):
            long_values[placeholder] = make_numbers(memoryview(body)[begin:end])
        else:
            decode = decode_json_string if body.find(b"\\", begin, end) >= 0 else decode_plain
            long_values[placeholder] = LongText(memoryview(body)[begin + 1 : end - 1], decode)
        short += b'%b"%b"' % (body[start:begin], placeholder.encode())
        start = end
        removed.append((len(short), end))
    short += body[start:]
    _check_structure(short, limits)
    document = _parse(short, long_values, removed)
    if not isinstance(document, dict):
        raise BadRequestError('The JSON body must be an object, such as {"url": "https://…"}.')
    return document


def _strings(body: bytes, begin: int, limits: JsonLimits) -> Iterator[tuple[int, int]]:
    """Yield where each string begins and ends, quotes included."""
    count = 0
    while (begin := body.find(b'"', begin)) >= 0:
        count += 1
        if count > limits.max_values:
            raise _too_many_values(limits)
        end = body.find(b'"', begin + 1) + 1
        if not end or body.find(b"\\", begin, end) >= 0:
            match = STRING.match(body, begin)
            if not match:
                raise _invalid(
                    f"the string that starts at byte {begin} does not end. Send all of it", _shell_hint(body)
                )
            end = match.end()
        yield begin, end
        begin = end


def _number_lists(body: bytes, begin: int, limits: JsonLimits) -> Iterator[tuple[int, int]]:
    """Yield where each long list of numbers begins and ends, brackets included.

    Whether it is valid is not looked at, except that it has as many brackets that open as that close.
    """
    for string_begin, string_end in itertools.chain(_strings(body, begin, limits), [(len(body), len(body))]):
        for run in NUMBERS.finditer(body, begin, string_begin):
            start, end = body.find(b"[", *run.span()), body.rfind(b"]", *run.span()) + 1
            is_name = body.startswith(b":", run.end())  # which only a string may be: the parser will say so
            if 0 <= start < end and not is_name and body.count(b"[", start, end) == body.count(b"]", start, end):
                yield start, end
        begin = string_end


def _check_structure(body: bytes | bytearray, limits: JsonLimits) -> None:
    """Check the text outside of strings."""
    outside = b"".join(body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    if sum(map(outside.count, (b",", b":", b"[", b"{"))) > limits.max_values:
        raise _too_many_values(limits)
    depths = itertools.accumulate(NESTING.get(character, 0) for character in outside if character in NESTING)
    if max(depths, default=0) > limits.max_depth:
        raise BadRequestError(
            f"The JSON body is nested too deeply: at most {limits.max_depth} levels are accepted, and an image needs 3."
        )


def _parse(short: bytearray, long_values: dict[object, object], removed: list[tuple[int, int]]) -> object:
    """Parse a body whose long values were replaced, and put them back.

    Args:
        short: The body.
        long_values: The values, by what replaces them.
        removed: Bytes of `short`, in ascending order, with the bytes of the body that stand there.
    """

    def restore(members: dict[str, Any]) -> dict[Any, Any]:
        return {long_values.get(name, name): put_back(value) for name, value in members.items()}

    def put_back(value: object) -> object:
        if isinstance(value, list):
            return [put_back(item) for item in value]
        return long_values.get(value, value) if isinstance(value, str) else value

    def place(position: int) -> int:
        short_start, start = next(item for item in reversed(removed) if item[0] <= position)
        return start + position - short_start

    try:
        text = short.decode()
        return json.loads(text, object_hook=restore if long_values else None) if text.strip() else {}
    except UnicodeDecodeError as error:
        raise _invalid(f"it is not UTF-8 text, see byte {place(error.start)}") from error
    except json.JSONDecodeError as error:
        position = len(error.doc[: error.pos].encode())
        found = "it ends too early" if error.pos >= len(error.doc) else f"found {quote(error.doc[error.pos])}"
        reason = next((words for start, words in REASONS if error.msg.startswith(start)), "it cannot be read")
        raise _invalid(f"at byte {place(position)}, {reason}; {found}", _shell_hint(short)) from error
    except ValueError as error:
        raise _invalid("a number has too many digits") from error


def _shell_hint(body: bytes | bytearray) -> str:
    """Return what to do if a shell has changed the quotes of a body."""
    return SHELL_HINT if SHELL_QUOTES.match(body) else ""


def _invalid(reason: str, more: str = "") -> BadRequestError:
    return BadRequestError(f"The body is not valid JSON: {reason}.{more}")


def _too_many_values(limits: JsonLimits) -> BadRequestError:
    return BadRequestError(
        f"The JSON body has more than {limits.max_values} values. Send an image as one string of base64, and many "
        "images in several requests."
    )
