"""The HTTP server over real sockets."""

import contextlib
import http.client
import socket
import threading

import pytest

from model_server.rest.app import Response
from model_server.rest.http_server import HttpServer


class Echo:
    """An app that answers with the request's body, and can be paused."""

    def __init__(self):
        self.requests = []
        self.may_respond = threading.Event()
        self.may_respond.set()
        self.working = threading.Semaphore(0)
        self.max_concurrent = 0
        self._concurrent = 0
        self._lock = threading.Lock()

    def respond(self, request):
        with self._lock:
            self._concurrent += 1
            self.max_concurrent = max(self.max_concurrent, self._concurrent)
            self.requests.append(request)
        self.working.release()
        assert self.may_respond.wait(10)
        with self._lock:
            self._concurrent -= 1
        status = int(request.headers.get("status", "200"))
        return Response(status, request.body or b"{}", close=request.path == "/close")


@pytest.fixture
def app():
    return Echo()


@pytest.fixture
def server(app):
    server = HttpServer(app, host="127.0.0.1", port=0, threads=2)
    server.start()
    yield server
    app.may_respond.set()
    server.stop(5)


@pytest.fixture
def connect(server):
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 10))


def exchange(connection, text):
    """Send bytes, and return status, headers (names in lower case) and body of the response."""
    connection.sendall(text if isinstance(text, bytes) else text.encode())
    method = (text if isinstance(text, bytes) else text.encode()).split(b" ", 1)[0].decode()
    response = http.client.HTTPResponse(connection, method=method)
    response.begin()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return response.status, headers, response.read()


def closed(connection):
    return connection.recv(1) == b""


