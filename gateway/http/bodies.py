"""Request bodies: read in few calls, and multipart forms split by a byte search.

Every form is parsed in linear time: a boundary is short, a byte search finds each of its occurrences, and each header
is limited before it is parsed. What is a header and a line is decided as werkzeug does.
"""

import io
import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from mmap import mmap
from typing import IO, Any

from flask import Request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.utils import cached_property

from gateway.capacity import BODY_FACTOR, PLACE_BYTES, Place, Reservation
from gateway.errors import BadRequestError, BodyTimeoutError
from gateway.http.base64_text import decode_base64
from gateway.http.hints import explain_form, quote
from gateway.http.long_text import LONG_TEXT_BYTES, LongText, decode_plain
from gateway.sizes import format_size
from vision.decode import sniff
from vision.foreign_kinds import name_kind

MULTIPART = "multipart/form-data"
DISPOSITION, CONTENT_TYPE, TRANSFER_ENCODING = "content-disposition", "content-type", "content-transfer-encoding"
PART_HEADERS = (DISPOSITION, CONTENT_TYPE, TRANSFER_ENCODING)
"""Headers that say what a part is."""

MAX_BOUNDARY_LENGTH = 200
"""RFC 2046 permits 70 characters (section 5.1.1); some clients send a few more."""
MAX_PART_HEADERS_BYTES = 8192
"""Limit on the headers of one part. A browser sends some 200 bytes; servers often accept this much per request."""
# RFC 7578 asks for CRLF. Clients also send LF or CR alone, and blanks behind a boundary.
LINE_BREAK = re.compile(rb"\r\n|\n|\r")
# Data may hold the text of a short boundary by chance. After a real one there is a header, a blank line or nothing.
END_OF_BOUNDARY = re.compile(
    rb"--(?=[ \t\v\f]*+(?:[\r\n]|\Z))|[ \t\v\f]*+(?>\r\n|\n|\r)(?=[!-9;-~]{1,100}[ \t]*+:|[\r\n])"
)
END_OF_HEADERS = re.compile(rb"\r\n\r\n|\n\n|\r\r")
CONTINUATION = re.compile(rb"(?:\r\n|\n|\r)[ \t]")
FILENAME = re.compile(r";[ \t]*+filename\*?[ \t]*+=", re.IGNORECASE)
ASCII_TEXT = re.compile(rb"[\t\n\r -~]*+")
CLOSE = b"--"
CRLF = b"\r\n"
# Quoted strings without escapes; werkzeug parses the others.
PLAIN_DISPOSITION = re.compile(r'form-data; name="([^"\\%]*)"(?:; filename="([^"\\%]*)")?')
CHARSETS = frozenset({"ascii", "us-ascii", "utf-8", "iso-8859-1"})
BINARY_TYPES = frozenset({"application/octet-stream", "binary/octet-stream", "application/x-image"})
"""Media types of images beside image/*: what unknown files, those in Amazon S3 and images in SageMaker have."""
TEXT_KINDS = frozenset({None, "plain text", "JSON", "base64 text", "a data URI"})
"""What a part without a file name may be and still be a text."""
START_BYTES = 64
"""What is looked at to tell a file from a text, in a part without a file name."""
MAX_LOOKALIKES = 1000
"""How often the boundary may occur within the data; each takes time."""

STEP_BYTES = 1024 * 1024
"""What is read of a body in one call."""
FAST_BYTES_PER_S = 10_000_000
"""If a body arrives more slowly, after a pause of `PATIENCE_S`, only what has arrived is reserved.

From nginx, it arrives much faster."""
PATIENCE_S = 0.1
MAX_CHUNKS_CPU_S, CHUNKED_BYTES_PER_CPU_S = 1.0, 20_000_000
"""Processor time for receiving a body in chunks, and what it may bring for each further second of it.

Chunks of 100 bytes keep to it; in chunks of one byte, 10 MB would take a minute."""


@dataclass(frozen=True, slots=True)
class FilePart:
    """A part of a form that has a file name."""

    filename: str
    content: bytes


Name = str | LongText | None
Form = MultiDict[Name, str | LongText]
Files = MultiDict[Name, FilePart]


