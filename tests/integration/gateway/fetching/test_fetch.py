import contextlib
import errno
import gc
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway.deadline import Deadline
from gateway.errors import (
    BodyTooLargeError,
    DeadlineExceededError,
    FetchError,
    FetchRefusedError,
    ImageFormatError,
    OverloadedError,
)
from gateway.fetching import addresses, connections
from gateway.fetching.connections import GuardedConnector, HostConnections, Network
from gateway.fetching.destinations import Destinations
from gateway.fetching.fetch import USER_AGENT, UrlFetcher
from gateway.fetching.lookups import SharedLookups
from tests.support.fetching import address_guard, fetch_limits
from tests.support.raw_server import RawServer, Script, Send, answer, redirect
from tests.support.resolver import replace_resolver, use_silent_names
from tests.support.waiting import LONG_S, ends_soon, until
from tools import ports

Serve = Callable[..., RawServer]

PICTURE = bytes(range(256)) * 40
LIMIT = 100_000
HEAD = b"HTTP/1.1 200 OK\r\n"


def fetcher(
    *allowed: str,
    deadline_s: float = 5.0,
    max_bytes: int = LIMIT,
    max_redirects: int = 3,
    connections_per_host: int = 8,
    max_wait_s: float = 30,
    max_url_length: int = 8192,
    proxy: str | None = None,
    user_agent: str = USER_AGENT,
    **rules: Any,
) -> UrlFetcher:
    limits = fetch_limits(
        deadline_s=deadline_s,
        max_bytes=max_bytes,
        max_redirects=max_redirects,
        max_url_length=max_url_length,
        connections_per_host=connections_per_host,
        max_wait_s=max_wait_s,
    )
    return UrlFetcher(Destinations(allowed_hosts=allowed, **rules), limits, proxy=proxy, user_agent=user_agent)


def fetch(server: RawServer, path: str = "/picture", **options: Any) -> bytes:
    trusting = fetcher(f"127.0.0.1:{server.port}", **options)
    return trusting.fetch(server.url(path), deadline=Deadline.after(LONG_S))


def fetch_late(server: RawServer) -> None:
    """Fetch with a deadline of a third of a second, and check that the fetch ends then."""
    started = time.monotonic()
    with ends_soon(), pytest.raises(DeadlineExceededError):
        fetch(server, deadline_s=0.33)
    assert time.monotonic() - started > 0.3


def by_path(**scripts: Script) -> Script:
    """Answer /NAME with the script of that name."""

    def script(head: str, send: Send) -> None:
        scripts[head.split()[1].lstrip("/").partition("?")[0]](head, send)

    return script


# Content


def test_the_bytes_behind_a_url_are_returned(serve: Serve):
    server = serve(answer(PICTURE))
    assert fetch(server, "/a%20b.png?size=1") == PICTURE
    request = server.requests[0].split("\r\n")
    assert request[0] == "GET /a%20b.png?size=1 HTTP/1.1"
    assert f"Host: 127.0.0.1:{server.port}" in request
    assert "Accept-Encoding: identity" in request
    assert not any(line.startswith(("Cookie", "Authorization")) for line in request)


def test_a_body_without_length_and_a_chunked_body_are_returned(serve: Serve):
    assert fetch(serve(lambda _, send: send(HEAD + b"\r\n" + PICTURE))) == PICTURE
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%b\r\n0\r\n\r\n" % (len(PICTURE), PICTURE)
    assert fetch(serve(lambda _, send: send(chunked))) == PICTURE


def test_each_thread_gets_its_own_image(serve: Serve):
    server = serve(lambda head, send: answer(head.split()[1].encode())(head, send))
    one = fetcher(f"127.0.0.1:{server.port}")
    paths = [f"/{number}" for number in range(32)]
    with ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(lambda path: one.fetch(server.url(path), deadline=Deadline.after(10)), paths))
    assert bodies == [path.encode() for path in paths]


@pytest.mark.parametrize("status", [404, 500, 204, 206, 401])
def test_any_status_but_200_is_an_error_that_names_it(serve: Serve, status: int):
    with pytest.raises(FetchError, match=f"status {status}, expected 200"):
        fetch(serve(answer(PICTURE, status=f"{status} As It Is")))


