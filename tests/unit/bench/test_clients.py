"""Answers that are not right are never counted."""

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.clients import NoAnswerError, Question, WrongAnswerError, ask

pytestmark = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")

RIGHT = '{"results":[{"class":"cat"},{"class":"dog"}]}'
EXPECTED = ['"class":"cat"', '"class":"dog"']


def handler(text: str, status: int, until: threading.Event) -> type[BaseHTTPRequestHandler]:
    """Make what answers everything alike, not before something has happened."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            until.wait(60)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def handle(self) -> None:
            with contextlib.suppress(OSError):  # wrk goes without a word
                super().handle()

        def finish(self) -> None:
            with contextlib.suppress(OSError):
                super().finish()

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    return Handler


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Start servers, and give their addresses; those that are held answer in the end."""
    servers: list[ThreadingHTTPServer] = []
    now, over = threading.Event(), threading.Event()
    now.set()

    def start(text: str, status: int = 200, *, held: bool = False) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler(text, status, over if held else now))
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/predict"

    yield start
    over.set()
    for server in servers:
        server.shutdown()
        server.server_close()


def load(url: str, folder: Path):
    return ask(Question(url, "image/png", b"picture", EXPECTED), folder, connections=2, seconds=1)


def test_right_answers_are_counted(serve: Callable[..., str], tmp_path: Path):
    found = load(serve(RIGHT), tmp_path)
    assert found.requests > 0
    assert found.wall_s > 0.5
    assert found.p99_ms >= found.p50_ms > 0


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ('{"results":[{"class":"cat"},{"class":"cat"}]}', 200),
        ('{"results":[{"class":"dog"},{"class":"cat"}]}', 200),
        (RIGHT, 503),
        ("", 200),
    ],
    ids=["another class", "another order", "another status", "nothing"],
)
def test_a_wrong_answer_ends_it(serve: Callable[..., str], tmp_path: Path, text: str, status: int):
    with pytest.raises(WrongAnswerError):
        load(serve(text, status), tmp_path)


def test_no_answer_is_no_measurement(serve: Callable[..., str], tmp_path: Path):
    with pytest.raises(NoAnswerError):
        load(serve(RIGHT, held=True), tmp_path)
