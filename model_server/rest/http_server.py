"""Sockets and HTTP for the REST API: a thread per connection, keep-alive, a limit on concurrent requests.

It is based on the standard library's server instead of a WSGI server: TensorFlow Serving matches the request target
as sent, which WSGI does not pass on, and has its own answers to unknown methods and malformed requests.
"""

import logging
import re
import socket
import threading
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from model_server.memory import MAX_REQUEST_BYTES
from model_server.rest.app import Request, Response, RestApp, html_error, json_error

_LOG = logging.getLogger(__name__)

_METHODS = frozenset({"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"})
_IDLE_S = 300.0
"""Idle timeout of a connection."""
_STOP_POLL_S = 0.05
_MAX_LINE_BYTES = 2**20
_MAX_TRAILERS = 100
_DISCARD_BYTES = 2**16
_DISCARD_S = 5.0
_LENGTH = re.compile(r"[0-9]{1,15}")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")


class MalformedRequestError(ValueError):
    """The end of a request's body cannot be determined."""


class BodyTooLargeError(ValueError):
    """A request's body is larger than the limit."""


class HttpServer:
    """Listens for HTTP requests and answers them with a RestApp."""

    def __init__(
        self, app: RestApp, *, host: str, port: int, threads: int, max_body_bytes: int = MAX_REQUEST_BYTES
    ) -> None:
        """Bind the port; `start` accepts connections.

        Args:
            app: Answers the requests.
            host: Address to listen on.
            port: Port to listen on; 0 for any free port.
            threads: Requests to handle at the same time; further ones wait.
            max_body_bytes: Size of the largest body that is read.

        Raises:
            OSError: The port is in use.
        """
        self._server = _Server((host, port), app, threads, max_body_bytes)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": _STOP_POLL_S}, name="http", daemon=True
        )

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Start answering requests."""
        self._thread.start()

    def stop(self, grace_s: float) -> None:
        """Stop accepting connections, and wait at most `grace_s` seconds for the requests in progress."""
        self._server.shutdown()
        self._server.server_close()
        self._server.wait_until_idle(grace_s)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024  # when the queue is full, the client's kernel retries a second later

    def __init__(self, address: tuple[str, int], app: RestApp, threads: int, max_body_bytes: int) -> None:
        super().__init__(address, _Handler)
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.slots = threading.BoundedSemaphore(threads)
        self._in_progress = 0
        self._changed = threading.Condition()
        self.stopping = False

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  # the base class's
        """Log a connection that the client closed or that timed out."""
        _LOG.debug("The connection of %s failed", client_address, exc_info=True)

    def begin_request(self) -> None:
        with self._changed:
            self._in_progress += 1

    def end_request(self) -> None:
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
        self.server.begin_request()
        try:
            if self.parse_request():
                self._handle_request()
        finally:
            self.server.end_request()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a request that the standard library refuses as TensorFlow Serving's HTTP library does."""
        del message, explain
        status = HTTPStatus.NOT_IMPLEMENTED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus.BAD_REQUEST
        self._send(html_error(status))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Log nothing per request, like TensorFlow Serving."""

    def _handle_request(self) -> None:
        if self.command not in _METHODS:
            self._send(html_error(HTTPStatus.NOT_IMPLEMENTED))
            return
        try:
            body = self._read_body()
        except MalformedRequestError:
            self._send(html_error(HTTPStatus.BAD_REQUEST))
            return
        except BodyTooLargeError as error:
            self._send(replace(json_error(HTTPStatus.BAD_REQUEST, str(error)), close=True))
            self._discard()
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, _target(self.path), headers, body)
        with self.server.slots:
            response = self.server.app.respond(request)
        self._send(response)

    def _discard(self) -> None:
        """Read on, up to twice the limit: clients send the whole body before they read an answer."""
        self.connection.settimeout(_DISCARD_S)
        size = 0
        while size < 2 * self.server.max_body_bytes and (data := self.rfile.read1(_DISCARD_BYTES)):
            size += len(data)

    def _read_body(self) -> bytes:
        """Read the body, whose length must be stated exactly once.

        With two contradicting lengths, a proxy could take a part of the body for another request (request smuggling).

        Raises:
            MalformedRequestError: The length is invalid or stated more than once, or the body ends early.
            BodyTooLargeError: The body is larger than `max_body_bytes`.
        """
        lengths = self.headers.get_all("Content-Length", [])
        encodings = self.headers.get_all("Transfer-Encoding", [])
        if len(lengths) + len(encodings) > 1:
            raise MalformedRequestError(f"the body's length is stated more than once: {lengths + encodings}")
        if encodings:
            if encodings[0].strip().lower() != "chunked":
                raise MalformedRequestError(f"Transfer-Encoding: {encodings[0]}")
            return self._read_chunks()
        if not lengths:
            return b""
        if not _LENGTH.fullmatch(lengths[0].strip()):
            raise MalformedRequestError(f"Content-Length: {lengths[0]}")
        self._check_size(int(lengths[0]))
        return self._read_exactly(int(lengths[0]))

    def _check_size(self, size: int) -> None:
        limit = self.server.max_body_bytes
        if size > limit:
            raise BodyTooLargeError(f"The body has at least {size} bytes; at most {limit} are accepted")

    def _read_exactly(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise MalformedRequestError("the connection ended within the body")
        return data

    def _read_chunks(self) -> bytes:
        """Read a chunked body, see RFC 9112, section 7.1."""
        body = bytearray()  # a list of small chunks would take many times their bytes
        while size := self._chunk_size():
            self._check_size(len(body) + size)
            body += self._read_exactly(size)
            self.rfile.readline(_MAX_LINE_BYTES)
        for _ in range(_MAX_TRAILERS):
            if not self.rfile.readline(_MAX_LINE_BYTES).strip():
                return bytes(body)
        raise MalformedRequestError(f"more than {_MAX_TRAILERS} trailers")

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
        # One write: with two, Nagle's algorithm and delayed acknowledgements would add a delay.
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def _connection_header(self) -> str:
        """Return the value of Connection; empty if it is the default of the client's HTTP version."""
        if self.request_version == "HTTP/1.0":
            return "" if self.close_connection else "keep-alive"
        return "close" if self.close_connection else ""


def _target(path: str) -> str:
    """Return path and query of a request target, which may be an absolute URL."""
    if path.startswith("/"):
        return path
    parts = urlsplit(path)
    return parts.path + (f"?{parts.query}" if parts.query else "")
