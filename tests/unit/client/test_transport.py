"""One call: what is sent, when it is sent again, when it is given up, and what is no answer."""

import socket

import pytest

from image_gateway_client.errors import NoAnswerError, ProblemError, UnexpectedAnswerError
from image_gateway_client.transport import Limits, Transport
from tests.support.contract_gateway import MODEL, Reply, busy, problem
from tests.support.raw_server import RawServer, answer

READY = {"status": "ready", "model": MODEL}
WHOLE = answer(b"{}", headers=["Content-Type: application/json"])


def transport(url, *, api_key=None, timeout_s=20.0, retries=3):
    return Transport(url, api_key=api_key, limits=Limits(timeout_s, 5.0, retries, 2))


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """The pauses made, none of which is waited for."""
    made: list[float] = []
    monkeypatch.setattr("image_gateway_client.transport.time.sleep", made.append)
    return made


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_gateway_is_asked_again_when_it_says(gateway, pauses, status):
    gateway.script.extend([busy(status, "2"), busy(status, "3")])
    assert transport(gateway.url).call("GET", "/readyz") == READY
    assert pauses == [2, 3]


def test_a_date_is_as_good_as_seconds(gateway, pauses):
    gateway.script.append(busy(retry_after="Wed, 04 Mar 2020 12:00:00 GMT"))
    assert transport(gateway.url).call("GET", "/readyz") == READY
    assert pauses == [0]


def test_without_a_word_when_the_pauses_grow(gateway, pauses):
    gateway.script.extend([problem(503), Reply(b"<html>", 503, {"Retry-After": "later"}), problem(429)])
    assert transport(gateway.url).call("GET", "/readyz") == READY
    assert len(pauses) == 3
    assert 0 < pauses[0] < pauses[1] < pauses[2]


def test_the_tries_have_an_end(gateway, pauses):
    gateway.script.extend([busy()] * 10)
    with pytest.raises(ProblemError) as refused:
        transport(gateway.url, retries=2).call("GET", "/readyz")
    assert refused.value.problem.status == 503
    assert refused.value.transient
    assert (len(gateway.seen), len(pauses)) == (3, 2)


def test_a_call_may_forgo_its_tries(gateway, pauses):
    gateway.script.append(busy())
    with pytest.raises(ProblemError):
        transport(gateway.url).call("GET", "/readyz", retries=0)
    assert pauses == []


def test_nobody_waits_for_what_would_come_too_late(gateway, pauses):
    gateway.script.append(busy(retry_after="3600"))
    with pytest.raises(ProblemError) as refused:
        transport(gateway.url).call("GET", "/readyz")
    assert refused.value.retry_after_s == 3600
    assert pauses == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 415, 422, 500, 502, 504])
def test_what_would_fail_again_is_asked_once(gateway, pauses, status):
    gateway.script.append(problem(status, "No", detail="Because.", limit=3))
    with pytest.raises(ProblemError, match=f"^{status} No: Because.$") as refused:
        transport(gateway.url).call("GET", "/readyz")
    assert refused.value.problem.members == {"limit": 3}
    assert (len(gateway.seen), pauses) == (1, [])


def test_a_broken_connection_is_made_again(pauses):
    half = b'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"status"'
    scripts = iter([lambda *_: None, lambda _, send: send(half), lambda *_: None, WHOLE])

    def play(head, send):
        next(scripts)(head, send)

    with RawServer(play) as server:
        assert transport(server.url("")).call("GET", "/readyz") == {}
    assert len(pauses) == 3


def test_nobody_there_is_told_by_the_address(pauses):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(NoAnswerError, match=rf"^http://127.0.0.1:{port} cannot be reached: Connection refused$"):
        transport(f"http://127.0.0.1:{port}").call("GET", "/readyz")
    assert len(pauses) == 3


def test_a_name_without_address_is_told(pauses):
    with pytest.raises(NoAnswerError, match=r"^http://nowhere\.invalid cannot be reached: "):
        transport("http://nowhere.invalid", retries=1).call("GET", "/readyz")
    assert len(pauses) == 1


def test_a_password_in_the_address_is_not_told(pauses):
    with pytest.raises(NoAnswerError) as refused:
        transport("http://me:secret@127.0.0.1:1", retries=0).call("GET", "/readyz")
    assert "secret" not in str(refused.value)
    assert str(refused.value).startswith("http://127.0.0.1:1 ")
    assert pauses == []