class BodyRequest(Request):
    """A request whose body is read whole, by `BodyReader`.

    Attributes:
        place: Where the memory for the body is reserved, and its deadline; None for no limit on either.
    """

    want_form_data_parsed = False  # RequestParser parses forms; werkzeug's parser is not linear
    place: Place | None = None

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body, within the limits on its size, memory and time.

        Raises:
            werkzeug.exceptions.RequestEntityTooLarge: It is larger.
            GatewayError: See `BodyReader`.
        """
        size, max_size = self.content_length, self.max_content_length
        if size is not None and max_size is not None and size > max_size:
            raise RequestEntityTooLarge
        source, connection = self.environ["wsgi.input"], self.environ.get("gunicorn.socket")
        reader = BodyReader(source, self.place, connection)
        if size is not None:
            return io.BytesIO(reader.read(size))
        if max_size is None or not self.environ.get("wsgi.input_terminated"):
            limited: IO[bytes] = super().stream
            return limited
        return io.BytesIO(reader.read_chunked(max_size))


class ChunkGuard:
    """Bounds the processor time that a thread spends on a body in chunks, from now on."""

    def __init__(self) -> None:
        self._started_s = time.thread_time()

    def check(self, received: int) -> None:
        """Check the time for the bytes received so far.

        Raises:
            BadRequestError: They arrived in too many chunks.
        """
        if time.thread_time() - self._started_s > MAX_CHUNKS_CPU_S + received / CHUNKED_BYTES_PER_CPU_S:
            raise BadRequestError("The body arrives in too many chunks. Send larger ones, or Content-Length.")


class BodyReader:
    """Reads a body in few calls, within the memory and the deadline of its request.

    werkzeug reads 64 KiB at a time, and for each of these reads gunicorn copies the rest of what it has received.

    Args:
        source: The server's stream.
        place: Where memory is reserved, and the deadline; None for no limit on either.
        connection: Where the body comes from. Only a `gateway.runtime.timed_socket` can end at the deadline; bodies
            from elsewhere are there already.
    """

    def __init__(self, source: IO[bytes], place: Place | None, connection: Any) -> None:
        self._source = source
        self._place = place
        self._connection = connection if place and hasattr(connection, "read_by_s") else None
        self._pieces: list[bytes] = []
        self._received = 0

    def read(self, size: int) -> bytes:
        """Read a body of known size.

        Its beginning needs no memory but that of the place. Then memory for all of it is reserved. If it does not
        arrive fast, only that for what has arrived is kept, so that slow senders do not take the place of others.

        Raises:
            OverloadedError: Not enough memory is free for it.
            BodyTimeoutError: It did not arrive before the deadline.
            werkzeug.exceptions.ClientDisconnected: The client sent less.
        """
        with self._limited_time():
            while self._received < min(size, PLACE_BYTES):
                self._read_piece(min(size, PLACE_BYTES) - self._received)
        if self._received < size:
            self._read_rest(size, self._place.receive(size) if self._place else None)
        return self._join()

    def _read_rest(self, size: int, memory: Reservation | None) -> None:
        start = self._received
        started_s = time.monotonic()
        try:
            while self._received < size:
                step = min(size - self._received, STEP_BYTES)
                with self._limited_time(started_s + PATIENCE_S + (self._received + step - start) / FAST_BYTES_PER_S):
                    self._read_piece(step)
        except TimeoutError:
            with self._limited_time():
                while self._received < size:
                    step = min(size - self._received, PLACE_BYTES)
                    if memory:
                        memory.resize(self._received + step)
                    self._read_piece(step)
            if memory:
                memory.resize(size * BODY_FACTOR)

    def read_chunked(self, max_size: int) -> bytes:
        """Read a body of unknown size, whose memory is reserved step by step.

        Raises:
            werkzeug.exceptions.RequestEntityTooLarge: It is larger than the limit.
            BadRequestError: It arrives in too many chunks.
            GatewayError: See `read`.
        """
        memory: Reservation | None = None
        guard = ChunkGuard()
        with self._limited_time():
            # One byte more than the limit shows whether it is longer; werkzeug silently cuts it off.
            while self._read_piece(min(max_size + 1 - self._received, PLACE_BYTES), can_end=True):
                if self._received > max_size:
                    raise RequestEntityTooLarge
                guard.check(self._received)
                size = min(max_size, self._received + PLACE_BYTES)
                if memory:
                    memory.resize(size * BODY_FACTOR)
                elif self._place and self._received == PLACE_BYTES:
                    memory = self._place.receive(size)
        return self._join()

    def _read_piece(self, size: int, *, can_end: bool = False) -> bool:
        """Read up to a number of bytes; return whether there were any."""
        try:
            piece = self._source.read(size)
        except TimeoutError:
            raise
        except (OSError, ValueError) as error:
            raise ClientDisconnected from error
        if not piece and not can_end:
            raise ClientDisconnected
        self._received += len(piece)
        self._pieces.append(piece)
        return bool(piece)

    def _join(self) -> bytes:
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    @contextmanager
    def _limited_time(self, read_by_s: float = math.inf) -> Iterator[None]:
        """Let reads fail at a moment of `time.monotonic`, or at the deadline of the request.

        Raises:
            TimeoutError: The moment has passed.
            BodyTimeoutError: The deadline has passed.
        """
        connection, place = self._connection, self._place
        if connection is None or place is None:
            yield
            return
        connection.read_by_s = min(place.deadline.at_s, read_by_s)
        try:
            yield
        except TimeoutError as error:
            if read_by_s < place.deadline.at_s:
                raise
            raise BodyTimeoutError(
                f"The body did not arrive within {place.deadline.allowed_s:g} s. Send a smaller image."
            ) from error
        finally:
            connection.read_by_s = math.inf


def is_image_type(media_type: str) -> bool:
    """Return whether a media type, in lower case, says that the bytes are an image, or nothing about them."""
    return media_type.startswith("image/") or media_type in BINARY_TYPES


def parse_multipart(body: bytes, boundary: bytes, *, max_parts: int | None = None) -> tuple[Form, Files]:
    """Parse a multipart body (RFC 7578) into fields and files.

    A part is a file if it has a file name, or if its type or its first bytes say that it is an image. Texts of more
    than `LONG_TEXT_BYTES` are returned as `LongText`.

    Raises:
        BadRequestError: The form is malformed or cut off, the boundary is too long, there are too many parts, or the
            headers of a part are too long.
    """
    fields: list[tuple[Name, str | LongText]] = []
    files: list[tuple[Name, FilePart]] = []
    for headers, start, end in split_parts(body, b"--" + boundary, max_parts):
        name, part = read_part(body, start, end, headers)
        if isinstance(part, FilePart):
            files.append((name, part))
        else:
            fields.append((name, part))
    return MultiDict(fields), MultiDict(files)


def read_part(
    body: bytes, start: int, end: int, headers: Mapping[str, str]
) -> tuple[str | None, FilePart | str | LongText]:
    """Return the name of a part of a form, and the file or the text that it is, decoded as its headers say.

    Args:
        body: What contains the part.
        start: Where its content begins.
        end: Where its content ends.
        headers: Its headers, of which those of `PART_HEADERS` are looked at.

    Raises:
        BadRequestError: It has no Content-Disposition, or its content is not encoded as it says.
    """
    name, filename = parse_disposition(headers.get(DISPOSITION))
    if TRANSFER_ENCODING in headers and name:
        body = _decode_transfer(body[start:end], headers[TRANSFER_ENCODING], name)
        start, end = 0, len(body)
    if filename is not None or _is_file(body[start : min(end, start + START_BYTES)], headers):
        return name, FilePart(filename or "", body[start:end])
    return name, _text(memoryview(body)[start:end], headers.get(CONTENT_TYPE))


def split_parts(
    body: bytes | mmap, delimiter: bytes, max_parts: int | None
) -> Iterator[tuple[dict[str, str], int, int]]:
    """Yield the headers of each part, and where its content starts and ends.

    Args:
        body: The form.
        delimiter: The boundary behind two hyphens.
        max_parts: Maximum number of parts.

    Raises:
        BadRequestError: The last boundary is missing, or see `parse_multipart`.
    """
    _check_boundary(delimiter)
    head: bytes | None = None
    start = parts = occurrences = 0
    possible_end = -1  # a last boundary with something behind it
    position = body.find(delimiter)
    while position >= 0:
        occurrences += 1
        if max_parts is not None and occurrences - parts > MAX_LOOKALIKES:
            raise BadRequestError(
                f"The boundary of the form occurs more than {MAX_LOOKALIKES} times within its parts. Use a longer one."
            )
        line_break = _line_break_before(body, position)
        after = _end_of_delimiter(body, position, position + len(delimiter), start)
        if after:
            if head is not None:
                yield _parse_headers(head), start, max(start, position - line_break)
            if after[0] == CLOSE:
                return
            parts += 1
            check_count(parts, max_parts)
            head, start = _read_headers(body, after.end())
        elif line_break and _is_close(body, position + len(delimiter)):
            possible_end = max(start, position - line_break)
        position = body.find(delimiter, max(start, position + len(delimiter)))
    if head is None or possible_end < start:
        raise BadRequestError(explain_form(body, delimiter))
    yield _parse_headers(head), start, possible_end


def _check_boundary(delimiter: bytes) -> None:
    length = len(delimiter) - len(CLOSE)
    if length > MAX_BOUNDARY_LENGTH:
        raise BadRequestError(
            f"The boundary of the form has {length} characters; at most {MAX_BOUNDARY_LENGTH} are accepted."
        )


def _is_close(body: bytes | mmap, position: int) -> bool:
    return body[position : position + len(CLOSE)] == CLOSE


def _end_of_delimiter(body: bytes | mmap, position: int, end: int, start: int) -> re.Match[bytes] | None:
    """Return what follows a delimiter up to the next line; None if this is not one, but data.

    Args:
        body: The form.
        position: Where the delimiter begins.
        end: Where its boundary ends.
        start: Where the content of the current part begins; 0 before the first part.
    """
    after = END_OF_BOUNDARY.match(body, end)
    if not after or (start and not _line_break_before(body, position)):
        return None
    if start == position and (after[0] == CLOSE or body[after.end()] in CRLF) and start:
        return None  # an empty part has a line break of its own, but some clients leave it out between parts
    return after


def check_count(parts: int, max_parts: int | None) -> None:
    """Check that a form does not have too many parts or fields.

    Raises:
        BadRequestError: It has.
    """
    if max_parts is not None and parts > max_parts:
        raise BadRequestError(f"The form has more than {max_parts} parts. Send fewer images.")


def _line_break_before(body: bytes | mmap, position: int) -> int:
    """Return the length of the line break that ends before a position."""
    end = body[max(0, position - len(CRLF)) : position]
    return len(CRLF) if end == CRLF else int(end.endswith((b"\n", b"\r")))


def _read_headers(body: bytes | mmap, start: int) -> tuple[bytes, int]:
    """Return the headers of a part, and where its content starts."""
    blank = END_OF_HEADERS.search(body, start, start + MAX_PART_HEADERS_BYTES)
    if not blank and len(body) - start < MAX_PART_HEADERS_BYTES:
        raise BadRequestError(
            f"The form ends within the headers of a part: {format_size(len(body))} arrived. It was cut off, or the "
            "blank line behind the headers is missing. Send all of it."
        )
    if not blank:
        raise BadRequestError(f"The headers of a part of the form are longer than {MAX_PART_HEADERS_BYTES} bytes.")
    second_break = LINE_BREAK.match(body, (blank.start() + blank.end()) // 2)
    return body[start : blank.start()], second_break.end() if second_break else blank.end()


def _parse_headers(head: bytes) -> dict[str, str]:
    """Return the first value of each header, by its name in lower case."""
    headers: dict[str, str] = {}
    for line in CONTINUATION.sub(b" ", head).splitlines():
        name, _, value = _decode_header(line).partition(":")
        headers.setdefault(name.strip(" \t").lower(), value.strip(" \t"))
    return headers


def _decode_header(line: bytes) -> str:
    """Decode a header. File names may be in any character set; they only appear in messages."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        # A backslash behind such a byte is the second one of a character of Shift_JIS, Big5 or GBK.
        return line.decode(errors="replace").replace("\N{REPLACEMENT CHARACTER}\\", "\N{REPLACEMENT CHARACTER}")


