"""Servers that violate HTTP: a fetch ends with an image or an error of the gateway, within its limits."""

import contextlib
import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.deadline import Deadline
from gateway.errors import BodyTooLargeError, DeadlineExceededError, FetchError, GatewayError, OverloadedError
from gateway.fetching import fetch as fetch_module
from gateway.fetching.destinations import Destinations
from gateway.fetching.fetch import UrlFetcher
from gateway.fetching.responses import MAX_HEAD_BYTES
from tests.support.fetching import fetch_limits
from tests.support.raw_server import RawServer, Script, Send, answer
from tests.support.traced_memory import peak_bytes

Serve = Callable[..., RawServer]

PICTURE = bytes(range(256)) * 4
LIMIT = 1_000_000
MEBIBYTE = bytes(1024 * 1024)
SOCKET_BUFFERS = 16_000_000
"""Bytes that a server may have sent although nobody read them."""
OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: 1024\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"


def chunks(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


def fetcher(**limits: float) -> UrlFetcher:
    limits = {"max_bytes": LIMIT, "max_redirects": 2} | limits
    return UrlFetcher(Destinations(allowed_hosts=("127.0.0.1",)), fetch_limits(**limits))


def fetch(server: RawServer, **limits: float) -> bytes:
    return fetcher(**limits).fetch(server.url(), deadline=Deadline.after(10))


def say(*parts: bytes | Iterable[bytes]) -> Script:
    """Return a script that sends each part: bytes at once, an iterable piece by piece."""

    def script(_: str, send: Send) -> None:
        for part in parts:
            for piece in [part] if isinstance(part, bytes) else part:
                send(piece)

    return script


ACCEPTED = {
    "one hint": HINTS + OK + LENGTH + b"\r\n" + PICTURE,
    "many hints": HINTS * 50 + OK + LENGTH + b"\r\n" + PICTURE,
    "hints between other interim responses": b"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 102 Wait\r\n\r\n"
    + HINTS
    + b"HTTP/1.1 100 Go on\r\n\r\n"
    + OK
    + LENGTH
    + b"\r\n"
    + PICTURE,
    "an unknown interim response": b"HTTP/1.1 199 Hm\r\n\r\n" + OK + LENGTH + b"\r\n" + PICTURE,
    "HTTP/1.0": b"HTTP/1.0 200\r\n\r\n" + PICTURE,
    "a reason of any bytes": b"HTTP/1.1 200 \xff\xfe\x00\r\n\r\n" + PICTURE,
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 1024\n\n" + PICTURE,
    "a header that goes on": OK + b"X: a\r\n b\r\n" + LENGTH + b"\r\n" + PICTURE,
    "NUL in a header": OK + b"X\0: \0\r\n" + LENGTH + b"\r\n" + PICTURE,
    "a long cookie": OK + b"Set-Cookie: " + b"a=b;" * 10_000 + b"\r\n" + LENGTH + b"\r\n" + PICTURE,
    "the same length twice": OK + LENGTH * 2 + b"\r\n" + PICTURE,
    "the same length in a list": OK + b"Content-Length: 1024, 1024\r\n\r\n" + PICTURE,
    "a length with zeros": OK + b"Content-Length: 0000000000000000000001024\r\n\r\n" + PICTURE,
    "more than the length": OK + LENGTH + b"\r\n" + PICTURE + b"and more",
    "length and chunks": OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(PICTURE, b""),
    "a broken length and chunks": OK
    + b"Content-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    + chunks(PICTURE, b""),
    "identity as transfer coding": OK + b"Transfer-Encoding: identity\r\n" + LENGTH + b"\r\n" + PICTURE,
    "a keep-alive connection": OK + b"Connection: keep-alive\r\n" + CHUNKED.removeprefix(OK) + chunks(PICTURE, b""),
    "chunks of a byte": CHUNKED + chunks(*(bytes([byte]) for byte in PICTURE), b""),
    "chunk extensions": CHUNKED + b'400;a=b;c="d;e" \r\n' + PICTURE + b"\r\n0;last\r\n\r\n",
    "a chunk size with zeros and spaces": CHUNKED + b"00000400 \t\r\n" + PICTURE + b"\r\n000\r\n\r\n",
    "chunks that end in line feeds": CHUNKED + b"400\n" + PICTURE + b"\n0\n\n",
    "trailers": CHUNKED + chunks(PICTURE) + b"0\r\nX: y\r\n\r\n",
    "no end of the trailers": CHUNKED + chunks(PICTURE) + b"0\r\nX: y",
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_odd_but_unmistakable_response_is_accepted(serve: Serve, name: str):
    assert fetch(serve(say(ACCEPTED[name]))) == PICTURE


@pytest.mark.parametrize(
    "coding",
    ["", "identity", "IDENTITY", "identity, identity", "utf-8", "UTF-8", "aws-chunked", "none", "binary", ",", "\xff"],
)
def test_a_content_encoding_that_is_no_coding_changes_nothing(serve: Serve, coding: str):
    reply = OK + b"Content-Encoding: %b\r\n" % coding.encode("latin-1") + LENGTH + b"\r\n" + PICTURE

    assert fetch(serve(say(reply))) == PICTURE


@pytest.mark.parametrize(
    "coding",
    ["gzip", "GZip", "x-gzip", "br", "deflate", "zstd", "compress", "identity, gzip", "aws-chunked,gzip", "gzip;q=1"],
)
def test_a_body_in_a_real_coding_is_refused_and_the_coding_named(serve: Serve, coding: str):
    with pytest.raises(FetchError, match="Content-Encoding '" + coding[:8]):
        fetch(serve(answer(PICTURE, headers=[f"Content-Encoding: {coding}"])))


def test_codings_in_several_lines_count_together(serve: Serve):
    with pytest.raises(FetchError, match="gzip"):
        fetch(serve(answer(PICTURE, headers=["Content-Encoding: utf-8", "Content-Encoding: gzip"])))


REFUSED = {
    "nothing": b"",
    "a line feed": b"\n",
    "half a status line": b"HTTP/1.1 20",
    "a status line of bytes": b"\x00\xff\x16\x03\x01\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.7\r\n",
    "HTTP/0.9": PICTURE,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9.9": b"HTTP/9.9 200 OK\r\n\r\n" + PICTURE,
    "a status of five digits": b"HTTP/1.1 20000 OK\r\n\r\n" + PICTURE,
    "a negative status": b"HTTP/1.1 -200 OK\r\n\r\n" + PICTURE,
    "a status of letters": b"HTTP/1.1 two OK\r\n\r\n" + PICTURE,
    "another protocol after the hints": HINTS * 3 + b"SSH-2.0-OpenSSH_9.7\r\n",
    "hints and nothing more": HINTS,
    "an upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n" + PICTURE,
    "a partial status": b"HTTP/1.1 206 Partial\r\n" + LENGTH + b"\r\n" + PICTURE,
    "a length below zero": OK + b"Content-Length: -1\r\n\r\n" + PICTURE,
    "a length with a sign": OK + b"Content-Length: +1024\r\n\r\n" + PICTURE,
    "a length with an underscore": OK + b"Content-Length: 1_024\r\n\r\n" + PICTURE,
    "a length in hexadecimal": OK + b"Content-Length: 0x400\r\n\r\n" + PICTURE,
    "a length with a point": OK + b"Content-Length: 1024.0\r\n\r\n" + PICTURE,
    "a length of other digits": OK + "Content-Length: \N{SUPERSCRIPT TWO}\r\n\r\n".encode("latin-1") + PICTURE,
    "an empty length": OK + b"Content-Length: \r\n\r\n" + PICTURE,
    "two lengths": OK + LENGTH + b"Content-Length: 5\r\n\r\n" + PICTURE,
    "two lengths in a list": OK + b"Content-Length: 1024, 5\r\n\r\n" + PICTURE,
    "less than the length": OK + b"Content-Length: 1025\r\n\r\n" + PICTURE,
    "a chunk of size -1": CHUNKED + b"-1\r\n" + PICTURE,
    "a chunk of size -5": CHUNKED + b"-5\r\nabc\r\n",
    "a chunk of size +5": CHUNKED + b"+5\r\nabcde\r\n0\r\n\r\n",
    "a chunk size with a prefix": CHUNKED + b"0x5\r\nabcde\r\n0\r\n\r\n",
    "a chunk size with an underscore": CHUNKED + b"1_0\r\n" + PICTURE,
    "a chunk size of letters": CHUNKED + b"zz\r\n" + PICTURE,
    "an empty chunk size": CHUNKED + b"\r\n" + PICTURE,
    "a space before a chunk size": CHUNKED + b" 5\r\nabcde\r\n0\r\n\r\n",
    "a chunk size of 5,000 digits": CHUNKED + b"f" * 5000 + b"\r\n" + PICTURE,
    "a chunk size of 16 digits": CHUNKED + b"f" * 16 + b"\r\n" + PICTURE,
    "a chunk size without end": CHUNKED + b"5",
    "a chunk longer than its size": CHUNKED + b"5\r\nabcdefgh\r\n0\r\n\r\n",
    "a chunk shorter than its size": CHUNKED + b"ffff\r\n" + PICTURE,
    "no last chunk": CHUNKED + chunks(PICTURE),
    "a transfer coding before the chunks": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunks(PICTURE, b""),
    "chunks twice": OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + chunks(PICTURE, b""),
    "chunks in two lines": OK + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n" + chunks(PICTURE, b""),
    "an unknown transfer coding": OK + b"Transfer-Encoding: x\r\n\r\n" + PICTURE,
    "a head of megabytes": OK + b"X: " + b"x" * 4_000_000,
    "a header of 70 kB": OK + b"X: " + b"x" * 70_000 + b"\r\n\r\n" + PICTURE,
    "headers of 180 kB together": OK + (b"X: " + b"x" * 60_000 + b"\r\n") * 3 + b"\r\n" + PICTURE,
    "a redirect to nothing but a scheme": b"HTTP/1.1 302 x\r\nLocation: http:\r\n\r\n",
    "a redirect to a port of letters": b"HTTP/1.1 302 x\r\nLocation: http://127.0.0.1:x/\r\n\r\n",
    "a redirect to bytes": b"HTTP/1.1 302 x\r\nLocation: http://\xff\xfe/\r\n\r\n",
    "a redirect to half an address": b"HTTP/1.1 302 x\r\nLocation: http://[::1/\r\n\r\n",
    "a redirect to a long name": b"HTTP/1.1 302 x\r\nLocation: http://" + b"a" * 2000 + b"/\r\n\r\n",
    "a redirect to 60 kB": b"HTTP/1.1 302 x\r\nLocation: /" + b"a" * 60_000 + b"\r\n\r\n",
    "a redirect without a target": b"HTTP/1.1 302 x\r\n\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_malformed_response_is_an_error_of_the_fetch(serve: Serve, name: str):
    with capture_logs() as logs, pytest.raises(FetchError):
        fetch(serve(say(REFUSED[name])))

    assert "fetch_error_unknown" not in [entry["event"] for entry in logs]


@pytest.mark.parametrize("digits", [7, 18, 19, 400, 5000])
def test_an_absurd_length_is_too_large(serve: Serve, digits: int):
    with pytest.raises(BodyTooLargeError):
        fetch(serve(say(OK + b"Content-Length: " + b"9" * digits + b"\r\n\r\n" + PICTURE)))


ENDLESS = {
    "a chunk of size -1": (CHUNKED + b"-1\r\n", MEBIBYTE),
    "a chunk of all memory": (CHUNKED + b"f" * 15 + b"\r\n", MEBIBYTE),
    "a chunk size": (CHUNKED, b"f" * 100_000),
    "a chunk extension": (CHUNKED + b"5;", b"x" * 100_000),
    "chunks": (CHUNKED, chunks(MEBIBYTE)),
    "chunks of a byte": (CHUNKED, chunks(b"x") * 10_000),
    "a body without length": (OK + b"\r\n", MEBIBYTE),
    "a status line": (b"HTTP/1.1 200 ", b"x" * 100_000),
    "a header": (OK + b"X: ", b"x" * 100_000),
    "headers": (OK, b"X: y\r\n" * 10_000),
    "a header that goes on": (OK + b"X: y\r\n", b" y\r\n" * 10_000),
    "interim responses": (b"", b"HTTP/1.1 100 Go on\r\n\r\n" * 10_000),
    "hints": (b"", HINTS * 5_000),
    "the headers of a hint": (HINTS[:-2], b"X: y\r\n" * 10_000),
    "carriage returns": (OK + b"X: ", b"\r" * 100_000),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_what_never_ends_is_read_no_further_than_the_limit(serve: Serve, name: str):
    start, part = ENDLESS[name]
    server = serve(say(start, itertools.repeat(part)))

    def refused_fetch() -> None:
        with pytest.raises((FetchError, BodyTooLargeError)):
            fetch(server, deadline_s=20)

    peak, _ = peak_bytes(refused_fetch)

    assert server.sent_bytes < SOCKET_BUFFERS
    assert peak < 3 * LIMIT + 4 * MAX_HEAD_BYTES + 2 * len(part)


@pytest.mark.parametrize("end", [b"0\r\nX: ", b"0\r\n"])
def test_trailers_without_end_are_not_read(serve: Serve, end: bytes):
    server = serve(say(CHUNKED + chunks(PICTURE) + end, itertools.repeat(b"X: y\r\n" * 10_000)))

    assert fetch(server) == PICTURE


def test_data_that_goes_on_after_the_deadline_is_not_read(serve: Serve):
    """A connection that was cut still returns what has arrived, for as long as more arrives."""

    def script(_: str, send: Send) -> None:
        send(OK + b"\r\n")
        while True:
            send(bytes(2000))

    server = serve(script)
    with pytest.raises(DeadlineExceededError):
        fetch(server, deadline_s=0.2, max_bytes=1 << 60)


BEFORE_RESETS = {
    "the status line": b"",
    "its end": b"HTTP/1.1 20",
    "the end of the headers": OK + LENGTH,
    "the body": OK + LENGTH + b"\r\n",
    "its end, after a part": OK + LENGTH + b"\r\n" + PICTURE[:500],
    "a chunk size": CHUNKED,
    "the end of a chunk": CHUNKED + b"400\r\n" + PICTURE[:500],
    "the last chunk": CHUNKED + chunks(PICTURE),
    "the response, after hints": HINTS,
    "the end of a redirect": b"HTTP/1.1 302 Found\r\nLocation: /x\r\n",
}


@contextlib.contextmanager
def resetting_server(data: bytes) -> Iterator[str]:
    """Yield the URL of a server that sends some bytes, and then resets the connection."""

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(data)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/picture"
        thread.join()


@pytest.mark.parametrize("name", BEFORE_RESETS)
def test_a_connection_that_is_reset_is_an_error_of_the_fetch(name: str):
    with resetting_server(BEFORE_RESETS[name]) as url, pytest.raises(FetchError, match="connection was lost"):
        fetcher().fetch(url, deadline=Deadline.after(5))


# fmt: off
FRAGMENTS = (
    OK, HINTS, CHUNKED, LENGTH, b"HTTP/1.1 ", b"HTTP/1.1 302 x\r\n", b"Location: ", b"Content-Length: ",
    b"Transfer-Encoding: ", b"Content-Encoding: ", b"chunked", b"\r\n", b"\n", b"\r", b"\0", b"\xff", b"\x85", b":",
    b";", b",", b" ", b"0", b"5", b"-5", b"+5", b"1_0", b"9" * 5000, b"5\r\nabcde\r\n", b"0\r\n\r\n", b"http://", b"[",
)
# fmt: on


@settings(max_examples=150, deadline=None)
@given(fragments=st.lists(st.sampled_from(FRAGMENTS), max_size=10))
def test_whatever_a_server_says_is_an_image_or_an_error_of_the_gateway(fragments: list[bytes]):
    with capture_logs() as logs, RawServer(say(b"".join(fragments))) as server, contextlib.suppress(GatewayError):
        fetch(server)

    assert "fetch_error_unknown" not in [entry["event"] for entry in logs]


@pytest.mark.parametrize(
    ("error", "kind"), [(RuntimeError("https://x/?secret"), FetchError), (MemoryError(), OverloadedError)]
)
def test_an_exception_that_nobody_thought_of_is_an_error_of_the_fetch(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[GatewayError]
):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(fetch_module.GuardedSession, "send", fail)
    with capture_logs() as logs, pytest.raises(kind):
        fetcher().fetch("http://127.0.0.1/x?secret", deadline=Deadline.after(5))

    assert [entry.get("error") for entry in logs] == (["RuntimeError"] if kind is FetchError else [])
    assert "secret" not in str(logs)


def test_no_header_but_those_that_are_needed_reaches_a_parser(serve: Serve, monkeypatch: pytest.MonkeyPatch):
    """Parsers of cookies, dates and links have been slow for malicious values before."""
    responses: list[requests.Response] = []
    read = UrlFetcher._read

    def record(self: UrlFetcher, response: requests.Response, *arguments: object) -> bytes:
        responses.append(response)
        return read(self, response, *arguments)

    monkeypatch.setattr(UrlFetcher, "_read", record)
    headers = ["Set-Cookie: a=b; Expires=" + "1 " * 10_000, "Link: <x>", "Content-Encoding: utf-8", "Retry-After: x"]
    fetch(serve(answer(PICTURE, headers=headers)))

    (response,) = responses
    assert dict(response.headers) == {"Content-Encoding": "utf-8", "Content-Length": "1024"}
    assert not response.cookies
