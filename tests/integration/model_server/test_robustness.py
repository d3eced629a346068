"""Invalid, large or slow input gets an error, and the server continues to work."""

import contextlib
import itertools
import resource
import signal
import socket
from pathlib import Path

import grpc
import numpy as np
import pytest

from tools.processes import status_field

MEBIBYTE = 2**20
CONNECTIONS = 10_000
AT_ONCE = 400
"""Each connection uses a descriptor in the server, and one in the test's process."""
PREDICT = "/tensorflow.serving.PredictionService/Predict"
STATUS_REQUEST = b"GET /v1/models/half HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def server(start_server, saved_model):
    return start_server("--model_name=half", f"--model_base_path={saved_model}").wait_until_serving()


def open_files(server):
    return sum(1 for _ in Path(f"/proc/{server.process.pid}/fd").iterdir())


def connect(server, port=None):
    return socket.create_connection(("127.0.0.1", port or server.rest_port), timeout=30)


def read_all(connection):
    """Read until the server closes or resets the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(65536):
            received += data
    return received


def exchange(server, data):
    """Send data, close the sending side, and return everything that the server answers."""
    with connect(server) as connection:
        with contextlib.suppress(OSError):  # closed already
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def assert_answers(server):
    assert server.predict("half", x=np.float32([1]))[1]["y"].tolist() == [2.5]
    assert server.rest("POST", "/v1/models/half:predict", {"instances": [1.0]}) == (200, {"predictions": [2.5]})


@pytest.mark.parametrize(
    "message",
    [b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", b"\x12\x05abc", bytes(range(256)), b"\x0b" * 10_000],
    ids=["no tag", "a length beyond the end", "a field cut off", "all bytes", "groups in groups"],
)
def test_bytes_that_are_not_a_message_are_refused(server, message):
    call = server.channel.unary_unary(PREDICT)
    with pytest.raises(grpc.RpcError) as failure:
        call(message, timeout=30)
    assert failure.value.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT)
    assert_answers(server)


def assert_garbage_is_refused(server, size):
    garbage = b"\xff" * size
    with pytest.raises(grpc.RpcError) as failure:
        server.channel.unary_unary(PREDICT)(garbage, timeout=60)
    assert failure.value.code() is grpc.StatusCode.INTERNAL
    assert server.rest("POST", "/v1/models/half:predict", garbage, timeout_s=60)[0] == 400


def test_bodies_of_100_megabytes_that_are_not_messages_are_refused(server):
    assert_garbage_is_refused(server, 100 * MEBIBYTE)
    assert_answers(server)


def test_memory_does_not_grow_with_large_bodies(start_server, saved_model):
    server = start_server("--model_name=half", f"--model_base_path={saved_model}").wait_until_serving()
    size = 32 * MEBIBYTE
    tensor = np.zeros(size // 4, np.float32)

    def send_each_kind():
        assert server.predict("half", x=tensor, timeout_s=60)[1]["y"].size == tensor.size
        assert_garbage_is_refused(server, size)

    for _ in range(2):
        send_each_kind()
    before_kb = status_field(server.process.pid, "VmRSS")
    for _ in range(6):
        send_each_kind()
    # A kind that leaked would take six times the size. Threads of gRPC retain memory, each a part of one body.
    assert status_field(server.process.pid, "VmRSS") - before_kb < 4 * size // 1024


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_valid_inputs(server, value):
    y = server.predict("half", x=np.float32([value, 1]))[1]["y"]
    np.testing.assert_array_equal(y, np.float32([value, 2.5]))
    # JSON has no such numbers; the recorded answers cover what TensorFlow Serving reads and writes.
    assert server.rest("POST", "/v1/models/half:predict", b'{"instances": [1e999]}')[0] in (200, 400)
    assert_answers(server)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.float16, np.complex128, np.bool_, object])
def test_every_wrong_type_is_refused(server, dtype):
    array = np.array([b"1"], object) if dtype is object else np.ones(1, dtype)
    with pytest.raises(grpc.RpcError) as failure:
        server.predict("half", x=array)
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT


HEAD = b"POST /v1/models/half:predict HTTP/1.1\r\nHost: x\r\n"
GARBAGE = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 4 + b"\n\r\n",
    "no version": b"GET\r\n\r\n",
    "a version of letters": b"GET / HTTP/x.y\r\n\r\n",
    "a header of 2 MiB": b"GET / HTTP/1.1\r\nX: " + b"a" * 2 * MEBIBYTE + b"\r\n\r\n",
    "a target of 2 MiB": b"GET /" + b"a" * 2 * MEBIBYTE + b" HTTP/1.1\r\n\r\n",
    "10,000 headers": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
    "a negative length": HEAD + b"Content-Length: -1\r\n\r\n",
    "a length of words": HEAD + b"Content-Length: ten\r\n\r\n",
    "a length of 5,000 digits": HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "a length beyond all memory": HEAD + b"Content-Length: 999999999999999\r\n\r\n{}",
    "two lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}   ",
    "a chunk of no size": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a chunk beyond all memory": HEAD + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n{}",
    "chunks that stop": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}",
    "an unknown encoding": HEAD + b"Transfer-Encoding: xchunked\r\nContent-Length: 2\r\n\r\n{}",
    "a body that stops": HEAD + b"Content-Length: 100\r\n\r\n{}",
}


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in GARBAGE.items()])
def test_an_invalid_request_gets_an_error_or_a_closed_connection(server, data):
    answer = exchange(server, data)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 ", b"HTTP/1.1 501 ")), answer[:200]
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert_answers(server)


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 0\r\nContent-Length: 43\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_nothing_is_read_after_a_request_of_ambiguous_length(server, framing):
    answer = exchange(server, HEAD + framing + STATUS_REQUEST)
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert b"AVAILABLE" not in answer


def test_a_request_that_arrives_byte_by_byte_is_answered(server):
    with connect(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in STATUS_REQUEST:
            connection.send(bytes([byte]))
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_clients_that_stall_or_never_read_do_not_block_others(server, wait_for):
    threads, files = status_field(server.process.pid, "Threads"), open_files(server)
    body = b'{"instances": [' + b"1.0," * 500_000 + b"1.0]}"
    with contextlib.ExitStack() as stack:
        for sent in (b"", b"G", STATUS_REQUEST[:-1], HEAD + b"Content-Length: 9\r\n\r\n{", b"\x00" * 9):
            for port in (server.rest_port, server.grpc_port):
                stack.enter_context(connect(server, port)).sendall(sent)
        for _ in range(3):  # each answer is larger than the buffers between the two
            connection = stack.enter_context(connect(server))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert_answers(server)
    wait_for(lambda: status_field(server.process.pid, "Threads") <= threads + 3, 10)
    wait_for(lambda: open_files(server) <= files + 3, 10)


def test_10_000_connections_leak_nothing(server, wait_for):
    at_once = min(AT_ONCE, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
    assert_answers(server)
    threads, files = status_field(server.process.pid, "Threads"), open_files(server)
    before_kb = status_field(server.process.pid, "VmRSS")
    half = CONNECTIONS // 2
    for port, start in itertools.product((server.rest_port, server.grpc_port), range(0, half, at_once)):
        with contextlib.ExitStack() as stack:
            for _ in range(min(at_once, half - start)):
                stack.enter_context(connect(server, port))
    wait_for(lambda: status_field(server.process.pid, "Threads") <= threads + 3, 30)
    wait_for(lambda: open_files(server) <= files + 3, 30)
    assert status_field(server.process.pid, "VmRSS") < before_kb + 50 * 1024
    assert_answers(server)


def test_a_rest_request_in_progress_is_answered_after_sigterm(start_server, saved_model, wait_for):
    server = start_server("--model_name=half", f"--model_base_path={saved_model}").wait_until_serving()
    body = b'{"signature_name": "slow", "instances": [100000]}'
    with connect(server) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        # The answer to a later request says that this one has been accepted.
        wait_for(lambda: server.rest("GET", "/v1/models/half")[0] == 200)
        server.process.send_signal(signal.SIGTERM)
        answer = read_all(connection)
    assert b'"predictions": [100000' in answer
    assert b"\r\nConnection: close\r\n" in answer
    wait_for(lambda: server.process.poll() is not None, 20)
    assert server.process.returncode == 0
