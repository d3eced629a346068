"""wrk and h2load: only correct answers are counted."""

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.external_load import HttpRequest, HttpUsers, NoAnswerError, Throughput, WrongAnswerError, run_wrk
from tools.load_generator import OK

needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
needs_h2load = pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load is not installed")

CORRECT = '{"results":[{"class":"cat"},{"class":"dog"}]}'
EXPECTED = ['"class":"cat"', '"class":"dog"']


def make_handler(text: str, statuses: list[int], may_answer: threading.Event) -> type[BaseHTTPRequestHandler]:
    """Return a handler that gives every request the same text and the next of the statuses, once it may answer."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            may_answer.wait(60)
            self.send_response(statuses[0])
            statuses.append(statuses.pop(0))
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def handle(self) -> None:
            with contextlib.suppress(OSError):  # wrk closes its connections without notice
                super().handle()

        def finish(self) -> None:
            with contextlib.suppress(OSError):
                super().finish()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    return Handler


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Start servers and return their URLs; those that are `blocked` answer only at the end of the test."""
    servers: list[ThreadingHTTPServer] = []
    always, at_the_end = threading.Event(), threading.Event()
    always.set()

    def start(text: str, *statuses: int, blocked: bool = False) -> str:
        handler = make_handler(text, list(statuses) or [200], at_the_end if blocked else always)
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/predict"

    yield start
    at_the_end.set()
    for server in servers:
        server.shutdown()
        server.server_close()


def run(url: str, folder: Path) -> Throughput:
    return run_wrk(HttpRequest(url, "image/png", b"image", EXPECTED), folder, connections=2, seconds=1)


@needs_wrk
def test_correct_answers_are_counted(serve: Callable[..., str], tmp_path: Path):
    load = run(serve(CORRECT), tmp_path)

    assert load.requests > 0
    assert load.wall_s > 0.5
    assert load.p99_ms >= load.p50_ms > 0


@needs_wrk
@pytest.mark.parametrize(
    ("text", "status"),
    [
        ('{"results":[{"class":"cat"},{"class":"cat"}]}', 200),
        ('{"results":[{"class":"dog"},{"class":"cat"}]}', 200),
        (CORRECT, 503),
        ("", 200),
    ],
    ids=["another class", "another order", "another status", "empty"],
)
def test_a_wrong_answer_is_an_error(serve: Callable[..., str], tmp_path: Path, text: str, status: int):
    with pytest.raises(WrongAnswerError):
        run(serve(text, status), tmp_path)


@needs_wrk
def test_a_run_without_an_answer_is_an_error(serve: Callable[..., str], tmp_path: Path):
    with pytest.raises(NoAnswerError):
        run(serve(CORRECT, blocked=True), tmp_path)


@needs_h2load
def test_h2load_users_count_answers_by_status(serve: Callable[..., str], tmp_path: Path):
    image = tmp_path / "image.png"
    image.write_bytes(b"image")

    load = HttpUsers(serve(CORRECT, 200, 503), image).run(seconds=1, users=2)

    assert load.counts.keys() == {OK, "503"}
    assert load.counts.total() == load.total > 0
    assert load.percentile_ms(99, "503") > 0
