"""HTTP responses of untrusted servers (RFC 9112): every byte is counted, and every length is checked.

`http.client` parses the head. What it reads from is an object of this module that counts, so that no length that a
server claims, and no way in which a parser reads, goes beyond the limit.
"""

import io
import re
import sys
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage, HTTPResponse
from typing import Any

from gateway.deadline import Deadline

MAX_HEAD_BYTES = 128 * 1024
"""Size of a head, interim responses included; 100 header lines of 64 KiB and any number of those are legal."""
BUFFER_BYTES = 64 * 1024
FRAMING_BYTES = 64 * 1024
FRAMING_FRACTION = 1 / 32
"""Chunk sizes may take this many bytes, and this fraction of the content: chunks of 250 bytes on average are accepted.

Each chunk takes as much time as kilobytes of content do, so that an image in chunks of one byte would take seconds."""
MAX_CHUNK_LINE_BYTES = 4096
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?\r?\n")
LENGTH = re.compile(r"[0-9]+", re.ASCII)
LENGTH_DIGITS = 18
HEADERS = ("Location", "Content-Encoding", "Content-Type")
"""Everything else is dropped before anybody parses it: cookies, links, dates."""


class BoundedResponse(HTTPResponse):
    """A response of which at most a known number of bytes is ever read.

    After `begin`, its body is not chunked, whatever was sent, and its headers are those of `HEADERS`, and
    `Content-Length` if the length is known.

    Args:
        sock: The connection.
        deadline: When reading ends.
        max_bytes: Size of a body that may be accepted. Slightly more bytes are read.
    """

    def __init__(self, sock: Any, *, deadline: Deadline, max_bytes: int, **options: Any) -> None:
        super().__init__(sock, **options)
        self._max_bytes = max_bytes
        self._counted = _CountedReader(self.fp.detach(), deadline)
        self.fp = io.BufferedReader(self._counted, BUFFER_BYTES)

    def begin(self) -> None:
        """Read the head, and those of the interim responses before it (RFC 9110 section 15.2).

        Raises:
            HTTPException: It is not HTTP, or too long, or it contradicts itself.
            OSError: The connection was lost, or the deadline has passed.
        """
        super().begin()
        while self.status < HTTPStatus.OK and self.status != HTTPStatus.SWITCHING_PROTOCOLS:
            self.headers = self.msg = None  # type: ignore[assignment]  # as before `begin`
            super().begin()
        framing = FRAMING_BYTES + int(self._max_bytes * FRAMING_FRACTION)
        self._counted.limit = self._counted.count + self._max_bytes + framing
        self._set_body()

    def _set_body(self) -> None:
        source = self.headers
        self.headers = self.msg = HTTPMessage()
        for name in HEADERS:
            for value in source.get_all(name, ()):
                self.headers[name] = value
        self.will_close = True
        if _is_chunked(source):
            self.chunked = False
            self.length = None
            self.fp = io.BufferedReader(_ChunkedBody(self.fp), BUFFER_BYTES)
        elif self.length != 0:
            self.length = _content_length(source)
        if self.length is not None:
            self.headers["Content-Length"] = str(self.length)


def _is_chunked(headers: HTTPMessage) -> bool:
    codings = [
        coding.strip().lower() for line in headers.get_all("Transfer-Encoding", ()) for coding in line.split(",")
    ]
    codings = [coding for coding in codings if coding not in {"", "identity"}]
    if codings and codings != ["chunked"]:
        raise HTTPException("The transfer coding is not `chunked`.")
    return bool(codings)


def _content_length(headers: HTTPMessage) -> int | None:
    """Return the length that the headers declare (RFC 9112 section 6.3); None if they declare none."""
    values = {value.strip() for line in headers.get_all("Content-Length", ()) for value in line.split(",")}
    if not values:
        return None
    if len(values) > 1 or not LENGTH.fullmatch(digits := values.pop()):
        raise HTTPException("The Content-Length is not a number of bytes.")
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= LENGTH_DIGITS else sys.maxsize


class _CountedReader(io.RawIOBase):
    """Reads at most `limit` bytes from a connection, until the deadline."""

    def __init__(self, connection: io.RawIOBase, deadline: Deadline) -> None:
        self._connection = connection
        self._deadline = deadline
        self.limit = MAX_HEAD_BYTES
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # A connection that was cut still returns the bytes that have arrived: cutting it does not end this by itself.
        if self._deadline.has_passed:
            raise TimeoutError("The deadline has passed.")
        if self.count >= self.limit:
            raise HTTPException("The response does not end.")
        count = self._connection.readinto(memoryview(buffer)[: self.limit - self.count]) or 0
        self.count += count
        return count

    def close(self) -> None:
        super().close()
        self._connection.close()


class _ChunkedBody(io.RawIOBase):
    """The content of a chunked body (RFC 9112 section 7.1). Trailers are not read."""

    def __init__(self, response: io.BufferedReader) -> None:
        self._response = response
        self._left = 0
        self._has_ended = False
        self._content_bytes = 0
        self._framing_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._left == 0 and not self._has_ended:
            self._left = self._read_size()
            self._has_ended = self._left == 0
        if self._has_ended:
            return 0
        count = self._response.readinto(memoryview(buffer)[: self._left])
        if count == 0:
            raise HTTPException("The connection was closed within a chunk.")
        self._left -= count
        self._content_bytes += count
        return count

    def close(self) -> None:
        super().close()
        self._response.close()

    def _read_size(self) -> int:
        if self._content_bytes and self._read_line().strip(b"\r\n"):
            raise HTTPException("A chunk is longer than its size.")
        size = CHUNK_SIZE.fullmatch(self._read_line())
        if size is None:
            raise HTTPException("The size of a chunk is not a number.")
        return int(size[1], 16)

    def _read_line(self) -> bytes:
        line = self._response.readline(MAX_CHUNK_LINE_BYTES)
        self._framing_bytes += len(line)
        if self._framing_bytes > FRAMING_BYTES + self._content_bytes * FRAMING_FRACTION:
            raise HTTPException("The chunks are too small.")
        return line
