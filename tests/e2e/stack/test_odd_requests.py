"""Requests that nginx passes on and gunicorn rejects: both answer with problems, and no log shows a query."""

import json

import pytest

from tests.e2e.stack.conftest import PATIENCE_S, running_nginx
from tests.support.light_gateway import light_gateway
from tests.support.waiting import until

SECRET = b"secret-key"
QUERY = b"GET /api/v1/models?key=" + SECRET


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def front(logs):
    with (
        (logs / "gateway.log").open("ab") as stderr,
        light_gateway(logs, stderr, {"GATEWAY_TRUSTED_PROXIES": "1"}) as gateway,
        running_nginx(logs, {"NGINX_UPSTREAM": f"127.0.0.1:{gateway.port}"}) as front,
    ):
        yield front


def log_line(log, request_id):
    """Return a request's line in a log; a program may write it after its response."""

    def read():
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        return next((line for line in lines if line.get("request_id") == request_id), None)

    return until(read, PATIENCE_S, f"a line of {request_id} in {log.name}")


def with_host(line, headers=b"A: b"):
    return line + b"\r\nHost: x\r\n" + headers + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("content", "status", "type_uri"),
    [
        pytest.param(with_host(QUERY + b"&x=\xff HTTP/1.1"), 400, "/problems/bad-request", id="byte in the query"),
        pytest.param(with_host(b"GET /\xff HTTP/1.1"), 400, "/problems/bad-request", id="byte in the path"),
        pytest.param(
            with_host(QUERY + b" HTTP/1.1", b"A: \x01" + SECRET), 400, "/problems/bad-request", id="control character"
        ),
        pytest.param(
            with_host(QUERY + b" HTTP/1.1", b"A: \x7f" + SECRET), 400, "/problems/bad-request", id="delete character"
        ),
        pytest.param(
            with_host(QUERY + b" HTTP/1.1", b"A: b" + b"\r\nB: c" * 120),
            431,
            "/problems/headers-too-large",
            id="many headers",
        ),
        pytest.param(with_host(b"OPTIONS * HTTP/1.1"), 400, "/problems/bad-request", id="asterisk"),
        pytest.param(with_host(b"GET //api//v1//models HTTP/1.1"), 404, "/problems/not-found", id="slashes"),
    ],
)
def test_every_refusal_is_a_problem(front, logs, content, status, type_uri):
    response = front.send_bytes(content)

    assert (response.status, response.header("Content-Type")) == (status, "application/problem+json")
    assert (response.json["status"], response.json["type"]) == (status, type_uri)
    assert response.json["request_id"] == response.header("X-Request-ID")
    request_id = response.json["request_id"]
    if log_line(logs / "nginx.log", request_id)["upstream_status"]:
        log_line(logs / "gateway.log", request_id)
    for name in ("gateway.log", "nginx.log"):
        assert "secret" not in (logs / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("lengths", [b"Content-Length: abc", b"Content-Length: 3\r\nContent-Length: 4"])
def test_a_length_that_is_no_number_or_doubled_is_named(front, lengths):
    response = front.send_bytes(with_host(b"POST /api/v1/predict HTTP/1.1", lengths) + b"abc")

    assert response.status == 400
    assert "Content-Length once, the latter as a number" in response.json["detail"]


@pytest.mark.parametrize("path", [b"/livez/", b"/readyz/"])
def test_health_checks_are_answered_only_where_nginx_limits_them(front, path):
    response = front.send_bytes(with_host(b"GET " + path + b" HTTP/1.1"))

    assert response.status == 404
    assert response.json["detail"].endswith(f"Did you mean GET {path.decode().rstrip('/')}?")


@pytest.mark.parametrize("size", [4095, 8000, 8170])
def test_a_url_within_8_kib_reaches_the_gateway(front, size):
    assert front.send_bytes(with_host(b"GET /livez?" + size * b"a" + b" HTTP/1.1")).status == 200


def test_a_url_in_utf8_reaches_the_gateway(front):
    query = front.send_bytes(with_host("GET /livez?x=ö HTTP/1.1".encode()))
    path = front.send_bytes(with_host("GET /api/v1/models/模型 HTTP/1.1".encode()))

    assert query.status == 200
    assert (path.status, path.json["type"]) == (404, "/problems/model-not-found")
    assert "模型" in path.json["detail"]


def test_the_type_of_a_problem_opens_behind_nginx(front):
    type_uri = front.send_bytes(with_host(b"GET /nothing HTTP/1.1")).json["type"]

    page = front.send_bytes(with_host(f"GET {type_uri} HTTP/1.1".encode()))

    assert (page.status, page.header("Content-Type")) == (200, "text/html; charset=utf-8")
