"""Requests and responses of gunicorn with less work: a usual head is parsed at once, and sent with the body."""

import functools
import re
import time
from typing import Any

from gunicorn import util  # type: ignore[import-untyped]
from gunicorn.http import message, parser, wsgi  # type: ignore[import-untyped]

MAX_USUAL_BYTES = 8190
"""A head of at most this size also keeps to gunicorn's limits on its lines."""
# A path, perhaps with a query, and headers of one line each, whose names have no underscore.
USUAL_HEAD = re.compile(
    rb"([A-Z]{3,20}) (/(?!/)[!\"$-~]*+) HTTP/1\.([01])\r\n"
    rb"((?:[!#$%&'*+.^`|~0-9A-Za-z-]++:[\t -~\x80-\xff]*+\r\n)*+)\r\n"
)
SINGLE_HEADERS = ("HOST", "CONTENT-TYPE")
"""gunicorn's parser refuses a request that has one of them twice."""


class Request(message.Request):  # type: ignore[misc]  # gunicorn has no types
    """A request whose head is parsed by one regular expression if it is a usual one, and otherwise by gunicorn.

    gunicorn checks one header after the other, which takes four times as long. Headers of proxies are not looked for:
    `gunicorn_conf` trusts none.
    """

    def parse(self, unreader: Any) -> bytes:
        """Parse the head and return what follows it; see `gunicorn.http.message.Request`."""
        data: bytes = unreader.take_buffered()
        head = USUAL_HEAD.match(data, 0, MAX_USUAL_BYTES)
        if head is not None and self._accept_headers(head[4].decode("latin-1")):
            uri: str = head[2].decode()
            self.method, self.uri = head[1].decode(), uri
            self.path, _, self.query = uri.partition("?")
            self.fragment = ""
            self.version = (1, int(head[3]))
            return data[head.end() :]
        unreader.unread(data)
        rest: bytes = super().parse(unreader)
        return rest

    def _accept_headers(self, lines: str) -> bool:
        """Take over well-formed headers, unless gunicorn must look at them."""
        fields = [line.partition(":") for line in lines.split("\r\n") if line]
        self.headers = [(name.upper(), value.strip("\t ")) for name, _, value in fields]
        names = [name for name, _ in self.headers]
        return (
            len(names) <= self.limit_request_fields
            and "EXPECT" not in names
            and all(names.count(name) <= 1 for name in SINGLE_HEADERS)
        )


class RequestParser(parser.Parser):  # type: ignore[misc]  # as above
    """Parses the requests of a connection."""

    mesg_class = Request


class Response(wsgi.Response):  # type: ignore[misc]  # as above
    """A response whose head is sent with the first piece of its body, in one packet.

    gunicorn sends them one after the other, and each call releases the interpreter's lock to another thread.
    """

    headers_sent: bool

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._unsent_head = b""

    def send_headers(self) -> None:
        """Make the head, which `_emit_body` or `close` sends; see `gunicorn.http.wsgi.Response`."""
        if self.headers_sent:
            return
        self.headers_sent = True
        headers = [*self._server_headers(), *(f"{name}: {value}" for name, value in self.headers), "", ""]
        self._unsent_head = "\r\n".join(headers).encode("latin-1")
        if self.chunked:
            self._send_head()

    @property
    def has_sent(self) -> bool:
        """Whether the client has received a part of it."""
        return self.headers_sent and not self._unsent_head

    def sendfile(self, respiter: Any) -> bool:
        """Send a file without reading it, if possible; see `gunicorn.http.wsgi.Response`."""
        self.send_headers()
        self._send_head()
        return bool(super().sendfile(respiter))

    def close(self) -> None:
        """End the response."""
        super().close()
        if self._unsent_head:  # there was no body
            self._send_head()

    def _emit_body(self, data: bytes) -> None:
        head, self._unsent_head = self._unsent_head, b""
        super()._emit_body(head + data)

    def _send_head(self) -> None:
        head, self._unsent_head = self._unsent_head, b""
        self.sock.sendall(head)

    def _server_headers(self) -> list[str]:
        """Return the status line and the headers that the application does not set."""
        major, minor = self.req.version
        coding = ["Transfer-Encoding: chunked"] if self.chunked else []
        return [
            f"HTTP/{major}.{minor} {self.status}",
            f"Server: {self.version}",
            f"Date: {_format_date(int(time.time()))}",
            f"Connection: {'close' if self.should_close() else 'keep-alive'}",
            *coding,
        ]


@functools.lru_cache(maxsize=1)
def _format_date(second: int) -> str:
    """Format a time as in the header Date (RFC 9110 section 5.6.7)."""
    date: str = util.http_date(second)
    return date
