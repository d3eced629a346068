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
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from flask import Request
from werkzeug.datastructures import FileStorage, Headers, MultiDict
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header
from werkzeug.utils import cached_property

from gateway.capacity import BODY_FACTOR, Place
from gateway.errors import BadRequestError, BodyTimeoutError

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

STEP_BYTES = 1024 * 1024
"""What is read of a body in one call, and reserved at once for one whose size is not known."""
PATIENCE_S = 1.0
"""How long the memory for all of a body is reserved while it arrives."""
MAX_CHUNKS_CPU_S = 1.0
"""Processor time for receiving a body in chunks: chunks of one byte take a second for each 200 kB."""

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


class BodyRequest(Request):
    """A request whose body is read whole, in few calls, and whose forms are parsed by `FormParser`.

    werkzeug reads 64 KiB at a time, and for each of these reads gunicorn copies the rest of what it has received.

    Attributes:
        place: Where the memory for the body is reserved, and its deadline; None for no limit on either.
    """

    form_data_parser_class = FormParser
    place: Place | None = None

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body, within the limits on its size, memory and time.

        Raises:
            werkzeug.exceptions.RequestEntityTooLarge: It is larger.
            werkzeug.exceptions.ClientDisconnected: The client sent less.
            BodyTimeoutError: It did not arrive before the deadline.
            OverloadedError: There is no memory for it.
        """
        limited: IO[bytes] = super().stream
        if self.content_length is not None:
            return io.BytesIO(self._read_known(self.content_length))
        if self.max_content_length is None or not self.environ.get("wsgi.input_terminated"):
            return limited
        return io.BytesIO(self._read_chunked(self.max_content_length))

    def _read_known(self, size: int) -> bytes:
        """Read a body of known size.

        The memory for all of it is reserved before. If it is not there soon, only that for what has arrived is kept, so
        that slow senders do not take the place of others.
        """
        memory = self.place.receive(size) if self.place and size else None
        is_slow = False
        self._read_within(PATIENCE_S)
        pieces: list[bytes] = []
        received = 0
        while received < size:
            step = min(size - received, STEP_BYTES)
            if is_slow and memory:
                memory.resize(received + step)
            try:
                piece = self._read_step(step)
            except TimeoutError as error:
                if is_slow:
                    raise self._too_slow() from error
                is_slow = True
                self._read_within(math.inf)
                continue
            if not piece:
                raise ClientDisconnected
            received += len(piece)
            pieces.append(piece)
        if is_slow and memory:
            memory.resize(size * BODY_FACTOR)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_chunked(self, max_size: int) -> bytes:
        """Read a body of unknown size, whose memory is reserved step by step."""
        memory = self.place.receive(STEP_BYTES) if self.place else None
        self._read_within(math.inf)
        cpu_s = time.thread_time()
        pieces: list[bytes] = []
        received = 0
        while True:
            # One byte more than the limit shows whether it is longer; werkzeug silently cuts it off.
            step = min(STEP_BYTES, max_size + 1 - received)
            try:
                piece = self._read_step(step)
            except TimeoutError as error:
                raise self._too_slow() from error
            if not piece:
                return b"".join(pieces)
            received += len(piece)
            pieces.append(piece)
            if received > max_size:
                raise RequestEntityTooLarge
            if time.thread_time() - cpu_s > MAX_CHUNKS_CPU_S:
                raise BadRequestError("The body arrives in too many chunks. Send larger ones, or Content-Length.")
            if memory:
                memory.resize((received + STEP_BYTES) * BODY_FACTOR)

    def _read_step(self, size: int) -> bytes:
        try:
            data: bytes = self.environ["wsgi.input"].read(size)
        except TimeoutError:
            raise
        except (OSError, ValueError) as error:
            raise ClientDisconnected from error
        return data

    def _read_within(self, seconds: float) -> None:
        """Let reads of the body fail after these seconds, or at the deadline if that comes first.

        Only a connection of `gateway.runtime.timed_socket` can do that; elsewhere, bodies are there already.
        """
        connection = self.environ.get("gunicorn.socket")
        if self.place and connection is not None and hasattr(connection, "read_by_s"):
            connection.read_by_s = min(self.place.deadline.at_s, time.monotonic() + seconds)

    def _too_slow(self) -> BodyTimeoutError:
        allowed_s = self.place.deadline.allowed_s if self.place else 0
        return BodyTimeoutError(f"The body did not arrive within {allowed_s:g} s. Send a smaller image.")


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