def test_a_connection_is_kept_alive(connect, app):
    connection = connect()
    for path in ("/a", "/b?c=%20d", "/x:y"):
        status, headers, body = exchange(connection, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (status, body, "connection" in headers) == (200, b"{}", False)
        assert (headers["content-type"], "date" in headers, "server" in headers) == ("application/json", True, False)
    assert [request.path for request in app.requests] == ["/a", "/b?c=%20d", "/x:y"]


@pytest.mark.parametrize(
    ("request_line", "header", "expected"),
    [
        ("GET / HTTP/1.1", "Connection: close", "close"),
        ("GET /close HTTP/1.1", "X: y", "close"),
        ("GET / HTTP/1.0", "X: y", None),
    ],
)
def test_a_connection_is_closed_as_the_client_expects(connect, request_line, header, expected):
    connection = connect()
    status, headers, _ = exchange(connection, f"{request_line}\r\n{header}\r\n\r\n")
    assert (status, headers.get("connection")) == (200, expected)
    assert closed(connection)


def test_http_1_0_with_keep_alive(connect):
    connection = connect()
    for _ in range(2):
        _, headers, _ = exchange(connection, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert headers["connection"] == "keep-alive"


def test_bodies(connect, app):
    connection = connect()
    body = bytes(range(256)) * 1000
    head = f"POST /p HTTP/1.1\r\nContent-Length: {len(body)}\r\nX-Some: Thing\r\n\r\n"
    assert exchange(connection, head.encode() + body)[2] == body
    assert app.requests[0].headers["x-some"] == "Thing"
    assert exchange(connection, "POST /p HTTP/1.1\r\nContent-Length: 0\r\n\r\n")[0] == 200
    assert app.requests[1].body == b""


def test_a_chunked_body(connect):
    connection = connect()
    chunked = (
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nT: u\r\n\r\n"
    )
    for _ in range(2):
        assert exchange(connection, chunked)[2] == b"abc0123456789"


def test_expect_continue(connect):
    connection = connect()
    connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert connection.recv(100).startswith(b"HTTP/1.1 100 Continue")
    assert exchange(connection, "hi")[2] == b"hi"


@pytest.mark.parametrize("target", ["http://localhost/v1/x?y=1", "/v1/x?y=1", "/" + "a" * 70_000])
def test_targets(connect, app, target):
    assert exchange(connect(), f"GET {target} HTTP/1.1\r\n\r\n")[0] == 200
    assert app.requests[0].path == target.removeprefix("http://localhost")


def test_head_has_no_body(connect):
    connection = connect()
    for _ in range(2):
        status, headers, body = exchange(connection, "HEAD / HTTP/1.1\r\n\r\n")
        assert (status, headers["content-length"], body) == (200, "2", b"")


@pytest.mark.parametrize("method", ["TRACE", "PROPFIND", "get"])
def test_an_unknown_method_is_unimplemented(connect, app, method):
    connection = connect()
    status, headers, body = exchange(connection, f"{method} / HTTP/1.1\r\n\r\n")
    assert (status, headers["content-type"], headers["connection"]) == (501, "text/html", "close")
    assert b"Not Implemented" in body
    assert closed(connection)
    assert app.requests == []


@pytest.mark.parametrize(
    "text",
    [
        "GET / HTTP/2.0\r\n\r\n",
        "GET / HTTP/x\r\n\r\n",
        "nonsense with many words\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: abc\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
        "GET / HTTP/1.1\r\nX: " + "a" * 70_000 + "\r\n\r\n",
    ],
)
def test_malformed_requests(connect, app, text):
    connection = connect()
    status, headers, body = exchange(connection, text)
    assert (status, headers["content-type"], headers["connection"]) == (400, "text/html", "close")
    assert b"<H1>Bad Request</H1>" in body
    assert app.requests == []


def test_a_status_unknown_to_python_is_sent(connect):
    assert exchange(connect(), "GET / HTTP/1.1\r\nStatus: 499\r\n\r\n")[0] == 499


def test_concurrent_requests_are_limited(connect, app):
    app.may_respond.clear()
    connections = [connect() for _ in range(5)]
    for connection in connections:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
    for _ in range(2):
        assert app.working.acquire(timeout=10)
    app.may_respond.set()
    for connection in connections:
        response = http.client.HTTPResponse(connection, method="GET")
        response.begin()
        assert response.read() == b"{}"
    assert app.max_concurrent == 2


def test_stopping_lets_requests_in_progress_finish(connect, app, server, wait_for):
    app.may_respond.clear()
    busy, idle = connect(), connect()
    busy.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert app.working.acquire(timeout=10)
    stopping = threading.Thread(target=server.stop, args=(10,))
    stopping.start()
    wait_for(lambda: server._server.fileno() == -1)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", server.port), 5)
    app.may_respond.set()
    response = http.client.HTTPResponse(busy, method="GET")
    response.begin()
    assert response.read() == b"{}"
    stopping.join(10)
    assert not stopping.is_alive()
    idle.close()


def test_stopping_waits_for_a_limited_time(connect, app, server):
    app.may_respond.clear()
    connect().sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert app.working.acquire(timeout=10)
    server.stop(0.05)


def test_a_client_that_disconnects_does_not_affect_others(connect):
    connection = connect()
    connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf")
    connection.close()
    assert exchange(connect(), "GET / HTTP/1.1\r\n\r\n")[0] == 200


def test_a_port_in_use_is_an_error(server, app):
    with pytest.raises(OSError, match="Address already in use"):
        HttpServer(app, host="127.0.0.1", port=server.port, threads=1)


@pytest.fixture
def small_server(app):
    server = HttpServer(app, host="127.0.0.1", port=0, threads=2, max_body_bytes=1000)
    server.start()
    yield server
    server.stop(5)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Content-Length: 1001\r\n\r\n" + "x" * 1001, id="length"),
        pytest.param("Content-Length: 999999999999999\r\n\r\nx", id="absurd length"),
        pytest.param("Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + "x" * 1001, id="chunk"),
        pytest.param("Transfer-Encoding: chunked\r\n\r\n" + "1\r\nx\r\n" * 1001, id="many chunks"),
    ],
)
def test_a_body_beyond_the_limit_is_refused_and_the_connection_closed(small_server, app, text):
    with socket.create_connection(("127.0.0.1", small_server.port), 10) as connection:
        connection.sendall(f"POST / HTTP/1.1\r\n{text}".encode())
        connection.shutdown(socket.SHUT_WR)
        response = http.client.HTTPResponse(connection, method="POST")
        response.begin()
        status, headers, body = response.status, response.headers, response.read()

    assert status == 400
    assert headers["Connection"] == "close"
    assert b"at most 1000 are accepted" in body
    assert not app.requests


def test_endless_trailers_are_refused(connect):
    trailers = "a: b\r\n" * 101

    assert exchange(connect(), f"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{trailers}\r\n")[0] == 400