def test_a_compressed_body_is_refused(serve: Serve):
    server = serve(answer(PICTURE, headers=["Content-Encoding: gzip"]))
    with pytest.raises(FetchError, match="Content-Encoding 'gzip'"):
        fetch(server)


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"220 mail.example ESMTP\r\n",
        HEAD + b"Content-Length: 100\r\n\r\ntoo short",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        HEAD + b"".join(b"X-%d: 1\r\n" % number for number in range(200)) + b"\r\n",
        HEAD + b"X: " + b"x" * 70_000 + b"\r\n\r\n",
    ],
    ids=["nothing", "no HTTP", "cut off", "bad chunk", "too many headers", "header too long"],
)
def test_a_broken_answer_is_an_error_that_names_the_host(serve: Serve, reply: bytes):
    with pytest.raises(FetchError, match=r"Fetching from 127\.0\.0\.1 failed"):
        fetch(serve(lambda _, send: send(reply)))


def test_a_closed_port_is_named():
    (port,) = ports.find(1)
    with pytest.raises(FetchError, match=rf"127\.0\.0\.1 does not accept connections on port {port}"):
        fetcher("127.0.0.1").fetch(f"http://127.0.0.1:{port}/", deadline=Deadline.after(5))


# Size


def test_a_body_of_exactly_the_limit_is_accepted_and_one_byte_more_is_not(serve: Serve):
    assert len(fetch(serve(answer(b"x" * LIMIT)))) == LIMIT
    with pytest.raises(BodyTooLargeError) as caught:
        fetch(serve(answer(b"x" * (LIMIT + 1))))
    assert caught.value.members == {"max_bytes": LIMIT}


def test_a_declared_length_over_the_limit_is_refused_before_the_body_arrives(serve: Serve):
    def announce(_: str, send: Send) -> None:
        send(HEAD + b"Content-Length: %d\r\n\r\n" % (LIMIT + 1))
        server.closing.wait(5)

    server = serve(announce)
    with pytest.raises(BodyTooLargeError):
        fetch(server)


def endless(send: Send) -> None:
    while True:
        send(bytes(65536))


def test_an_endless_body_is_cut_at_the_limit(serve: Serve):
    def script(_: str, send: Send) -> None:
        send(HEAD + b"\r\n")
        endless(send)

    server = serve(script)
    with pytest.raises(BodyTooLargeError):
        fetch(server)
    assert server.sent_bytes < 20_000_000  # the size of the socket buffers


# Time


def test_slow_headers_are_cut_at_the_deadline(serve: Serve):
    def script(_: str, send: Send) -> None:
        send(HEAD)
        server.trickle(send, (b"X: y\r\n" for _ in range(1000)))

    server = serve(script)
    fetch_late(server)


@pytest.mark.parametrize("framing", [b"Content-Length: 1000\r\n\r\n", b"\r\n"], ids=["with length", "without length"])
def test_a_slow_body_is_cut_at_the_deadline(serve: Serve, framing: bytes):
    def script(_: str, send: Send) -> None:
        send(HEAD + framing)
        server.trickle(send, (b"x" for _ in range(1000)))

    server = serve(script)
    fetch_late(server)


def test_a_slow_chunked_body_is_cut_at_the_deadline(serve: Serve):
    def script(_: str, send: Send) -> None:
        send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        server.trickle(send, (b"1\r\nx\r\n" for _ in range(1000)))

    server = serve(script)
    fetch_late(server)


def test_endless_informational_answers_are_cut_at_the_deadline(serve: Serve):
    server = serve(lambda _, send: server.trickle(send, (b"HTTP/1.1 100 Continue\r\n\r\n" for _ in range(1000))))
    fetch_late(server)


def test_a_silent_server_is_abandoned_at_the_deadline(serve: Serve):
    server = serve(lambda *_: server.closing.wait(LONG_S))
    fetch_late(server)


def test_redirects_share_one_deadline(serve: Serve):
    def script(head: str, send: Send) -> None:
        server.closing.wait(0.2)
        redirect("/again")(head, send)

    server = serve(script)
    with ends_soon(), pytest.raises(DeadlineExceededError):
        fetch(server, deadline_s=0.5, max_redirects=10)


def test_the_earlier_deadline_applies(serve: Serve):
    server = serve(lambda *_: server.closing.wait(LONG_S))
    with ends_soon(), pytest.raises(DeadlineExceededError):
        fetcher("127.0.0.1", deadline_s=LONG_S).fetch(server.url(), deadline=Deadline.after(0.3))


