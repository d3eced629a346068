"""Bodies that arrive slowly or oddly, over a real gunicorn."""

import contextlib
import http.client
import json
import select
import socket
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import pytest

from gateway.capacity import PLACE_BYTES, smallest_budget
from tests.support.light_gateway import LightGateway, light_gateway
from tests.support.waiting import until

MAX_BYTES = 300_000
PLACES = 16
TIMEOUT_S = 30


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[LightGateway]:
    """Start a gateway with memory for one body of the largest size; each test takes up what the next one would need."""
    variables = {
        "GATEWAY_MAX_BODY_BYTES": str(MAX_BYTES),
        "GATEWAY_MEMORY_BUDGET_BYTES": str(smallest_budget(MAX_BYTES, PLACES)),
        "GATEWAY_THREADS": "4",
        "GATEWAY_MAX_WAITING": str(PLACES - 4),
    }
    with (tmp_path / "log").open("wb") as log, light_gateway(tmp_path, log, variables) as gateway:
        yield gateway


@contextlib.contextmanager
def request(
    gateway: LightGateway, body_header: str, timeout_s: float = 10, *, source: str = "127.0.0.1"
) -> Iterator[socket.socket]:
    """Open a connection and send the head of a request."""
    head = (
        f"POST /api/v1/predict HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nX-Request-Timeout: {timeout_s}\r\n"
        f"{body_header}\r\n\r\n"
    )
    address = ("127.0.0.1", gateway.port)
    with socket.create_connection(address, timeout=TIMEOUT_S, source_address=(source, 0)) as connection:
        connection.sendall(head.encode())
        yield connection


def read_problem(connection: socket.socket) -> tuple[int, str]:
    """Return status and type of a problem."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, json.loads(response.read())["type"]


def trickle(connection: socket.socket, piece: bytes) -> None:
    """Send a piece every few milliseconds until the server has answered."""
    for data in repeat(piece):
        if select.select([connection], [], [], 0.02)[0]:
            return
        connection.sendall(data)


@pytest.mark.parametrize(
    ("header", "piece"),
    [("Content-Length: 200000", b"x"), ("Content-Length: 1000", b"x"), ("Transfer-Encoding: chunked", b"1\r\nx\r\n")],
)
def test_a_body_that_drips_is_given_up_at_the_deadline(gateway: LightGateway, header: str, piece: bytes):
    with request(gateway, header, timeout_s=0.3) as connection:
        trickle(connection, piece)

        assert read_problem(connection) == (408, "/problems/body-timeout")
        assert connection.recv(1) == b""  # it is not used again: the next request would start in the body


def test_a_slow_body_is_answered_once_it_is_there(gateway: LightGateway):
    with request(gateway, f"Content-Length: {MAX_BYTES}") as connection:
        connection.sendall(b"x" * (MAX_BYTES - 40))
        for _ in range(40):
            assert not select.select([connection], [], [], 0.01)[0], read_problem(connection)
            connection.sendall(b"x")

        assert read_problem(connection) == (415, "/problems/unsupported-media-type")


def test_bodies_that_do_not_arrive_leave_memory_for_others(gateway: LightGateway):
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            connection = stack.enter_context(request(gateway, f"Content-Length: {MAX_BYTES}"))
            connection.sendall(b"x" * (PLACE_BYTES + 1))

        with request(gateway, f"Content-Length: {PLACE_BYTES * 2}", source="127.0.0.2") as other:
            other.sendall(b"x" * (PLACE_BYTES * 2))
            assert read_problem(other) == (415, "/problems/unsupported-media-type")


def test_as_many_slow_bodies_as_places_leave_the_health_check(gateway: LightGateway):
    with contextlib.ExitStack() as stack:
        for _ in range(PLACES):
            stack.enter_context(request(gateway, "Content-Length: 1000", timeout_s=5)).sendall(b"x")

        def status() -> int:
            with request(gateway, "Content-Length: 1") as other:
                other.sendall(b"x")
                return read_problem(other)[0]

        until(lambda: status() == http.HTTPStatus.SERVICE_UNAVAILABLE, TIMEOUT_S, "all places are taken")
        assert gateway.get("/livez")[0] == http.HTTPStatus.OK
