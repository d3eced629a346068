"""Requests that gunicorn cannot parse are answered with problems, and no part of them gets into the log."""

import json
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.light_gateway import LightGateway, light_gateway
from tests.support.waiting import until

SECRET = b"secret-key"
QUERY = b"GET /api/v1/models?key=" + SECRET
CHUNKED = b"POST /api/v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
TIMEOUT_S = 20


def get(headers: bytes, *, line: bytes = QUERY + b" HTTP/1.1") -> bytes:
    return line + b"\r\nHost: x\r\n" + headers + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("content", "status", "slug"),
    [
        pytest.param(get(b"A: b", line=QUERY + b"&x=\xff HTTP/1.1"), 400, "bad-request", id="byte in the query"),
        pytest.param(get(b"A: b", line=b"GET /\xff?" + SECRET + b" HTTP/1.1"), 400, "bad-request", id="in the path"),
        pytest.param(get(b"A: \x01" + SECRET), 400, "bad-request", id="control character"),
        pytest.param(get(SECRET + b" x: y"), 400, "bad-request", id="name of a header"),
        pytest.param(get(b"A: b\r\n " + SECRET), 400, "bad-request", id="folded header"),
        pytest.param(get(b"A: b", line=b"G{T /?" + SECRET + b" HTTP/1.1"), 400, "bad-request", id="method"),
        pytest.param(get(b"A: b", line=QUERY + b" " + SECRET), 400, "bad-request", id="no version"),
        pytest.param(get(b"A: b", line=QUERY), 400, "bad-request", id="HTTP/0.9"),
        pytest.param(QUERY + b" HTTP/1.1\nHost: x\n\n", 400, "bad-request", id="line feeds alone"),
        pytest.param(get(b"Content-Length: 1\r\nContent-Length: 2"), 400, "bad-request", id="two lengths"),
        pytest.param(CHUNKED + SECRET + b"\r\n", 400, "bad-request", id="size of a chunk"),
        pytest.param(CHUNKED + b"-1\r\n" + SECRET, 400, "bad-request", id="negative size"),
        pytest.param(CHUNKED + b"1\r\nabc" + SECRET, 400, "bad-request", id="end of a chunk"),
        pytest.param(CHUNKED + b"1\r\na\r\n0\r\n" + SECRET + b" x: y\r\n\r\n", 400, "bad-request", id="trailer"),
        pytest.param(get(b"A: b", line=QUERY + b"a" * 8170 + b" HTTP/1.1"), 414, "uri-too-long", id="long URL"),
        pytest.param(QUERY + b"a" * 20_000, 414, "uri-too-long", id="endless URL"),
        pytest.param(get(b"Expect: " + SECRET), 417, "", id="expectation"),
        pytest.param(get(b"A: b" + b"\r\nB: c" * 120), 431, "headers-too-large", id="many headers"),
        pytest.param(get(b"A: " + b"b" * 9000), 431, "headers-too-large", id="long header"),
        pytest.param(get(6 * (b"A: " + 8000 * b"b" + b"\r\n"))[:-4], 431, "headers-too-large", id="endless headers"),
        pytest.param(get(b"Transfer-Encoding: " + SECRET), 501, "", id="transfer coding"),
        pytest.param(get(b"A: b", line=QUERY + b" HTTP/3.0"), 505, "", id="version"),
    ],
)  # fmt: skip
def test_a_request_that_cannot_be_parsed_is_a_problem(
    gateway: LightGateway, log: Path, content: bytes, status: int, slug: str
):
    assert gateway.get("/livez", **{"X-Request-ID": "an-earlier-request"})[0] == 200

    response, body = gateway.send(content)

    problem = json.loads(body)
    assert (response.status, response.headers["Content-Type"]) == (status, "application/problem+json")
    assert (problem["status"], problem["type"]) == (status, f"/problems/{slug}" if slug else "about:blank")
    assert problem["request_id"] == response.headers["X-Request-ID"]
    until(lambda: problem["request_id"] in log.read_text(encoding="utf-8"), TIMEOUT_S)
    text = log.read_text(encoding="utf-8")
    assert "secret" not in text
    assert "an-earlier-request" not in text


@pytest.mark.parametrize(
    "line",
    ["GET /livez?x=ö HTTP/1.1", "GET /api/v1/models/模型 HTTP/1.1", "GET /livez?" + 1000 * "ö" + " HTTP/1.1"],
)
def test_a_url_in_utf8_is_answered_as_if_it_were_escaped(gateway: LightGateway, line: str):
    response, body = gateway.send(get(b"A: b", line=line.encode()))

    assert response.status == (404 if "模型" in line else 200)
    if "模型" in line:
        assert json.loads(body)["type"] == "/problems/model-not-found"
        assert "'模型'" in json.loads(body)["detail"]


def test_the_clients_request_id_is_kept(gateway: LightGateway):
    response, body = gateway.send(get(b"X-Request-ID: mine", line=b"GET /\xff HTTP/1.1"))

    assert (response.headers["X-Request-ID"], json.loads(body)["request_id"]) == ("mine", "mine")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"GET /livez?" + b"a" * 8170 + b" HTTP/1.1\r\nHost: x\r\n\r\n", id="request line of 8190 bytes"),
        pytest.param(b"GET /livez HTTP/1.1\r\nHost: x\r\nA:" + b"b" * 8188 + b"\r\n\r\n", id="header of 8192 bytes"),
    ],
)
def test_what_fits_into_8_kib_is_accepted(gateway: LightGateway, content: bytes):
    assert gateway.send(content)[0].status == 200


def test_a_path_with_empty_segments_is_not_redirected(gateway: LightGateway):
    response, _ = gateway.send(b"GET //api//v1//models HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n")

    assert response.status == 404


@pytest.mark.parametrize(
    ("path", "media_type", "status"),
    [("predict", "image/png", 413), ("predict", "text/html", 413), ("nothing", "image/png", 404)],
)
def test_a_refusal_reaches_a_client_that_first_sends_its_whole_body(
    gateway: LightGateway, path: str, media_type: str, status: int
):
    head = f"POST /api/v1/{path} HTTP/1.1\r\nHost: x\r\nContent-Type: {media_type}\r\nContent-Length: 20000000\r\n\r\n"

    response, _ = gateway.send(head.encode() + bytes(20_000_000))

    assert response.status == status


def test_slow_bodies_leave_threads_for_requests_without_one(tmp_path: Path):
    head = b"POST /api/v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\n"
    settings = {"GATEWAY_THREADS": "4", "GATEWAY_MAX_WAITING": "8"}
    with (tmp_path / "log").open("ab") as log, light_gateway(tmp_path, log, settings) as gateway, ExitStack() as stack:
        for _ in range(40):
            connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=TIMEOUT_S)
            stack.enter_context(connection).sendall(head)

        assert gateway.answers()
        response, body = gateway.send(head)
        assert (response.status, json.loads(body)["type"]) == (503, "/problems/overloaded")
        assert response.headers["Retry-After"]
