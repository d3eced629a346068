import email.utils
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http import message, wsgi
from gunicorn.http.errors import NoMoreData, ParseException
from gunicorn.http.unreader import SocketUnreader

from gateway.runtime.gunicorn_messages import Request, RequestParser, Response

PEER = ("127.0.0.1", 50000)
USUAL = b"POST /api/v1/predict?top_k=3 HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 4\r\n\r\nbodyGET / HTTP/1.1"
HEADS = {
    "usual": USUAL,
    "HTTP/1.0": b"GET / HTTP/1.0\r\n\r\n",
    "no headers": b"GET / HTTP/1.1\r\n\r\n",
    "blanks around a value": b"GET / HTTP/1.1\r\nX-A:\t  a b \t\r\nX-B:\r\n\r\n",
    "bytes beyond ASCII": b"GET / HTTP/1.1\r\nX-A: \xe4\xff\r\n\r\n",
    "a header twice": b"GET / HTTP/1.1\r\nX-A: 1\r\nx-a: 2\r\n\r\n",
    "empty query": b"GET /path? HTTP/1.1\r\nHost: x\r\n\r\n",
    "two question marks": b"GET /path?a=?b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a colon in the path": b"GET /a:b//c;d HTTP/1.1\r\nHost: x\r\n\r\n",
    "fragment": b"GET /path?a#b HTTP/1.1\r\nHost: x\r\n\r\n",
    "two slashes": b"GET //host/path HTTP/1.1\r\nHost: x\r\n\r\n",
    "absolute URL": b"GET http://host/path?a HTTP/1.1\r\nHost: x\r\n\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "chunks": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    "expectation": b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
    "unknown expectation": b"POST / HTTP/1.1\r\nExpect: miracle\r\n\r\n",
    "underscore": b"GET / HTTP/1.1\r\nX_A: 1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n",
    "two types": b"GET / HTTP/1.1\r\nContent-Type: a\r\nContent-Type: a\r\n\r\n",
    "two lengths": b"GET / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "length and chunks": b"POST / HTTP/1.1\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "length that is no number": b"POST / HTTP/1.1\r\nContent-Length: +4\r\n\r\n",
    "lower-case method": b"get / HTTP/1.1\r\n\r\n",
    "short method": b"GE / HTTP/1.1\r\n\r\n",
    "long method": b"A" * 21 + b" / HTTP/1.1\r\n\r\n",
    "unknown version": b"GET / HTTP/2.0\r\n\r\n",
    "two blanks": b"GET  / HTTP/1.1\r\n\r\n",
    "a control in the path": b"GET /\x01 HTTP/1.1\r\n\r\n",
    "a control in a value": b"GET / HTTP/1.1\r\nX-A: \x01\r\n\r\n",
    "a carriage return in a value": b"GET / HTTP/1.1\r\nX-A: a\rb\r\n\r\n",
    "a line feed alone": b"GET / HTTP/1.1\r\nX-A: a\nX-B: b\r\n\r\n",
    "folded header": b"GET / HTTP/1.1\r\nX-A: a\r\n b\r\n\r\n",
    "a blank before the colon": b"GET / HTTP/1.1\r\nX-A : a\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nX-A\r\n\r\n",
    "no name": b"GET / HTTP/1.1\r\n: a\r\n\r\n",
    "as many headers as are accepted": b"GET / HTTP/1.1\r\n" + b"X-A: 1\r\n" * 100 + b"\r\n",
    "one header more": b"GET / HTTP/1.1\r\n" + b"X-A: 1\r\n" * 101 + b"\r\n",
    "a long header": b"GET / HTTP/1.1\r\nX-A: " + b"a" * 8180 + b"\r\n\r\n",
    "a header that is too long": b"GET / HTTP/1.1\r\nX-A: " + b"a" * 8190 + b"\r\n\r\n",
    "a URL that is too long": b"GET /" + b"a" * 8190 + b" HTTP/1.1\r\n\r\n",
    "an empty line first": b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "nothing": b"",
}  # fmt: skip


@pytest.fixture
def config() -> Config:
    config = Config()
    config.set("secure_scheme_headers", {})  # as in gunicorn_conf
    config.set("forwarder_headers", "")
    return config


@pytest.fixture
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return the ends of the server and of the client."""
    server, client = socket.socketpair()
    with server, client:
        yield server, client


def parse(request_class: type[Any], config: Config, head: bytes) -> dict[str, Any]:
    """Return everything that a parser found, or its error."""
    server, client = socket.socketpair()
    with server, client:
        unreader = SocketUnreader(server)
        unreader.unread(head)
        client.shutdown(socket.SHUT_WR)
        try:
            request = request_class(config, unreader, PEER)
        except (ParseException, NoMoreData, StopIteration) as error:
            return {"error": type(error), "text": str(error)}
        names = ("method", "uri", "path", "query", "fragment", "version", "headers", "scheme", "_expected_100_continue")
        found = {name: getattr(request, name) for name in names}
        return {
            **found,
            "closes": request.should_close(),
            "body": request.body.read(),
            "rest": unreader.take_buffered(),
        }


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_a_head_means_the_same_as_to_gunicorn(config: Config, head: bytes):
    assert parse(Request, config, head) == parse(message.Request, config, head)


def test_a_usual_head_is_not_left_to_gunicorn(config: Config, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(message.Request, "parse")

    assert parse(Request, config, USUAL)["body"] == b"body"


def respond(
    config: Config, connection: tuple[socket.socket, socket.socket], headers: Sequence[tuple[str, str]], *pieces: bytes
) -> list[bytes]:
    """Send a response to a request, and return what the client received after each piece and at the end."""
    server, client = connection
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    client.settimeout(0)
    response = Response(next(RequestParser(config, server, PEER)), server, config)
    response.start_response("200 OK", list(headers))
    received = []
    for piece in pieces:
        response.write(piece)
        received.append(receive(client))
    response.close()
    return [*received, receive(client)]


def receive(client: socket.socket) -> bytes:
    try:
        return client.recv(65536)
    except BlockingIOError:
        return b""


def test_head_and_body_are_sent_at_once(config: Config, connection: tuple[socket.socket, socket.socket]):
    first, second, end = respond(config, connection, [("Content-Length", "6"), ("X-A", "1")], b"abc", b"def")

    head, _, body = first.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert status == "HTTP/1.1 200 OK"
    assert email.utils.parsedate_to_datetime(headers.pop("Date"))
    assert headers == {"Server": wsgi.SERVER, "Connection": "keep-alive", "Content-Length": "6", "X-A": "1"}
    assert (body, second, end) == (b"abc", b"def", b"")


def test_a_response_without_a_body_is_sent_at_the_end(config: Config, connection: tuple[socket.socket, socket.socket]):
    empty, head = respond(config, connection, [("Content-Length", "0")], b"")

    assert (empty + head).startswith(b"HTTP/1.1 200 OK\r\n")
    assert (empty + head).endswith(b"Content-Length: 0\r\n\r\n")


def test_a_response_of_unknown_length_is_sent_in_chunks(
    config: Config, connection: tuple[socket.socket, socket.socket]
):
    first, second, end = respond(config, connection, [], b"abc", b"de")

    assert b"\r\nTransfer-Encoding: chunked\r\n" in first
    assert first.endswith(b"\r\n\r\n3\r\nabc\r\n")
    assert (second, end) == (b"2\r\nde\r\n", b"0\r\n\r\n")
