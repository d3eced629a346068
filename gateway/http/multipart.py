"""Bodies and the forms in them, read and taken apart at the speed of memory.

werkzeug looks for boundaries by a regular expression, a third of a millisecond for a photo of 50 kB. What every usual
client sends is taken apart here by a search for bytes; whatever deviates from RFC 7578 in any way is left to werkzeug.
"""

import io
import re
from collections.abc import Iterator
from typing import IO, cast

from flask import Request
from werkzeug.datastructures import FileStorage, Headers, MultiDict
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header
from werkzeug.utils import cached_property
from werkzeug.wsgi import LimitedStream

from gateway.http.body_limits import FORM, MAX_PART_HEADERS_BYTES, MULTIPART, check_fields, check_parts

CRLF = b"\r\n"
END = b"--" + CRLF
# Quoted strings with nothing in them that stands for something else; what deviates is for werkzeug to read.
PLAIN_DISPOSITION = re.compile(r'form-data; name="([^"\\%]*)"(?:; filename="([^"\\%]*)")?')
Form = MultiDict[str, str]
Files = MultiDict[str, FileStorage]


class UnusualFormError(ValueError):
    """A form that only werkzeug's own parser may judge."""


class FormParser(FormDataParser):
    """Reads forms as werkzeug does, in less time, and refuses those that would take it long."""

    def parse(
        self, stream: IO[bytes], mimetype: str, content_length: int | None, options: dict[str, str] | None = None
    ) -> tuple[IO[bytes], Form, Files]:
        """Take a body apart into fields and files.

        Raises:
            BadRequestError: too many fields or parts, or headers of a part that are too long.
        """
        boundary = (options or {}).get("boundary", "")
        if mimetype not in {FORM, MULTIPART} or (mimetype == MULTIPART and not boundary):
            return super().parse(stream, mimetype, content_length, options)
        body = stream.read()
        if mimetype == FORM:
            check_fields(body, self.max_form_parts)
        else:
            try:
                return stream, *read_form(body, boundary.encode("ascii"), max_parts=self.max_form_parts)
            except (UnusualFormError, UnicodeError):
                check_parts(body, f"--{boundary}".encode(), self.max_form_parts)
        return super().parse(io.BytesIO(body), mimetype, content_length, options)


class WholeBody(LimitedStream):
    """A body of known length that the server is asked for as a whole.

    werkzeug reads 64 KiB at a time, for each of which gunicorn copies all that it has received beyond.
    """

    def readall(self) -> bytes:
        """Read all that is left.

        Raises:
            werkzeug.exceptions.ClientDisconnected: it did not come.
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
    """A request whose body is read as a whole, and its forms by `FormParser`."""

    form_data_parser_class = FormParser

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body, no longer than it may be.

        Raises:
            werkzeug.exceptions.RequestEntityTooLarge: its length is said to be more.
        """
        limited: IO[bytes] = super().stream
        length = self.content_length
        return limited if length is None else cast("IO[bytes]", WholeBody(self.environ["wsgi.input"], length))


def read_form(body: bytes, boundary: bytes, *, max_parts: int | None = None) -> tuple[Form, Files]:
    """Take a multipart body (RFC 7578) apart into fields and files.

    Raises:
        UnusualFormError: something in it is not as usual.
        UnicodeError: a header, or a field, is not UTF-8.
    """
    fields: list[tuple[str, str]] = []
    files: list[tuple[str, FileStorage]] = []
    for number, (head, data) in enumerate(_parts(body, b"--" + boundary)):
        if number == max_parts:
            raise UnusualFormError("more parts than it may have")
        headers = _headers(head)
        name, filename = _names(headers.get("content-disposition", ""))
        if filename is not None:
            files.append((name, FileStorage(io.BytesIO(data), filename, name, headers=headers)))
        elif "content-type" in headers:
            raise UnusualFormError("a field that may tell its character set")
        else:
            fields.append((name, data.decode()))
    return MultiDict(fields), MultiDict(files)


def _names(disposition: str) -> tuple[str, str | None]:
    """Read the name of a part, and of its file where it is one."""
    plain = PLAIN_DISPOSITION.fullmatch(disposition)
    if plain:
        return plain[1], plain[2]
    kind, told = parse_options_header(disposition)
    if kind != "form-data" or "name" not in told:
        raise UnusualFormError("a part without a name")
    return told["name"], told.get("filename")


def _parts(body: bytes, delimiter: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give headers and content of each part; every place that the delimiter is found at has to delimit."""
    if not body.startswith(delimiter + CRLF):
        raise UnusualFormError("something before the first part")
    start = len(delimiter + CRLF)
    while True:
        found = body.find(delimiter, start)
        end, after = found - len(CRLF), found + len(delimiter)
        blank = body.find(CRLF + CRLF, start, end)
        if blank < 0 or body[end:found] != CRLF:
            raise UnusualFormError("a part without headers, or cut off")
        if blank - start > MAX_PART_HEADERS_BYTES:
            raise UnusualFormError("long headers")
        yield body[start:blank], body[blank + 2 * len(CRLF) : end]
        # One byte more than an end has, so that what follows it is seen, and no copy of all that does.
        if body[after : after + len(END) + 1] in {END, END.removesuffix(CRLF)}:
            return
        if not body.startswith(CRLF, after):
            raise UnusualFormError("something behind a boundary")
        start = after + len(CRLF)


def _headers(head: bytes) -> Headers:
    text = head.decode().split("\r\n")
    if any("\r" in line or "\n" in line for line in text):
        raise UnusualFormError("a line that ends in another way")
    lines = [line.partition(":") for line in text]
    if any(not colon or name != name.strip() for name, colon, _ in lines):
        raise UnusualFormError("a header that is continued, or none")
    return Headers([(name, value.strip()) for name, _, value in lines])
