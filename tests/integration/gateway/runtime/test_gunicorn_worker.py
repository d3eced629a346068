"""The worker in a real gunicorn, with real connections."""

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
TIMEOUT_S = 30
THREADS = 2

Connect = Callable[[int], http.client.HTTPConnection]


@contextlib.contextmanager
def running(worker: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    (port,) = find(1)
    options = [
        f"--worker-class={worker}",
        f"--threads={THREADS}",
        "--keep-alive=75",
        "--graceful-timeout=2",
        f"--bind=127.0.0.1:{port}",
    ]
    command = [sys.executable, "-m", "gunicorn", *options, "--no-control-socket", "tests.support.gunicorn_threads:app"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: listens(port), TIMEOUT_S)
            yield process, port
        finally:
            process.terminate()


@pytest.fixture
def connect() -> Iterator[Callable[[int], http.client.HTTPConnection]]:
    """Return a function that opens connections, which are closed after the test."""
    with contextlib.ExitStack() as stack:

        def connect(port: int) -> http.client.HTTPConnection:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
            connection.connect()
            stack.callback(connection.close)
            return connection

        yield connect


def request(connection: http.client.HTTPConnection) -> str:
    connection.request("GET", "/")
    response = connection.getresponse()
    assert response.status == 200
    return response.read().decode()


def test_a_thread_stays_with_its_connection(connect: Connect):
    with running("tests.support.gunicorn_threads.PatientWorker") as (_, port):
        connections = [connect(port) for _ in range(THREADS)]
        threads = [[request(connection) for connection in connections] for _ in range(5)]
        assert len(set(threads[0])) == THREADS
        assert threads == [threads[0]] * 5


@pytest.mark.parametrize(
    "worker", ["gateway.runtime.gunicorn_worker.Worker", "tests.support.gunicorn_threads.ImpatientWorker"]
)
def test_more_connections_than_threads_are_all_answered_repeatedly(connect: Connect, worker: str):
    with running(worker) as (_, port):
        connections = [connect(port) for _ in range(5 * THREADS)]
        for _ in range(3):
            assert all(request(connection) for connection in connections)


def test_pipelined_requests_are_answered_in_order(connect: Connect):
    with running("gateway.runtime.gunicorn_worker.Worker") as (_, port):
        connection = connect(port).sock
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
        received = b""
        while received.count(b"200 OK") < 3:
            received += connection.recv(65536)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_connection_does_not_delay_the_stop(connect: Connect, number: signal.Signals):
    with running("gateway.runtime.gunicorn_worker.Worker") as (process, port):
        request(connect(port))
        process.send_signal(number)
        assert process.wait(TIMEOUT_S) == 0
