"""An HTTP server for downloads and their pages: it may ignore ranges, and it may cut connections."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Mirror:
    """Behaviour of the server, and the path and the Range header of each request it received."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges_supported: bool = True
    break_after: list[int] = field(default_factory=list)
    """Number of bytes after which the connection is cut, for each of the next requests."""
    paths: list[str] = field(default_factory=list)
    range_headers: list[str | None] = field(default_factory=list)


@contextmanager
def serving() -> Iterator[Mirror]:
    """Serve the current content of `files` by path."""
    state = Mirror()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):  # http.server's name
            state.paths.append(self.path)
            state.range_headers.append(self.headers["Range"])
            body = state.files.get(self.path)
            if body is None:
                self.send_error(404)
                return
            start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
            if not state.ranges_supported:
                start = 0
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            end = start + state.break_after.pop(0) if state.break_after else len(body)
            self.wfile.write(body[start:end])

        def log_message(self, *_arguments: object):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