def parse_disposition(disposition: str | None) -> tuple[str | None, str | None]:
    """Return the name of a part, and its file name if it is a file.

    Raises:
        BadRequestError: There is no Content-Disposition.
    """
    if disposition is None:
        raise BadRequestError(
            'A part of the form has no Content-Disposition. Expected: Content-Disposition: form-data; name="image"; '
            'filename="photo.jpg".'
        )
    match = PLAIN_DISPOSITION.fullmatch(disposition)
    if match:
        return match[1], match[2]
    _, parameters = parse_options_header(disposition)
    filename = parameters.get("filename")
    if filename is None and FILENAME.search(disposition):
        filename = ""  # it is not quoted correctly
    return parameters.get("name"), filename


def _is_file(start: bytes, headers: Mapping[str, str]) -> bool:
    """Return whether a part without a file name is a file, by its type, its encoding and its first bytes.

    Base64 is often sent with the type of the image that it holds.
    """
    if ASCII_TEXT.fullmatch(start):
        return False
    media_type = parse_options_header(headers.get(CONTENT_TYPE))[0].lower()
    is_encoded = headers.get(TRANSFER_ENCODING, "").lower().startswith("base64")
    return is_encoded or sniff(start) is not None or is_image_type(media_type) or name_kind(start) not in TEXT_KINDS


def _decode_transfer(content: bytes, encoding: str, name: Name) -> bytes:
    """Decode the content of a file according to its header Content-Transfer-Encoding.

    Raises:
        BadRequestError: It is not valid, or of an encoding that is not accepted.
    """
    encoding = encoding.partition(";")[0].strip().lower()
    field = str(name) if isinstance(name, str) else ""
    if encoding in {"quoted-printable", "x-uuencode", "uuencode"}:
        raise BadRequestError(
            f"The part {quote(field)} has Content-Transfer-Encoding: {encoding}. Accepted: binary, 8bit, 7bit, base64.",
            field=field,
        )
    if encoding != "base64":
        return content
    try:
        return decode_base64(lambda: decode_plain(memoryview(content)))
    except ValueError:
        raise BadRequestError(
            f"The part {quote(field)} has Content-Transfer-Encoding: base64, but its content is not valid base64.",
            field=field,
        ) from None


def _text(content: memoryview, content_type: str | None) -> str | LongText:
    if len(content) > LONG_TEXT_BYTES:
        return LongText(content, decode_plain)
    charset = parse_options_header(content_type)[1].get("charset", "").lower()
    return str(content, charset if charset in CHARSETS else "utf-8", "replace")
