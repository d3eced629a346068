"""The worker under a real gunicorn, asked over real connections."""

import contextlib
import http.client
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.stack import listens
from tests.support.waiting import until
from tools.ports import find

ROOT = Path(__file__).parents[4]
PATIENCE_S = 30
THREADS = 2

Connect = Callable[[int], http.client.HTTPConnection]


@contextlib.contextmanager
def started(worker: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    (port,) = find(1)
    options = [
        f"--worker-class={worker}",
        f"--threads={THREADS}",
        "--keep-alive=75",
        "--graceful-timeout=2",
        f"--bind=127.0.0.1:{port}",
    ]
    command = [sys.executable, "-m", "gunicorn", *options, "--no-control-socket", "tests.support.told_threads:app"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: listens(port), PATIENCE_S)
            yield process, port
        finally:
            process.terminate()


@pytest.fixture
def connect() -> Iterator[Callable[[int], http.client.HTTPConnection]]:
    """Open connections that are closed in the end."""
    with contextlib.ExitStack() as opened:

        def connect(port: int) -> http.client.HTTPConnection:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
            connection.connect()
            opened.callback(connection.close)
            return connection

        yield connect


def ask(connection: http.client.HTTPConnection) -> str:
    connection.request("GET", "/")
    answer = connection.getresponse()
    assert answer.status == 200
    return answer.read().decode()


def test_a_thread_stays_with_its_connection(connect: Connect):
    with started("tests.support.told_threads.Patient") as (_, port):
        connections = [connect(port) for _ in range(THREADS)]
        threads = [[ask(connection) for connection in connections] for _ in range(5)]
        assert len(set(threads[0])) == THREADS
        assert threads == [threads[0]] * 5


@pytest.mark.parametrize("worker", ["gateway.runtime.gunicorn_worker.Worker", "tests.support.told_threads.Hasty"])
def test_more_connections_than_threads_are_all_answered_again_and_again(connect: Connect, worker: str):
    with started(worker) as (_, port):
        connections = [connect(port) for _ in range(5 * THREADS)]
        for _ in range(3):
            assert all(ask(connection) for connection in connections)


def test_requests_sent_at_once_are_answered_one_after_the_other(connect: Connect):
    with started("gateway.runtime.gunicorn_worker.Worker") as (_, port):
        connection = connect(port).sock
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
        received = b""
        while received.count(b"200 OK") < 3:
            received += connection.recv(65536)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_connection_that_is_kept_does_not_keep_the_worker(connect: Connect, number: signal.Signals):
    with started("gateway.runtime.gunicorn_worker.Worker") as (process, port):
        ask(connect(port))
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 0
