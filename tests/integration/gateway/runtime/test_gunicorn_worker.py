"""The worker in a real gunicorn, with real connections."""

import contextlib
import http.client
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.stack import listens
from tests.support.waiting import until
from tools.ports import find

ROOT = Path(__file__).parents[4]
TIMEOUT_S = 30
THREADS = 2
CONNECTIONS = 20
GUNICORN_WAITS_S = 5
"""For a body that the application did not read, by itself."""

WORKER = "gateway.runtime.gunicorn_worker.Worker"
HALF_A_HEAD = b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "

Connect = Callable[[int], http.client.HTTPConnection]


@contextlib.contextmanager
def running(worker: str, *further_options: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    (port,) = find(1)
    options = [
        f"--worker-class={worker}",
        f"--threads={THREADS}",
        "--keep-alive=75",
        "--graceful-timeout=2",
        f"--bind=127.0.0.1:{port}",
        *further_options,
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


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Return the port of a gunicorn with few threads and few connections."""
    with running(WORKER, f"--worker-connections={CONNECTIONS}") as (_, port):
        yield port


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


@pytest.mark.parametrize("worker", [WORKER, "tests.support.gunicorn_threads.ImpatientWorker"])
def test_more_connections_than_threads_are_all_answered_repeatedly(connect: Connect, worker: str):
    with running(worker) as (_, port):
        connections = [connect(port) for _ in range(5 * THREADS)]
        for _ in range(3):
            assert all(request(connection) for connection in connections)


def test_pipelined_requests_are_answered_in_order(connect: Connect):
    with running(WORKER) as (_, port):
        connection = connect(port).sock
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
        received = b""
        while received.count(b"200 OK") < 3:
            received += connection.recv(65536)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_connection_does_not_delay_the_stop(connect: Connect, number: signal.Signals):
    with running(WORKER) as (process, port):
        request(connect(port))
        process.send_signal(number)
        assert process.wait(TIMEOUT_S) == 0


@pytest.mark.parametrize("content", [b"", HALF_A_HEAD], ids=["nothing", "half a head"])
def test_connections_without_a_whole_head_take_no_thread(connect: Connect, port: int, content: bytes):
    for _ in range(5 * THREADS):
        connect(port).sock.sendall(content)

    assert request(connect(port))


@pytest.mark.parametrize("content", [b"", HALF_A_HEAD], ids=["nothing", "half a head"])
def test_the_oldest_idle_connections_make_room_for_new_ones(connect: Connect, port: int, content: bytes):
    idle = [connect(port) for _ in range(3 * CONNECTIONS)]
    for connection in idle:
        with contextlib.suppress(ConnectionError):
            connection.sock.sendall(content)

    assert request(connect(port))
    assert receive(idle[0].sock) == b""


def test_answered_connections_that_are_idle_make_room_for_new_ones(connect: Connect, port: int):
    assert all(request(connect(port)) for _ in range(3 * CONNECTIONS))


def test_a_head_may_arrive_byte_by_byte(connect: Connect, port: int):
    connection = connect(port).sock
    for _ in range(2):
        for byte in b"GET / HTTP/1.1\r\nHost: x\r\n\r\n":
            connection.sendall(bytes([byte]))
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.read()


@pytest.mark.parametrize("content", [b"G", HALF_A_HEAD])
def test_a_head_that_takes_too_long_ends_the_connection(connect: Connect, content: bytes):
    with running("tests.support.gunicorn_threads.HastyWorker") as (_, port):
        first, second = connect(port), connect(port)
        request(second)
        for connection in (first, second):
            connection.sock.sendall(content)

        assert [receive(connection.sock) for connection in (first, second)] == [b"", b""]


def test_a_client_that_does_not_close_its_connection_delays_nobody(connect: Connect, port: int):
    for _ in range(15):  # gunicorn itself waits 2 s for each
        refused = connect(port).sock
        refused.sendall(b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n")
        assert receive(refused).startswith(b"HTTP/1.1 400")

    assert request(connect(port))


@pytest.mark.parametrize("target", [b"/", b"/\xff"], ids=["by the application", "by gunicorn"])
@pytest.mark.parametrize("size", [500_000, 40_000_000])
def test_a_response_to_a_body_that_nobody_reads_arrives(connect: Connect, port: int, target: bytes, size: int):
    connection = connect(port).sock
    connection.sendall(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (target, size) + bytes(size))

    assert receive(connection).startswith(b"HTTP/1.1 ")


def test_bodies_that_are_announced_and_not_sent_hold_no_thread(connect: Connect, port: int):
    started_s = time.monotonic()
    for _ in range(THREADS):
        silent = connect(port).sock
        silent.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        assert receive(silent).startswith(b"HTTP/1.1 200")

    assert request(connect(port))
    assert time.monotonic() - started_s < GUNICORN_WAITS_S


def receive(connection: socket.socket) -> bytes:
    """Return the next bytes; none if the connection was closed."""
    try:
        return connection.recv(1000)
    except ConnectionResetError:
        return b""
