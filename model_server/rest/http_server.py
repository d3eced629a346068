"""Sockets and HTTP for the REST edge: a thread for each connection, keep-alive, a bound on work at once.

It stands on the standard library's server and not on a WSGI one: TensorFlow Serving goes by the request target
as sent, which WSGI does not hand on, and has its own answers to unknown methods and malformed requests.
"""

import logging
import re
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from model_server.rest.app import Request, Response, RestEdge, html_error

_LOG = logging.getLogger(__name__)

_METHODS = frozenset({"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"})
_IDLE_S = 300.0
"""How long a connection may be silent."""
_STOP_POLL_S = 0.05
_MAX_LINE_BYTES = 2**20
_LENGTH = re.compile(r"[0-9]{1,15}")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")


class MalformedRequestError(ValueError):
    """A request whose end cannot be told."""


class HttpServer:
    """Listens for HTTP requests and has a RestEdge answer them."""

    def __init__(self, edge: RestEdge, *, host: str, port: int, threads: int) -> None:
        """Listen, without accepting connections before `start`.

        Args:
            edge: what answers.
            host: address to listen on.
            port: its port; 0 for any that is free.
            threads: requests that are worked on at once; more wait.

        Raises:
            OSError: the port is taken.
        """
        self._server = _Server((host, port), edge, threads)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": _STOP_POLL_S}, name="http", daemon=True
        )

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self, grace_s: float) -> None:
        """Accept nothing more and wait until the requests in progress are answered, at most `grace_s`."""
        self._server.shutdown()
        self._server.server_close()
        self._server.wait_until_idle(grace_s)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024  # a connection that finds the queue full tries again a second later

    def __init__(self, address: tuple[str, int], edge: RestEdge, threads: int) -> None:
        super().__init__(address, _Handler)
        self.edge = edge
        self.turns = threading.BoundedSemaphore(threads)
        self._in_progress = 0
        self._changed = threading.Condition()
        self.stopping = False

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  # the base class's
        """Note that a client went away or was silent for too long."""
        _LOG.debug("The connection of %s failed", client_address, exc_info=True)

    def begin(self) -> None:
        with self._changed:
            self._in_progress += 1

    def end(self) -> None:
        with self._changed:
            self._in_progress -= 1
            self._changed.notify_all()

    def wait_until_idle(self, timeout_s: float) -> None:
        with self._changed:
            self.stopping = True
            self._changed.wait_for(lambda: not self._in_progress, timeout_s)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def handle_one_request(self) -> None:
        """Read a request and answer it."""
        self.raw_requestline = self.rfile.readline(_MAX_LINE_BYTES)
        if not self.raw_requestline.endswith(b"\n"):
            self.close_connection = True
            return
        self.server.begin()
        try:
            if self.parse_request():
                self._answer()
        finally:
            self.server.end()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what the standard library refuses, as the library under TensorFlow Serving does."""
        del message, explain
        status = HTTPStatus.NOT_IMPLEMENTED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus.BAD_REQUEST
        self._send(html_error(status))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the standard library's name for it
        """Log nothing for a request; TensorFlow Serving does not either."""

    def _answer(self) -> None:
        if self.command not in _METHODS:
            self._send(html_error(HTTPStatus.NOT_IMPLEMENTED))
            return
        try:
            body = self._read_body()
        except MalformedRequestError:
            self._send(html_error(HTTPStatus.BAD_REQUEST))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, _target(self.path), headers, body)
        with self.server.turns:
            response = self.server.edge.respond(request)
        self._send(response)

    def _read_body(self) -> bytes:
        """Read a body whose end the request tells once, so that nobody takes a part of it for another request.

        Raises:
            MalformedRequestError: it tells nothing that can be understood, or several things, or the body ends early.
        """
        lengths = self.headers.get_all("Content-Length", [])
        encodings = self.headers.get_all("Transfer-Encoding", [])
        if len(lengths) + len(encodings) > 1:
            raise MalformedRequestError(f"the body's end is told more than once: {lengths + encodings}")
        if encodings:
            if encodings[0].strip().lower() != "chunked":
                raise MalformedRequestError(f"Transfer-Encoding: {encodings[0]}")
            return self._read_chunks()
        if not lengths:
            return b""
        if not _LENGTH.fullmatch(lengths[0].strip()):
            raise MalformedRequestError(f"Content-Length: {lengths[0]}")
        return self._read_exactly(int(lengths[0]))

    def _read_exactly(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise MalformedRequestError("the connection ended within the body")
        return data

    def _read_chunks(self) -> bytes:
        """Read a body as RFC 9112, section 7.1, cuts it up."""
        chunks = []
        while size := self._chunk_size():
            chunks.append(self._read_exactly(size))
            self.rfile.readline(_MAX_LINE_BYTES)
        while self.rfile.readline(_MAX_LINE_BYTES).strip():
            pass  # trailers
        return b"".join(chunks)

    def _chunk_size(self) -> int:
        match = _CHUNK_SIZE.match(self.rfile.readline(_MAX_LINE_BYTES))
        if match is None:
            raise MalformedRequestError("a chunk without its size")
        return int(match[0], 16)

    def _send(self, response: Response) -> None:
        if response.close or self.server.stopping:
            self.close_connection = True
        status = HTTPStatus(response.status) if response.status in HTTPStatus._value2member_map_ else None
        lines = [
            f"HTTP/1.1 {response.status} {status.phrase if status else 'Unknown'}",
            f"Content-Type: {response.content_type}",
            f"Date: {self.date_time_string()}",
            f"Content-Length: {len(response.body)}",
            *(f"{name}: {value}" for name, value in response.headers.items()),
        ]
        connection = self._connection_header()
        if connection:
            lines.append(f"Connection: {connection}")
        body = b"" if self.command == "HEAD" else response.body
        # In one piece: two would wait for each other by Nagle's algorithm and delayed acknowledgements.
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def _connection_header(self) -> str:
        """Say what differs from the habit of the client's HTTP version."""
        if self.request_version == "HTTP/1.0":
            return "" if self.close_connection else "keep-alive"
        return "close" if self.close_connection else ""


def _target(path: str) -> str:
    """Return the path and query of a request target, which may be an absolute URL."""
    if path.startswith("/"):
        return path
    parts = urlsplit(path)
    return parts.path + (f"?{parts.query}" if parts.query else "")
