"""A server on the loopback that answers every connection with a script, byte for byte."""

import contextlib
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterable
from typing import Self

Send = Callable[[bytes], None]
Script = Callable[[str, Send], None]
"""Called with the head of the request and a function that sends bytes; its return closes the connection."""

END_OF_HEAD = b"\r\n\r\n"


def answer(body: bytes = b"", *, status: str = "200 OK", headers: Iterable[str] = ()) -> Script:
    """Return a script that sends one complete response."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return lambda _, send: send("\r\n".join([*head, "", ""]).encode() + body)


def redirect(location: str) -> Script:
    """Return a script that redirects the client."""
    return answer(status="302 Found", headers=[f"Location: {location}"])


class _Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: type[socketserver.BaseRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)


class RawServer:
    """Serves in a separate thread until `close`.

    Attributes:
        requests: Heads of the requests received, in order.
        sent_bytes: Bytes that were sent to all clients.
    """

    def __init__(
        self, script: Script, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.requests: list[str] = []
        self.sent_bytes = 0
        self.closing = threading.Event()
        self._script = script
        self._tls = tls
        self._server = _Listener((host, port), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, path: str = "/picture") -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}{path}"

    def trickle(self, send: Send, parts: Iterable[bytes]) -> None:
        """Send each part after a short pause, until the client disconnects or the server closes."""
        for part in parts:
            if self.closing.wait(0.03):
                return
            send(part)

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _handler(self) -> type[socketserver.BaseRequestHandler]:
        server = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):  # clients disconnect in the middle; some tests are about that
                    server.converse(self.request)

        return Handler

    def converse(self, connection: ssl.SSLSocket) -> None:
        """Read the head of one request and run the script."""
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_side=True)
        with connection:
            head = b""
            while END_OF_HEAD not in head:
                received = connection.recv(65536)
                if not received:
                    return
                head += received
            self.requests.append(head.decode("latin-1"))
            self._script(self.requests[-1], lambda data: self._send(connection, data))

    def _send(self, connection: ssl.SSLSocket, data: bytes) -> None:
        connection.sendall(data)
        self.sent_bytes += len(data)
