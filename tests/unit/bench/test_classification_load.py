"""Users that classify golden images: the outcome of each request."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bench.classification_load import UNANSWERED, WRONG, ClassificationLoad
from tools.load_generator import OK


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """A folder with one golden image of the class `cat`."""
    (tmp_path / "00.png").write_bytes(b"image")
    document = {"images": [{"file": "00.png", "class": "cat"}]}
    (tmp_path / "golden.json").write_text(json.dumps(document), encoding="utf-8")
    return tmp_path


@pytest.fixture
def serve() -> Iterator[Callable[[int, Any], str]]:
    """Start a server that gives all requests the same answer, and return its URL."""
    servers: list[ThreadingHTTPServer] = []

    def start(status: int, document: Any) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                body = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/predict"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "document", "outcome"),
    [
        (200, {"class": "cat", "model": {"version": 7}}, OK),
        (200, {"class": "dog", "model": {"version": 7}}, WRONG),
        (503, {"type": "/problems/overloaded"}, "503 overloaded"),
        (200, b"not JSON", UNANSWERED),
    ],
)
def test_an_answer_has_an_outcome(serve, golden: Path, status: int, document: Any, outcome: str):
    load = ClassificationLoad(serve(status, document), golden, users=2)

    load.run(0)

    assert set(load.counts) == {outcome}
    assert load.versions == ({7: load.counts[OK]} if outcome == OK else {})


def test_a_refused_connection_is_no_answer(golden: Path):
    load = ClassificationLoad("http://127.0.0.1:1/predict", golden, users=1)

    load.run(0)

    assert set(load.counts) == {UNANSWERED}
