"""A connection of gunicorn's threaded worker that receives the head of a request before a thread handles it."""

import re
import socket
from typing import Any

from gunicorn.http.errors import LimitRequestHeaders  # type: ignore[import-untyped]
from gunicorn.workers.gthread import TConn  # type: ignore[import-untyped]

from gateway.runtime.gunicorn_messages import RequestParser

READ_TIMEOUT_S = 10.0
"""For each read of a body, as in nginx; `TimedSocket` has the time for all of it."""
NOT_ASCII = re.compile(rb"[\x80-\xff]")
RECEIVE_BYTES = 8192
MAX_LINE_BYTES = 8192
"""With its end: what fits into one of nginx's buffers for headers."""
MAX_HEAD_BYTES = 5 * MAX_LINE_BYTES
"""The request line, and as many bytes of headers as nginx accepts."""
HAS_BODY = re.compile(rb"\n(?:content-length|transfer-encoding)[ \t]*:", re.IGNORECASE)
END_OF_HEAD = re.compile(rb"\n\r?\n")  # gunicorn's parser rejects lines that end with LF alone
LINGER_BYTES = 65536
"""At once, of a body that nobody reads."""
LINGER_MAX_BYTES = 256 * 1024 * 1024
"""More than any image: some clients, such as Node's fetch, lose the response if they cannot send all of a body."""


class Connection(TConn):  # type: ignore[misc]  # gunicorn has no types
    """A connection with a `TimedSocket`; see `TConn`.

    Attributes:
        head: What has been received of the next request's head, and perhaps a part of its body.
        has_head: Whether that is enough for gunicorn's parser, which then needs no further byte to accept or reject it.
        request_head: The head of the request that a thread handles, with what followed it.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.parser: Any = None
        self.data_ready = True  # the thread need not wait
        self.head = bytearray()
        self.has_head = False
        self.request_head = b""
        self._drained_bytes = 0

    def init(self) -> None:
        """Pass the head to the parser; called before each request.

        Raises:
            LimitRequestHeaders: The head is too long.
        """
        if self.parser is None:
            self.parser = RequestParser(self.cfg, self.sock, self.client)
        self.sock.settimeout(READ_TIMEOUT_S)
        self.request_head, self.head, self.has_head = bytes(self.head), bytearray(), False
        if len(self.request_head) > MAX_HEAD_BYTES and not END_OF_HEAD.search(self.request_head):
            raise LimitRequestHeaders("")
        self.parser.unreader.unread(_escape_request_line(self.request_head))

    def receive_head(self) -> bool:
        """Receive once; return whether that was the last time: the head is complete, or the client has gone."""
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except (BlockingIOError, TimeoutError):
            return False
        except OSError:
            return True
        self._append(data)
        return self.has_head or not data

    def receive_next_head(self, wait_s: float) -> bool:
        """Wait for the next request on this connection; return whether its head is complete."""
        self.sock.settimeout(wait_s)
        try:
            self.sock.wait_for_data()  # it has rarely arrived yet
        except TimeoutError:
            return False
        return self.receive_head() and self.has_head

    def take_pipelined(self) -> bool:
        """Take what followed the last request; return whether that is a complete head."""
        self._append(self.parser.unreader.take_buffered())
        return self.has_head

    def has_body(self) -> bool:
        """Return whether a body follows the head, which may arrive slowly."""
        end = END_OF_HEAD.search(self.head)
        return end is None or bool(HAS_BODY.search(self.head, 0, end.end()))

    def end_response(self) -> None:
        """Tell the client that nothing more will be sent."""
        self.has_head = False
        self.sock.settimeout(0)
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drained_bytes = LINGER_MAX_BYTES  # the client has gone already

    def drain(self) -> bool:
        """Discard what the client still sends; return whether that was the last time."""
        try:
            data = self.sock.recv(LINGER_BYTES)
        except BlockingIOError:
            return self._drained_bytes >= LINGER_MAX_BYTES
        except OSError:
            return True
        self._drained_bytes += len(data)
        return not data or self._drained_bytes >= LINGER_MAX_BYTES

    def _append(self, data: bytes) -> None:
        start = max(0, len(self.head) - 2)
        self.head += data
        self.has_head = bool(END_OF_HEAD.search(self.head, start)) or self._is_too_long()

    def _is_too_long(self) -> bool:
        size = len(self.head)
        return size > MAX_HEAD_BYTES or (size > MAX_LINE_BYTES and self.head.find(b"\n", 0, MAX_LINE_BYTES + 1) < 0)


def _escape_request_line(head: bytes) -> bytes:
    """Return a head whose request line is ASCII, if it is UTF-8: curl, among others, sends a URL as it was typed.

    gunicorn's parser refuses a line with any other bytes.
    """
    end = head.find(b"\n", 0, MAX_LINE_BYTES)
    line = head[: max(0, end)]
    if line.isascii():
        return head
    try:
        line.decode()
    except UnicodeDecodeError:
        return head
    return NOT_ASCII.sub(lambda match: b"%%%02X" % match[0][0], line) + head[end:]
