import socket
import threading
import time
from collections.abc import Iterator

import pytest

from gateway.runtime import timed_socket
from gateway.runtime.timed_socket import TimedSocket

LARGE = bytes(range(256)) * 64 * 1024
"""More than the buffers of two sockets hold."""


@pytest.fixture
def pair() -> Iterator[tuple[TimedSocket, socket.socket]]:
    """Return a connection, and its peer."""
    ours, peer = socket.socketpair()
    with TimedSocket.wrap(ours) as timed, peer:
        yield timed, peer


def test_a_read_without_a_wait_fails_at_once(pair: tuple[TimedSocket, socket.socket]):
    connection, peer = pair

    with pytest.raises(BlockingIOError):
        connection.recv(10)

    peer.sendall(b"data")
    assert connection.recv(10) == b"data"


def test_a_read_ends_after_its_time_out(pair: tuple[TimedSocket, socket.socket]):
    connection, _ = pair
    connection.settimeout(0.01)

    with pytest.raises(TimeoutError):
        connection.recv(10)

    assert connection.gettimeout() == 0.01


def test_a_read_ends_at_its_moment_whatever_the_time_out_is(pair: tuple[TimedSocket, socket.socket]):
    connection, peer = pair
    connection.settimeout(None)
    connection.read_by_s = time.monotonic() - 1

    with pytest.raises(TimeoutError):
        connection.recv(10)

    peer.sendall(b"data")
    assert connection.recv(10) == b"data"


def test_a_read_ends_when_the_peer_is_silent_for_too_long(pair: tuple[TimedSocket, socket.socket]):
    connection, _ = pair
    connection.settimeout(None)
    connection.read_by_s, connection.max_silence_s = time.monotonic() + 3600, 0.01

    with pytest.raises(TimeoutError):
        connection.recv(10)


def test_a_read_waits_for_data(pair: tuple[TimedSocket, socket.socket]):
    connection, peer = pair
    connection.settimeout(None)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(connection.recv(10)))

    reader.start()
    peer.sendall(b"data")
    reader.join()

    assert received == [b"data"]


def test_all_bytes_are_sent_to_a_peer_that_reads_later(pair: tuple[TimedSocket, socket.socket]):
    connection, peer = pair
    writer = threading.Thread(target=connection.sendall, args=(LARGE,))

    writer.start()
    received = bytearray()
    while len(received) < len(LARGE):
        received += peer.recv(1 << 20)
    writer.join()

    assert received == LARGE


def test_sending_to_a_peer_that_does_not_read_ends(
    pair: tuple[TimedSocket, socket.socket], monkeypatch: pytest.MonkeyPatch
):
    connection, _ = pair
    monkeypatch.setattr(timed_socket, "SEND_TIMEOUT_S", 0.01)

    with pytest.raises(TimeoutError):
        connection.sendall(LARGE)
