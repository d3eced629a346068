"""Webhooks go through the guards of image URLs: addresses, ports, deadlines, and no redirects."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceededError, FetchError, FetchRefusedError
from gateway.fetching.destinations import Destinations
from gateway.fetching.fetch import UrlFetcher
from tests.support.fetching import fetch_limits
from tests.support.raw_server import RawServer, answer, redirect
from tests.support.resolver import replace_resolver
from tests.support.waiting import LONG_S, ends_soon

Serve = Callable[..., RawServer]


def make_fetcher(*allowed: str, **rules: Any) -> UrlFetcher:
    return UrlFetcher(Destinations(allowed_hosts=allowed, **rules), fetch_limits())


def post(server: RawServer, body: bytes = b"{}", *, seconds: float = LONG_S) -> int:
    fetcher = make_fetcher(f"127.0.0.1:{server.port}")
    headers = {"Content-Type": "application/json", "webhook-id": "job_1"}
    return fetcher.post(server.url("/hook?a=b"), body, headers, deadline=Deadline.after(seconds))


def test_a_body_is_sent_with_its_headers(serve: Serve):
    server = serve(answer(status="204 No Content"))

    assert post(server, b'{"id": 1}') == 204

    head = server.requests[0].split("\r\n")
    assert head[0] == "POST /hook?a=b HTTP/1.1"
    assert {"Content-Type: application/json", "webhook-id: job_1", "Content-Length: 9"} <= set(head)
    assert not any(line.startswith(("Cookie", "Authorization")) for line in head)


@pytest.mark.parametrize("status", ["200 OK", "302 Found", "410 Gone", "500 Internal Server Error"])
def test_the_status_is_returned_and_no_redirect_is_followed(serve: Serve, status: str):
    elsewhere = serve(answer())
    server = serve(answer(status=status, headers=[f"Location: {elsewhere.url()}"]))

    assert post(server) == int(status.split(maxsplit=1)[0])
    assert elsewhere.requests == []


def test_a_redirect_to_a_private_address_is_not_followed(serve: Serve):
    assert post(serve(redirect("http://169.254.169.254/"))) == 302


def test_an_endless_answer_is_not_read(serve: Serve):
    def script(_: str, send: Callable[[bytes], None]) -> None:
        send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            send(bytes(65536))

    with ends_soon():
        assert post(serve(script)) == 200


def test_a_silent_receiver_is_given_up_at_the_deadline(serve: Serve):
    is_over = threading.Event()

    with ends_soon(), pytest.raises(DeadlineExceededError):
        post(serve(lambda *_: is_over.wait(LONG_S)), seconds=0.3)
    is_over.set()


def test_a_receiver_that_is_not_there_is_an_error(serve: Serve):
    server = serve(answer())
    server.close()

    with pytest.raises(FetchError):
        post(server)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "http://[::1]/", "http://169.254.169.254/", "http://10.0.0.1/", "http://0x7f000001/"]
)
def test_private_addresses_are_refused_before_and_while_sending(url: str):
    fetcher = make_fetcher()

    with pytest.raises(FetchRefusedError):
        fetcher.check(url)
    with pytest.raises(FetchRefusedError):
        fetcher.post(url, b"", {}, deadline=Deadline.after(LONG_S))


def test_a_name_with_a_private_address_is_refused_while_sending(monkeypatch: pytest.MonkeyPatch):
    replace_resolver(monkeypatch, lambda _, port: [("10.0.0.1", port)])
    fetcher = make_fetcher()

    fetcher.check("http://inner.example/")
    with pytest.raises(FetchRefusedError):
        fetcher.post("http://inner.example/", b"", {}, deadline=Deadline.after(LONG_S))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com",
        "http://example.com:22/",
        "http://u:p@example.com/",
        "example.com",
        "http://a b/",
        "http://x" * 2000,
    ],
)
def test_urls_of_other_forms_are_refused_before_sending(url: str):
    with pytest.raises(FetchRefusedError):
        make_fetcher().check(url)


def test_hosts_that_the_operator_denies_are_refused_before_sending():
    fetcher = make_fetcher(denied_hosts=("*.example.com",))

    with pytest.raises(FetchRefusedError):
        fetcher.check("https://hooks.example.com/")
