"""The limit on bodies without a length, over a real gunicorn."""

import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.light_gateway import light_gateway

MAX_BYTES = 100_000
TIMEOUT_S = 30


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Start a gateway without a model server, and return its port."""
    variables = {"GATEWAY_MAX_BODY_BYTES": str(MAX_BYTES)}
    with light_gateway(tmp_path_factory.mktemp("gateway"), subprocess.DEVNULL, variables) as gateway:
        yield gateway.port


def post(port: int, size: int, *, chunk_bytes: int) -> int:
    """Send a text of this size in chunks, and return the status of the response."""
    body = b"x" * size
    chunks = [body[start : start + chunk_bytes] for start in range(0, size, chunk_bytes)]
    head = b"POST /api/v1/predict HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
        connection.sendall(head)
        for chunk in [*chunks, b""]:
            connection.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        with connection.makefile("rb") as response:
            return int(response.readline().split()[1])


@pytest.mark.parametrize("chunk_bytes", [999, MAX_BYTES + 1])
def test_a_chunked_body_may_be_exactly_as_long_as_the_limit(gateway: int, chunk_bytes: int):
    assert post(gateway, MAX_BYTES, chunk_bytes=chunk_bytes) == 415  # read, and refused for its media type
    assert post(gateway, MAX_BYTES + 1, chunk_bytes=chunk_bytes) == 413