def test_another_protocol_is_told_and_not_printed(pauses):
    noise = RawServer(lambda _, send: send(b"\x00\x1b[31m\x07\xff" * 9))
    with noise as server, pytest.raises(NoAnswerError) as refused:
        transport(server.url(""), retries=0).call("GET", "/readyz")
    assert str(refused.value).isprintable()
    assert pauses == []


def test_plain_http_where_tls_is_asked_is_not_tried_again(gateway, pauses):
    with pytest.raises(NoAnswerError, match="cannot be reached") as refused:
        transport(gateway.url.replace("http:", "https:")).call("GET", "/readyz")
    assert not refused.value.transient
    assert pauses == []


def test_silence_ends_when_the_time_is_over():
    with (
        RawServer(lambda *_: server.closing.wait(30)) as server,
        pytest.raises(NoAnswerError, match="no answer in time"),
    ):
        transport(server.url(""), timeout_s=0.3).call("GET", "/readyz")


def test_an_answer_that_never_ends_is_given_up():
    def drip(_head, send):
        send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        server.trickle(send, iter(lambda: b" ", b""))

    with RawServer(drip) as server, pytest.raises(NoAnswerError, match="answer in time"):
        transport(server.url(""), timeout_s=0.5).call("GET", "/readyz")


def test_the_gateway_is_told_how_long_the_answer_is_waited_for(gateway, pauses):
    gateway.script.append(busy(retry_after="1"))
    transport(gateway.url, timeout_s=12).call("GET", "/readyz")
    first, second = (float(seen.headers["X-Request-Timeout"]) for seen in gateway.seen)
    assert 0 < second <= first <= 12
    assert pauses == [1]


def test_a_key_goes_with_every_request_and_no_key_none(gateway, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login other password other")
    monkeypatch.setenv("NETRC", str(netrc))
    transport(gateway.url, api_key="k-123").call("GET", "/readyz")
    monkeypatch.delenv("NETRC")
    monkeypatch.setenv("HOME", str(tmp_path))
    transport(gateway.url).call("GET", "/readyz")
    assert [seen.headers.get("Authorization") for seen in gateway.seen] == ["Bearer k-123", None]


def test_a_gateway_below_a_path(gateway):
    gateway.script.append(Reply({}))
    transport(f"{gateway.url}/images/").call("GET", "/readyz")
    assert gateway.seen[0].path == "/images/readyz"


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply(b"<html>", 200, {"Content-Type": "text/html"}), "with text/html, not JSON; is it an Image Gateway"),
        (Reply(b"", 204), "not JSON"),
        (Reply(b"", 301, {"Location": "https://b.example/"}), "sends to https://b.example/"),
        (Reply({}, 307), "sends to elsewhere"),
    ],
)
def test_what_is_no_gateway_is_told(gateway, reply, told):
    gateway.script.append(reply)
    with pytest.raises(UnexpectedAnswerError, match=told):
        transport(gateway.url).call("GET", "/readyz")
    assert len(gateway.seen) == 1


def test_an_error_page_of_something_before_the_gateway(gateway):
    gateway.script.append(Reply(b"<h1>no entry</h1>" * 100, 403, {"Content-Type": "text/html"}))
    with pytest.raises(ProblemError) as refused:
        transport(gateway.url).call("GET", "/readyz")
    problem = refused.value.problem
    assert (problem.type, problem.title, problem.status) == ("about:blank", "Forbidden", 403)
    assert problem.detail.startswith("<h1>no entry</h1>")
    assert len(problem.detail) <= 200


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8080", "ftp://localhost", "http://", "http://:80", "http://a:0", "http://a:99999", "http://a?b=c"],
)
def test_an_address_that_cannot_be_one_is_refused_at_once(url):
    with pytest.raises(ValueError, match="is no address of a gateway"):
        transport(url)


@pytest.mark.parametrize("key", ["", " secret", "secret ", "secret\n", "sécret", "secret\0"])
def test_a_key_that_cannot_be_sent_is_refused_at_once(key):
    with pytest.raises(ValueError, match="an API key is printable ASCII") as refused:
        transport("http://localhost", api_key=key)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("limits", [(0, 5, 3, 1), (1, 0, 3, 1), (float("nan"), 5, 3, 1), (1, 5, -1, 1), (1, 5, 3, 0)])
def test_limits_have_ranges(limits):
    with pytest.raises(ValueError, match="must be a"):
        Limits(*limits)
