"""A server of picture URLs as an attacker runs it: `python -m bench.hostile_pictures PORT`.

It answers by the first part of the path: `hang` never, `drip` with a byte a second, `big` with 10 MiB of junk,
`endless` with a chunk of size -1 and bytes without end, `negative` with a chunk of size -5, `length` with a length of
5,000 digits, `hints` with 103 Early Hints without end.
"""

import contextlib
import socketserver
import sys
import time

HOUR_S = 3600
_BLOCK = bytes(1 << 16)
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        """Read the head of a request and answer it."""
        with contextlib.suppress(OSError, IndexError):
            kind = self.request.recv(1 << 16).split()[1].split(b"/")[1]
            getattr(self, f"_send_{kind.decode()}", self._send_hang)()

    def _send_hang(self) -> None:
        time.sleep(HOUR_S)

    def _send_drip(self) -> None:
        self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
        while True:
            self.request.sendall(b"x")
            time.sleep(1)

    def _send_big(self) -> None:
        self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\nGIF89a")
        self._send_endlessly()

    def _send_endless(self) -> None:
        self.request.sendall(_CHUNKED + b"-1\r\n")
        self._send_endlessly()

    def _send_negative(self) -> None:
        self.request.sendall(_CHUNKED + b"-5\r\nabc\r\n")

    def _send_length(self) -> None:
        self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nabc")

    def _send_hints(self) -> None:
        while True:
            self.request.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")

    def _send_endlessly(self) -> None:
        while True:
            self.request.sendall(_BLOCK)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024


if __name__ == "__main__":
    _Server(("127.0.0.1", int(sys.argv[1])), _Handler).serve_forever()