def test_a_connection_that_opens_after_the_deadline_is_not_used():
    """The deadline can pass while no connection is tracked yet, because TLS is being established."""
    network = Network(address_guard(), HostConnections(1, max_wait_s=0), LIMIT)
    connector = GuardedConnector(network, Deadline.after(0))
    with socket.socket() as late, pytest.raises(DeadlineExceededError):
        connector.track(late)


@pytest.fixture
def unanswering() -> int:
    """Return a port on 127.0.0.1 that accepts no more connections, because its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(4):
            client = socket.socket()
            client.settimeout(0)
            client.connect_ex(listener.getsockname())
            waiting.append(client)
        yield listener.getsockname()[1]
        for client in waiting:
            client.close()


def test_a_host_that_does_not_accept_the_connection_is_abandoned(unanswering: int):
    with pytest.raises(DeadlineExceededError):
        fetcher("127.0.0.1", deadline_s=0.3).fetch(f"http://127.0.0.1:{unanswering}/", deadline=Deadline.after(5))


def test_the_next_address_is_tried_while_there_is_time(serve: Serve, unanswering: int, monkeypatch: pytest.MonkeyPatch):
    server = serve(answer(PICTURE))
    replace_resolver(monkeypatch, lambda *_: [("127.0.0.1", port) for port in (unanswering, server.port)])
    assert fetcher("two.test", deadline_s=1).fetch("http://two.test/", deadline=Deadline.after(5)) == PICTURE


def test_a_silent_name_server_is_abandoned_at_the_deadline(monkeypatch: pytest.MonkeyPatch):
    use_silent_names(monkeypatch)
    deadline = Deadline.after(5)
    with pytest.raises(DeadlineExceededError, match=r"silent\.test was not resolved in time"):
        fetcher(deadline_s=0.3).fetch("http://silent.test/", deadline=deadline)
    assert not deadline.has_passed


# Connections


class Gate:
    """A script that answers with a picture once it may, and counts the clients that wait for it at the same time."""

    def __init__(self) -> None:
        self.is_open = threading.Event()
        self.waiting = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, head: str, send: Send) -> None:
        with self._lock:
            self.waiting += 1
            self.most = max(self.most, self.waiting)
        self.is_open.wait(30)
        with self._lock:
            self.waiting -= 1
        answer(PICTURE)(head, send)


@pytest.mark.parametrize("host", ["127.0.0.1", "many names"])
def test_a_client_gets_half_of_the_connections_to_a_host_and_leaves_some_to_another(
    serve: Serve, host: str, monkeypatch: pytest.MonkeyPatch
):
    gate = Gate()
    server = serve(gate)
    replace_resolver(monkeypatch, lambda _, port: [("127.0.0.1", port)])
    hosts = [host if host == "127.0.0.1" else f"{number}.test" for number in range(12)]
    limited = fetcher(*hosts, connections_per_host=6, deadline_s=30)

    with ThreadPoolExecutor(13) as pool:
        fetches = [
            pool.submit(limited.fetch, f"http://{host}:{server.port}/", deadline=Deadline.after(30)) for host in hosts
        ]
        until(lambda: gate.waiting == 3)
        url = f"http://{hosts[0]}:{server.port}/"
        fetches.append(pool.submit(limited.fetch, url, deadline=Deadline.after(30), client="another"))
        until(lambda: gate.waiting == 4)
        gate.is_open.set()
        assert [fetch.result() for fetch in fetches] == [PICTURE] * 13

    assert gate.most == 4


def test_a_fetch_that_gets_no_connection_in_time_is_refused_and_other_hosts_are_fetched_from(serve: Serve):
    gate = Gate()
    slow, fast = serve(gate), serve(answer(PICTURE), host="127.0.0.2")
    limited = fetcher("127.0.0.1", "127.0.0.2", connections_per_host=1, deadline_s=30, max_wait_s=0.1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(limited.fetch, slow.url(), deadline=Deadline.after(30))
        until(lambda: gate.waiting)

        with pytest.raises(OverloadedError, match="Too many images are being fetched from this host"):
            limited.fetch(slow.url(), deadline=Deadline.after(30))
        with pytest.raises(DeadlineExceededError):
            limited.fetch(slow.url(), deadline=Deadline.after(0.05))
        assert limited.fetch(f"http://127.0.0.2:{fast.port}/", deadline=Deadline.after(30)) == PICTURE

        gate.is_open.set()
        assert first.result() == PICTURE
    assert limited.fetch(slow.url(), deadline=Deadline.after(30)) == PICTURE


@pytest.mark.parametrize(("max_wait_s", "deadline_s"), [(0.1, 30), (30, 2)])
def test_the_next_address_is_tried_if_the_first_has_no_connection_left(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, max_wait_s: float, deadline_s: float
):
    gate = Gate()
    busy, free = serve(gate), serve(answer(PICTURE), host="127.0.0.2")
    replace_resolver(monkeypatch, lambda *_: [("127.0.0.1", busy.port), ("127.0.0.2", free.port)])
    limited = fetcher("127.0.0.1", "two.test", connections_per_host=1, deadline_s=30, max_wait_s=max_wait_s)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(limited.fetch, busy.url(), deadline=Deadline.after(30))
        until(lambda: gate.waiting)

        assert limited.fetch("http://two.test/", deadline=Deadline.after(deadline_s)) == PICTURE

        gate.is_open.set()
        assert first.result() == PICTURE


def test_redirects_and_failures_give_their_connection_back(serve: Serve):
    server = serve(by_path(moved=redirect("/good"), good=answer(PICTURE), missing=answer(status="404 No")))
    limited = fetcher("127.0.0.1", connections_per_host=1)

    for _ in range(3):
        assert limited.fetch(server.url("/moved"), deadline=Deadline.after(5)) == PICTURE
        with pytest.raises(FetchError, match="status 404"):
            limited.fetch(server.url("/missing"), deadline=Deadline.after(5))


def test_connections_through_a_proxy_are_counted_by_host(serve: Serve):
    gate = Gate()
    proxy = serve(gate)
    limited = fetcher(proxy=f"http://127.0.0.1:{proxy.port}", connections_per_host=1, deadline_s=30, max_wait_s=0.1)
    with ThreadPoolExecutor(2) as pool:
        fetches = [
            pool.submit(limited.fetch, f"http://{host}.test/", deadline=Deadline.after(30)) for host in ("one", "two")
        ]
        until(lambda: gate.waiting == 2)
        with pytest.raises(OverloadedError):
            limited.fetch("http://one.test/", deadline=Deadline.after(30))
        gate.is_open.set()
        assert [fetch.result() for fetch in fetches] == [PICTURE] * 2


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_a_machine_without_files_is_overloaded(serve: Serve, monkeypatch: pytest.MonkeyPatch, number: int):
    server = serve(answer(PICTURE))

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(connections.socket.socket, "connect", fail)
    with pytest.raises(OverloadedError):
        fetch(server)


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="this system does not count the bytes of a connection")
def test_a_connection_is_cut_when_more_arrives_than_any_response_needs(serve: Serve):
    """The limits of reading do not see what a TLS library reads and keeps to itself."""
    server = serve(lambda _, send: endless(send))
    network = Network(address_guard(allowed_hosts=("127.0.0.1",)), HostConnections(2, max_wait_s=0), max_bytes=1000)
    deadline = Deadline.after(60)
    connector = GuardedConnector(network, deadline)
    with connector.watch(), connector.visit("127.0.0.1"), connector.connect("127.0.0.1", server.port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")

        received = 0
        with contextlib.suppress(ConnectionResetError):
            while data := connection.recv(65536):
                received += len(data)

        assert received > 2 * 1000 + 1024 * 1024
        assert not deadline.has_passed


def test_the_bytes_of_a_fetch_are_taken_from_its_allowance_before_they_are_kept(serve: Serve):
    class Allowed:
        def __init__(self, size: int) -> None:
            self.left = size

        def take(self, count: int) -> None:
            self.left -= count
            if self.left < 0:
                raise OverloadedError("no memory")

    server = serve(answer(PICTURE))
    trusting = fetcher("127.0.0.1")

    exact = Allowed(len(PICTURE))
    assert trusting.fetch(server.url(), deadline=Deadline.after(5), allowance=exact) == PICTURE
    assert exact.left == 0
    with pytest.raises(OverloadedError, match="no memory"):
        trusting.fetch(server.url(), deadline=Deadline.after(5), allowance=Allowed(len(PICTURE) - 1))


def test_a_name_is_looked_up_once_for_fetches_that_share_lookups(serve: Serve, monkeypatch: pytest.MonkeyPatch):
    server = serve(by_path(moved=redirect("/good"), good=answer(PICTURE)))
    names = replace_resolver(monkeypatch, lambda _, port: [("127.0.0.1", port)])
    trusting, lookups = fetcher("photos.test"), SharedLookups()

    for path in ("good", "moved", "good"):
        url = f"http://photos.test:{server.port}/{path}"
        assert trusting.fetch(url, deadline=Deadline.after(5), lookups=lookups) == PICTURE

    assert names == ["photos.test"]


# Redirects


def test_redirects_are_followed_up_to_the_limit(serve: Serve):
    steps = {str(left): redirect(f"/{left - 1}") for left in range(1, 5)}
    server = serve(by_path(**steps, **{"0": answer(PICTURE)}))
    assert fetch(server, "/3") == PICTURE
    with pytest.raises(FetchError, match="redirects more than 3 times"):
        fetch(server, "/4")


def test_a_redirect_loop_ends(serve: Serve):
    server = serve(redirect("/picture"))
    with pytest.raises(FetchError, match="redirects more than 3 times"):
        fetch(server)
    assert len(server.requests) == 4


def test_redirects_can_be_switched_off(serve: Serve):
    server = serve(redirect("/picture"))
    with pytest.raises(FetchError, match="redirects more than 0 times"):
        fetch(server, max_redirects=0)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", ["301 A", "302 B", "303 C", "307 D", "308 E"])
def test_every_kind_of_redirect_is_followed(serve: Serve, status: str):
    moved = answer(status=status, headers=["Location: found?x=1"])
    server = serve(by_path(**{"folder/picture": moved, "folder/found": answer(PICTURE)}))
    assert fetch(server, "/folder/picture") == PICTURE


def test_a_redirect_to_a_path_in_utf8_is_followed(serve: Serve):
    server = serve(by_path(picture=redirect("/grün"), **{"gr%C3%BCn": answer(PICTURE)}))
    assert fetch(server) == PICTURE


def test_a_redirect_to_a_path_in_another_charset_is_followed_as_browsers_do(serve: Serve):
    def moved(_: str, send: Send) -> None:
        send(b"HTTP/1.1 302 Found\r\nLocation: /gr\xfcn?\xe9=1\r\n\r\n")

    server = serve(by_path(picture=moved, **{"gr%FCn": answer(PICTURE)}))
    assert fetch(server) == PICTURE
    assert server.requests[-1].startswith("GET /gr%FCn?%E9=1 ")


def test_a_url_is_as_long_as_the_limit_says_and_so_is_that_of_a_redirect(serve: Serve):
    server = serve(by_path(picture=answer(PICTURE), moved=redirect("/picture?" + "x" * 5000)))
    base = len(server.url("/picture?"))

    assert fetch(server, "/picture?" + "x" * (8192 - base)) == PICTURE
    assert fetch(server, "/moved") == PICTURE
    for path in ("/picture?" + "x" * 4096, "/moved"):
        with pytest.raises(FetchRefusedError, match=r"The URL has \d,\d+ characters; at most 4,096 are accepted"):
            fetch(server, path, max_url_length=4096)


def test_the_agent_says_whom_to_contact(serve: Serve):
    server = serve(answer(PICTURE))
    guarded = fetcher(f"127.0.0.1:{server.port}", user_agent="photos/2 (ops@example.com)")

    guarded.fetch(server.url(), deadline=Deadline.after(5))

    assert "\r\nUser-Agent: photos/2 (ops@example.com)\r\n" in server.requests[-1]


@pytest.mark.parametrize(
    ("content_type", "body", "kind"),
    [
        ("text/html; charset=utf-8", b"\xef\xbb\xbf <!doctype html><title>Log in</title>", "an HTML page (text/html, "),
        ("application/xhtml+xml", b"<?xml version='1.0'?><html/>", "an HTML page (application/xhtml+xml, "),
        ("application/problem+json", b'{"status": 404}', "JSON (application/problem+json, 15 bytes)"),
        ("application/xml", b"<Error><Code>NoSuchKey</Code></Error>", "an XML document (application/xml, "),
        ("image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing (image/svg+xml, "),
    ],
)
def test_what_a_url_returned_instead_of_an_image_is_named(serve: Serve, content_type: str, body: bytes, kind: str):
    with pytest.raises(ImageFormatError) as caught:
        fetch(serve(answer(body, headers=[f"Content-Type: {content_type}"])))

    assert caught.value.detail.startswith(f"The URL returned {kind}")


def test_an_image_under_the_media_type_of_a_page_is_returned(serve: Serve):
    assert fetch(serve(answer(PICTURE, headers=["Content-Type: text/html"]))) == PICTURE


def test_a_redirect_without_a_target_is_an_error(serve: Serve):
    with pytest.raises(FetchError, match="status 302, expected 200"):
        fetch(serve(answer(status="302 Found")))


@pytest.mark.parametrize("location", ["http://[", "http://host:port/", "http://a\xff/"])
def test_a_redirect_to_an_invalid_url_is_an_error(serve: Serve, location: str):
    def script(_: str, send: Send) -> None:
        send(b"HTTP/1.1 302 Found\r\nLocation: %b\r\n\r\n" % location.encode("latin-1"))

    with pytest.raises(FetchError, match="valid"):
        fetch(serve(script))


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/", "data:,x"])
def test_a_redirect_to_another_scheme_is_refused(serve: Serve, location: str):
    with pytest.raises(FetchRefusedError, match=r"redirects to another, which is refused\. .* http:// or https://"):
        fetch(serve(redirect(location)))


def test_a_redirect_to_a_private_host_is_refused(serve: Serve):
    private = serve(answer(PICTURE))
    server = serve(redirect(private.url()))
    with pytest.raises(FetchRefusedError, match="no public address"):
        fetch(server, ports=(private.port,))
    assert private.requests == []


def test_a_redirect_with_credentials_is_refused(serve: Serve):
    server = serve(redirect("http://user:password@127.0.0.1/"))
    with pytest.raises(FetchRefusedError, match="user name or password"):
        fetch(server)


def test_the_body_of_a_redirect_is_not_read(serve: Serve):
    def moved(_: str, send: Send) -> None:
        send(b"HTTP/1.1 302 Found\r\nLocation: /found\r\nContent-Encoding: gzip\r\n\r\n")
        endless(send)

    server = serve(by_path(picture=moved, found=answer(PICTURE)))
    assert fetch(server) == PICTURE
    assert server.sent_bytes < 20_000_000


# Addresses


LOOPBACK = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "0x7f.1",
    "0x7f000001",
    "2130706433",
    "0177.0.0.1",
    "017700000001",
    "0",
    "0.0.0.0",  # noqa: S104  # a URL's host here
    "127.255.255.254",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "127.0.0.1.",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "①②⑦.⓪.⓪.①",  # digits that IDNA maps to ASCII
    "127。0。0。1",
    "%31%32%37.0.0.1",
]


def test_the_loopback_is_refused_in_every_notation(serve: Serve):
    server = serve(answer(PICTURE))
    guarded = fetcher(ports=(server.port,))

    for host in LOOPBACK:
        with pytest.raises(FetchRefusedError, match=r"no public address|not valid"):
            guarded.fetch(f"http://{host}:{server.port}/", deadline=Deadline.after(5))

    assert server.requests == []


def test_an_allowed_host_is_fetched_from_on_any_port_or_on_one(serve: Serve):
    server, other = serve(answer(PICTURE)), serve(answer(PICTURE))
    both = fetcher("localhost")
    only_one = fetcher(f"LOCALHOST:{server.port}")
    for allowed, port in ((both, server.port), (both, other.port), (only_one, server.port)):
        assert allowed.fetch(f"http://LocalHost:{port}/", deadline=Deadline.after(5)) == PICTURE
    with pytest.raises(FetchRefusedError):
        only_one.fetch(f"http://localhost:{other.port}/", deadline=Deadline.after(5))
    with pytest.raises(FetchRefusedError, match="no public address"):  # the name is allowed, not its address
        fetcher("localhost", ports=(server.port,)).fetch(server.url(), deadline=Deadline.after(5))


def test_an_ipv6_host_is_allowed_as_urls_write_it(serve: Serve):
    try:
        server = serve(answer(PICTURE), host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    url = f"http://[::1]:{server.port}/"
    for name in ("[::1]", f"[::1]:{server.port}"):
        assert fetcher(name).fetch(url, deadline=Deadline.after(5)) == PICTURE
    with pytest.raises(FetchRefusedError):
        fetcher("[::1]:1").fetch(url, deadline=Deadline.after(5))


def test_the_connection_goes_to_the_address_that_was_checked(serve: Serve, monkeypatch: pytest.MonkeyPatch):
    """DNS rebinding: the name has a public address when it is checked, and a private one from then on."""
    public = serve(answer(PICTURE))
    private = serve(answer(b"secret"))
    answers = iter([public.port])

    def rebinding(*_: object) -> list[tuple[str, int]]:
        port = next(answers, private.port)
        return [("127.0.0.1" if port == public.port else "127.0.0.9", port)]

    lookups = replace_resolver(monkeypatch, rebinding)
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.1")
    assert fetcher().fetch("http://rebind.test/", deadline=Deadline.after(5)) == PICTURE
    assert lookups == ["rebind.test"]
    with pytest.raises(FetchRefusedError):  # the next fetch checks again
        fetcher().fetch("http://rebind.test/", deadline=Deadline.after(5))
    assert private.requests == []


MALFORMED_URLS = [
    "",
    "picture.png",
    "//127.0.0.1/x",
    "file:///etc/passwd",
    "ftp://127.0.0.1/x",
    "gopher://127.0.0.1/x",
    "data:image/png;base64,AAAA",
    "javascript:alert(1)",
    "http:///x",
    "http://:80/x",
    "http://[::1/x",
    "http://[::1]x/",
    "http://[v1.fe80]/x",
    "http://host.example/\ud800",
    "http://host:99999/x",
    "http://host:-1/x",
    "http://host:abc/x",
    "http://user@host.example/x",
    "http://user:password@host.example/x",
    "http://@127.0.0.1/x",
    "http://example.com\\@127.0.0.1/x",
    "http://.host.example/x",
    "http://*.example/x",
    "http://\x00/x",
    "http://a b/x",
    "http://host.example/" + "x" * 8192,
]


def test_a_malformed_url_is_refused_without_a_lookup(monkeypatch: pytest.MonkeyPatch):
    lookups = replace_resolver(monkeypatch, lambda *_: [])
    guarded = fetcher()

    for url in MALFORMED_URLS:
        with pytest.raises(FetchRefusedError):
            guarded.fetch(url, deadline=Deadline.after(5))

    assert lookups == []


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example"])
def test_an_impossible_name_gets_the_message_of_an_unknown_one(host: str):
    with pytest.raises(FetchRefusedError, match=rf"The host {host} is not known or has no public address"):
        fetcher().fetch(f"http://{host}/x", deadline=Deadline.after(5))


def test_an_unknown_name_cannot_be_distinguished_from_a_private_one(monkeypatch: pytest.MonkeyPatch):
    replace_resolver(monkeypatch, lambda host, _: [("10.0.0.7", 80)] if host == "payroll.corp.test" else [])
    answers = set()
    for host in ("payroll.corp.test", "nothing.corp.test"):
        with pytest.raises(FetchRefusedError) as caught:
            fetcher().fetch(f"http://{host}/x", deadline=Deadline.after(5))
        answers.add((type(caught.value), caught.value.detail.replace(host, "HOST"), str(caught.value.members)))
    assert len(answers) == 1


# The operator's rules


def test_another_scheme_is_refused(serve: Serve):
    server = serve(answer(PICTURE))
    with pytest.raises(FetchRefusedError, match="must begin with https://"):
        fetch(server, schemes=("https",))
    assert server.requests == []


def test_another_port_is_refused_before_the_name_is_resolved(monkeypatch: pytest.MonkeyPatch):
    lookups = replace_resolver(monkeypatch, lambda *_: [])
    for url in (
        "http://public.test:22/",
        "https://public.test:6379/",
        "http://public.test:0x50/",
        "http://1.1.1.1:25/",
    ):
        with pytest.raises(FetchRefusedError, match=r"port|not valid"):
            fetcher().fetch(url, deadline=Deadline.after(5))
    assert lookups == []


def test_redirects_to_hosts_that_are_not_public_hosts_are_refused(serve: Serve):
    server = serve(redirect("http://other.test/x"))
    with pytest.raises(FetchRefusedError, match=r"other\.test is not one of the hosts"):
        fetch(server, public_hosts=("*.photos.test",))
    assert len(server.requests) == 1


@pytest.mark.parametrize("denied", ["127.0.0.1", "127.0.0.0/8", "127.0.0.1/32"])
def test_a_denied_address_is_refused_even_if_allowed(serve: Serve, denied: str):
    server = serve(answer(PICTURE))
    with pytest.raises(FetchRefusedError, match="not known or has no public address"):
        fetch(server, denied_hosts=(denied,))
    assert server.requests == []


def test_a_denied_name_is_refused_in_every_notation(serve: Serve):
    server = serve(answer(PICTURE))
    for name in ("localhost", "LocalHost", "localhost.", "%6cocalhost", "\N{FULLWIDTH LATIN SMALL LETTER L}ocalhost"):
        with pytest.raises(FetchRefusedError):
            fetcher("localhost", denied_hosts=("localhost",)).fetch(
                f"http://{name}:{server.port}/", deadline=Deadline.after(5)
            )
    assert server.requests == []


def test_a_host_with_one_denied_address_is_refused(monkeypatch: pytest.MonkeyPatch):
    replace_resolver(monkeypatch, lambda *_: [("1.1.1.1", 80), ("8.8.8.8", 80)])
    with pytest.raises(FetchRefusedError, match=r"two\.test is not known or has no public address"):
        fetcher(denied_hosts=("8.8.8.0/24",)).fetch("http://two.test/", deadline=Deadline.after(5))


# The operator's proxy


def test_the_proxy_resolves_names(serve: Serve):
    proxy = serve(answer(PICTURE))
    through = fetcher(proxy=f"http://127.0.0.1:{proxy.port}")
    assert through.fetch("http://photos.test/cat.png", deadline=Deadline.after(5)) == PICTURE
    assert proxy.requests[0].startswith("GET http://photos.test/cat.png HTTP/1.1")


def test_https_uses_the_connect_method_of_the_proxy(serve: Serve):
    proxy = serve(answer(status="403 No"))
    through = fetcher(proxy=f"http://127.0.0.1:{proxy.port}")
    with pytest.raises(FetchError, match=r"Fetching from photos\.test failed"):
        through.fetch("https://photos.test/cat.png", deadline=Deadline.after(5))
    assert proxy.requests[0].startswith("CONNECT photos.test:443 HTTP/1")


@pytest.mark.parametrize("host", ["127.0.0.1", "0x7f.1", "2130706433", "[::1]", "[::ffff:169.254.169.254]", "10.1"])
def test_private_addresses_are_refused_before_the_proxy_is_used(serve: Serve, host: str):
    proxy = serve(answer(PICTURE))
    through = fetcher(proxy=f"http://127.0.0.1:{proxy.port}")
    with pytest.raises(FetchRefusedError, match="no public address"):
        through.fetch(f"http://{host}/", deadline=Deadline.after(5))
    assert proxy.requests == []


def test_the_rules_apply_with_a_proxy_and_to_its_redirects(serve: Serve):
    proxy = serve(redirect("http://169.254.169.254/latest"))
    through = fetcher(proxy=f"http://127.0.0.1:{proxy.port}")
    with pytest.raises(FetchRefusedError, match=r"169\.254\.169\.254 is not known or has no public address"):
        through.fetch("http://photos.test/", deadline=Deadline.after(5))
    with pytest.raises(FetchRefusedError, match="port 22"):
        through.fetch("http://photos.test:22/", deadline=Deadline.after(5))
    assert len(proxy.requests) == 1


def test_a_slow_proxy_is_cut_at_the_deadline(serve: Serve):
    proxy = serve(lambda _, send: proxy.trickle(send, (b"H" for _ in range(1000))))
    through = fetcher(proxy=f"http://127.0.0.1:{proxy.port}", deadline_s=0.4)
    for url in ("http://photos.test/", "https://photos.test/"):
        with pytest.raises(DeadlineExceededError):
            through.fetch(url, deadline=Deadline.after(5))


# The environment


def test_proxies_and_netrc_of_the_environment_are_not_used(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    server, proxy = serve(answer(PICTURE)), serve(answer(b"from the proxy"))
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password something\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert fetch(server) == PICTURE
    assert proxy.requests == []
    assert "Authorization" not in server.requests[0]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted through /proc")
def test_no_connection_stays_open(serve: Serve):
    scripts = by_path(
        good=answer(PICTURE), moved=redirect("/good"), missing=answer(status="404 No"), long=answer(b"x" * (LIMIT + 1))
    )
    server = serve(scripts)
    one = fetcher(f"127.0.0.1:{server.port}")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in ["good", "moved", "missing", "long"] * 5:
        try:
            one.fetch(server.url(f"/{path}"), deadline=Deadline.after(5))
        except (FetchError, BodyTooLargeError):
            assert path in {"missing", "long"}
    server.close()
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
