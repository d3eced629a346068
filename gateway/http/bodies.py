"""Request bodies: read in one call, limited before they are parsed, and multipart forms parsed by byte search.

Limits are checked before parsing because the cost of a parser depends on structure, not only on size: without them,
10 MiB of JSON can become 250 MiB of empty objects, and a form of 10 MiB can take 8 seconds.

werkzeug searches for multipart boundaries with a regular expression, which takes a third of a millisecond for a photo
of 50 kB. Forms as common clients send them are split here by a byte search; a form that deviates from RFC 7578 in any
way is left to werkzeug.
"""

import io
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, cast

from flask import Request
from werkzeug.datastructures import FileStorage, Headers, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header
from werkzeug.utils import cached_property
from werkzeug.wsgi import LimitedStream

from gateway.errors import BadRequestError

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

MAX_PART_HEADERS_BYTES = 8192
"""Limit on the headers of one part. A browser sends some 200 bytes; servers often accept this much per request."""
END_OF_HEADERS = re.compile(rb"\r\n\r\n|\n\n|\r\r")  # werkzeug accepts each of them
CRLF = b"\r\n"
CLOSE = b"--" + CRLF
# Quoted strings without escapes; werkzeug parses the others.
PLAIN_DISPOSITION = re.compile(r'form-data; name="([^"\\%]*)"(?:; filename="([^"\\%]*)")?')
NESTING = {"[": 1, "{": 1, "]": -1, "}": -1}

Form = MultiDict[str, str]
Files = MultiDict[str, FileStorage]


@dataclass(frozen=True, slots=True)
class JsonLimits:
    """Limits on a JSON body.

    Attributes:
        max_depth: Maximum nesting of arrays and objects.
        max_values: Maximum number of values and names.
    """

    max_depth: int
    max_values: int


class UnusualFormError(ValueError):
    """The form must be parsed by werkzeug."""


class FormParser(FormDataParser):
    """Parses forms as werkzeug does, but faster, and refuses those that werkzeug would take long to parse."""

    def parse(
        self, stream: IO[bytes], mimetype: str, content_length: int | None, options: dict[str, str] | None = None
    ) -> tuple[IO[bytes], Form, Files]:
        """Parse a body into fields and files.

        Raises:
            BadRequestError: It has too many fields or parts, or a part whose headers are too long.
        """
        boundary = (options or {}).get("boundary", "")
        if mimetype not in {FORM, MULTIPART} or (mimetype == MULTIPART and not boundary):
            return super().parse(stream, mimetype, content_length, options)
        body = stream.read()
        if mimetype == FORM:
            check_fields(body, self.max_form_parts)
        else:
            try:
                return stream, *parse_multipart(body, boundary.encode("ascii"), max_parts=self.max_form_parts)
            except (UnusualFormError, UnicodeError):
                check_parts(body, f"--{boundary}".encode(), self.max_form_parts)
        return super().parse(io.BytesIO(body), mimetype, content_length, options)


class WholeBody(LimitedStream):
    """A body of known length that is read from the server in one call.

    werkzeug reads 64 KiB at a time, and for each of these reads gunicorn copies the rest of what it has received.
    """

    def readall(self) -> bytes:
        """Read the rest of the body.

        Raises:
            werkzeug.exceptions.ClientDisconnected: The client sent less.
        """
        try:
            data = self._stream.read(self.limit - self._pos)
        except (OSError, ValueError) as error:
            self.on_disconnect(error)
        self._pos += len(data)
        if not self.is_exhausted:
            self.on_disconnect()
        return data


class BodyRequest(Request):
    """A request whose body is read in one call and whose forms are parsed by `FormParser`."""

    form_data_parser_class = FormParser

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body, within the limit on its size.

        Raises:
            werkzeug.exceptions.RequestEntityTooLarge: It is larger.
        """
        limited: IO[bytes] = super().stream
        source = self.environ["wsgi.input"]
        if self.content_length is not None:
            return cast("IO[bytes]", WholeBody(source, self.content_length))
        if self.max_content_length is None or not self.environ.get("wsgi.input_terminated"):
            return limited
        # werkzeug silently cuts off a chunked body at the limit; one byte more shows whether it is longer.
        body = LimitedStream(source, self.max_content_length + 1, is_max=True).readall()
        if len(body) > self.max_content_length:
            raise RequestEntityTooLarge
        return io.BytesIO(body)


def parse_json_object(body: bytes, limits: JsonLimits) -> dict[str, Any]:
    """Parse a JSON object; an empty body counts as an empty object.

    Raises:
        BadRequestError: It is not valid JSON, not an object, or exceeds the limits.
    """
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        _check_json_structure(text, limits)
        document = json.loads(text) if text.strip() else {}
    except UnicodeDecodeError as error:
        raise BadRequestError(f"The body is not valid JSON: it is not UTF-8 text, see byte {error.start}.") from error
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"The body is not valid JSON: {error}.") from error
    if not isinstance(document, dict):
        raise BadRequestError('The JSON body must be an object, such as {"url": "https://…"}.')
    return document


def _check_json_structure(text: str, limits: JsonLimits) -> None:
    """Check the text outside of strings, which may hold megabytes of base64."""
    unescaped = text.replace("\\\\", "").replace('\\"', "")
    if unescaped.count('"') > 2 * limits.max_values:
        raise _too_many_values(limits)
    outside = "".join(unescaped.split('"')[::2])
    if sum(map(outside.count, ",:[{")) > limits.max_values:
        raise _too_many_values(limits)
    depths = itertools.accumulate(NESTING.get(character, 0) for character in outside if character in NESTING)
    if max(depths, default=0) > limits.max_depth:
        raise BadRequestError(
            f"The JSON body is nested too deeply: at most {limits.max_depth} levels are accepted, and an image needs 3."
        )


def _too_many_values(limits: JsonLimits) -> BadRequestError:
    return BadRequestError(
        f"The JSON body has more than {limits.max_values} values. Send an image as one string of base64, and many "
        "images in several requests."
    )


def check_fields(body: bytes, max_fields: int | None) -> None:
    """Check that a URL-encoded form does not have too many fields.

    Raises:
        BadRequestError: It has too many.
    """
    _check_count(body.count(b"&") + 1, max_fields)


def check_parts(body: bytes, delimiter: bytes, max_parts: int | None) -> None:
    """Check that a multipart form does not have too many parts, or parts with long headers.

    Raises:
        BadRequestError: There are too many parts, or the headers of one are too long or incomplete.
    """
    _check_count(body.count(delimiter) - 1, max_parts)  # the last delimiter does not begin a part
    start = body.find(delimiter)
    while start >= 0:
        start += len(delimiter)
        is_last = body.startswith(b"--", start)
        if not is_last and not END_OF_HEADERS.search(body, start, start + MAX_PART_HEADERS_BYTES):
            raise BadRequestError(
                f"The headers of a part of the form are incomplete or longer than {MAX_PART_HEADERS_BYTES} bytes."
            )
        start = body.find(delimiter, start)


def _check_count(parts: int, max_parts: int | None) -> None:
    if max_parts is not None and parts > max_parts:
        raise BadRequestError(f"The form has more than {max_parts} parts. Send fewer images.")


def parse_multipart(body: bytes, boundary: bytes, *, max_parts: int | None = None) -> tuple[Form, Files]:
    """Parse a multipart body (RFC 7578) into fields and files.

    Raises:
        UnusualFormError: It deviates from what common clients send.
        UnicodeError: A header or a field is not UTF-8.
    """
    fields: list[tuple[str, str]] = []
    files: list[tuple[str, FileStorage]] = []
    for index, (head, content) in enumerate(_split_parts(body, b"--" + boundary)):
        if index == max_parts:
            raise UnusualFormError("too many parts")
        headers = _parse_headers(head)
        name, filename = _parse_disposition(headers.get("content-disposition", ""))
        if filename is not None:
            files.append((name, FileStorage(io.BytesIO(content), filename, name, headers=headers)))
        elif "content-type" in headers:
            raise UnusualFormError("a field that may name a character set")
        else:
            fields.append((name, content.decode()))
    return MultiDict(fields), MultiDict(files)


def _parse_disposition(disposition: str) -> tuple[str, str | None]:
    """Return the name of a part, and its file name if it is a file."""
    match = PLAIN_DISPOSITION.fullmatch(disposition)
    if match:
        return match[1], match[2]
    kind, parameters = parse_options_header(disposition)
    if kind != "form-data" or "name" not in parameters:
        raise UnusualFormError("a part without a name")
    return parameters["name"], parameters.get("filename")


def _split_parts(body: bytes, delimiter: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield headers and content of each part; every occurrence of the delimiter must delimit a part."""
    if not body.startswith(delimiter + CRLF):
        raise UnusualFormError("content before the first part")
    start = len(delimiter + CRLF)
    while True:
        next_delimiter = body.find(delimiter, start)
        end, after = next_delimiter - len(CRLF), next_delimiter + len(delimiter)
        blank = body.find(CRLF + CRLF, start, end)
        if blank < 0 or body[end:next_delimiter] != CRLF:
            raise UnusualFormError("a part that is incomplete or has no headers")
        if blank - start > MAX_PART_HEADERS_BYTES:
            raise UnusualFormError("long headers")
        yield body[start:blank], body[blank + 2 * len(CRLF) : end]
        # A slice one byte longer than the closing delimiter shows whether anything follows, without copying it.
        if body[after : after + len(CLOSE) + 1] in {CLOSE, CLOSE.removesuffix(CRLF)}:
            return
        if not body.startswith(CRLF, after):
            raise UnusualFormError("content after a delimiter")
        start = after + len(CRLF)


def _parse_headers(head: bytes) -> Headers:
    lines = head.decode().split("\r\n")
    if any("\r" in line or "\n" in line for line in lines):
        raise UnusualFormError("a line with another ending")
    headers = [line.partition(":") for line in lines]
    if any(not colon or name != name.strip() for name, colon, _ in headers):
        raise UnusualFormError("a header that is folded or has no name")
    return Headers([(name, value.strip()) for name, _, value in headers])
