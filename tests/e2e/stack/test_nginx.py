import gzip
import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.waiting import until

PATIENCE_S = 20
PROBLEM = "application/problem+json"


def assert_problem(answer, status, slug):
    """Check the one shape that nginx's own refusals have."""
    assert (answer.status, answer.header("Content-Type")) == (status, PROBLEM)
    problem = answer.json
    assert problem["type"] == (f"/problems/{slug}" if slug else "about:blank")
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == answer.header("X-Request-ID")
    assert answer.header("X-Content-Type-Options") == "nosniff"


def test_requests_share_one_connection_to_the_gateway(front, upstream):
    with front.connected() as ask:
        for _ in range(10):
            assert ask("/echo").status == 200

    assert (len(upstream.requests), upstream.connections) == (10, 1)


def test_path_and_query_arrive_as_they_were_sent(front):
    answer = front.ask("/api/v1/models/a%2Fb/predict?top_k=3&x=%20")
    assert answer.json["line"] == "GET /api/v1/models/a%2Fb/predict?top_k=3&x=%20 HTTP/1.1"


def test_a_body_is_read_in_whole_before_the_gateway_is_asked(front, upstream):
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", front.port), timeout=PATIENCE_S) as slow:
        slow.sendall(head + b"half")
        assert front.ask("/echo").status == 200
        assert [request["line"] for request in upstream.requests] == ["GET /echo HTTP/1.1"]
        slow.sendall(b"half")
        assert slow.recv(100).startswith(b"HTTP/1.1 200")

    assert upstream.requests[-1]["bytes"] == 8


def test_a_chunked_body_arrives_in_whole(front, upstream):
    def parts():
        yield from [b"abc", b"defg"]

    assert front.ask("/echo", method="POST", body=parts()).status == 200
    assert upstream.requests[-1]["bytes"] == 7


def test_a_body_beyond_memory_arrives_in_whole(front, upstream):
    assert front.ask("/echo", method="POST", body=bytes(3_000_000)).status == 200
    assert upstream.requests[-1]["bytes"] == 3_000_000


# --- request ids


def test_a_request_id_is_passed_on_and_returned(front, upstream):
    answer = front.ask("/echo", headers={"X-Request-ID": "order-17_a.b"})
    assert answer.header("X-Request-ID") == "order-17_a.b"
    assert upstream.requests[-1]["headers"]["X-Request-ID"] == "order-17_a.b"


@pytest.mark.parametrize("given", [None, "", "two words", 'quo"te', "x" * 129, "ümlaut", "new\\nline"])
def test_without_a_well_formed_request_id_nginx_makes_one(front, upstream, given):
    answer = front.ask("/echo", headers={} if given is None else {"X-Request-ID": given.encode()})
    made = answer.header("X-Request-ID")
    assert len(made) == 32
    assert int(made, 16) >= 0
    assert upstream.requests[-1]["headers"]["X-Request-ID"] == made


def test_a_request_id_is_in_nginxs_own_problems(front):
    assert front.ask("/metrics", headers={"X-Request-ID": "mine"}).json["request_id"] == "mine"


# --- what the gateway is told about the client


def test_what_a_client_says_about_itself_is_not_believed(front, upstream):
    front.ask(
        "/echo",
        headers={
            "X-Forwarded-For": "8.8.8.8",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "evil.example",
            "Forwarded": "for=8.8.8.8",
        },
    )
    got = upstream.requests[-1]["headers"]
    assert (got["X-Forwarded-For"], got["X-Forwarded-Proto"]) == ("127.0.0.1", "http")
    assert not {"X-Forwarded-Host", "Forwarded"} & set(got)


def test_what_a_trusted_proxy_says_is_believed(start_nginx, upstream):
    with start_nginx(NGINX_TRUSTED_PROXY="127.0.0.0/8") as front:
        front.ask("/echo", headers={"X-Forwarded-For": "6.6.6.6, 8.8.8.8", "X-Forwarded-Proto": "https"})
    got = upstream.requests[-1]["headers"]
    assert (got["X-Forwarded-For"], got["X-Forwarded-Proto"]) == ("8.8.8.8", "https")


def test_even_a_trusted_proxys_scheme_must_be_one(start_nginx, upstream):
    with start_nginx(NGINX_TRUSTED_PROXY="127.0.0.1") as front:
        front.ask("/echo", headers={"X-Forwarded-Proto": "gopher"})
    assert upstream.requests[-1]["headers"]["X-Forwarded-Proto"] == "http"


def test_the_host_arrives_with_its_port(front, upstream):
    front.ask("/echo")
    assert upstream.requests[-1]["headers"]["Host"] == f"127.0.0.1:{front.port}"


# --- nginx's own refusals


def test_a_body_over_the_limit_is_refused_before_the_gateway(start_nginx, upstream):
    with start_nginx(GATEWAY_MAX_BODY_BYTES="1000") as front:
        assert front.ask("/echo", method="POST", body=bytes(1000)).status == 200
        answer = front.ask("/echo", method="POST", body=bytes(1001))

    assert_problem(answer, 413, "body-too-large")
    assert answer.json["max_bytes"] == 1000
    assert "1000" in answer.json["detail"]
    assert len(upstream.requests) == 1


def test_a_chunked_body_over_the_limit_is_refused_too(start_nginx, upstream):
    def parts():
        yield from [bytes(800), bytes(800)]

    with start_nginx(GATEWAY_MAX_BODY_BYTES="1000") as front:
        assert_problem(front.ask("/echo", method="POST", body=parts()), 413, "body-too-large")

    assert upstream.requests == []


@pytest.mark.parametrize(
    "path", ["/metrics", "//metrics", "/./metrics", "/api/../metrics", "/%6detrics", "/metrics/", "/metrics?name[]=x"]
)
def test_metrics_are_not_reachable_from_outside(front, upstream, path):
    assert_problem(front.ask(path), 404, "not-found")
    assert upstream.requests == []


def test_where_errors_are_written_is_no_page(front, upstream):
    assert_problem(front.ask("/.problem"), 404, "not-found")
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("sent", "status", "slug"),
    [
        (b"no request\r\n\r\n", 400, "bad-request"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400, "bad-request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad-request"),
        (b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad-request"),
        (b"GET /../x HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad-request"),
        (b"GET / HTTP/1.1\r\nHost: x y\r\n\r\n", 400, "bad-request"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, "bad-request"),
        (b"GET /?" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "uri-too-long"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 9000 + b"\r\n\r\n", 431, "headers-too-large"),
        (b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", 405, None),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: unheard\r\n\r\n", 501, None),
        (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505, None),
    ],
)
def test_what_nginx_cannot_pass_on_is_a_problem(front, upstream, sent, status, slug):
    assert_problem(front.send_bytes(sent), status, slug)
    assert upstream.requests == []


def test_a_method_that_nginx_refuses_is_told_those_that_are_taken(front):
    answer = front.send_bytes(b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.header("Allow") == "GET, HEAD, POST, OPTIONS"
    assert front.send_bytes(b"GET / HTTP/1.1\r\n\r\n").all("Allow") == []


def test_without_a_gateway_it_is_503_with_retry_after(front, upstream):
    upstream.server_close()
    for method in ("GET", "POST"):
        answer = front.ask("/api/v1/predict.html", method=method)
        assert_problem(answer, 503, "gateway-unavailable")
        assert int(answer.header("Retry-After")) > 0


def test_a_gateway_that_is_slow_is_504(start_nginx):
    with start_nginx(NGINX_READ_TIMEOUT_S="1") as front:
        answer = front.ask("/slow")

    assert_problem(answer, 504, "gateway-timeout")
    assert answer.all("Retry-After") == []


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_broke_a_kept_connection_is_sent_once_more_on_a_new_one(front, upstream, method):
    with front.connected() as ask:
        ask("/echo")  # leaves a connection open that nginx takes for the next request
        assert_problem(ask("/break", method=method), 503, "gateway-unavailable")
    assert [request["line"].split()[0] for request in upstream.requests] == ["GET", method, method]


def test_what_broke_a_new_connection_is_not_sent_again(front, upstream):
    assert_problem(front.ask("/break", method="POST", body=b"x"), 503, "gateway-unavailable")
    assert len(upstream.requests) == 1


# --- more than the gateway takes on


def test_beyond_its_requests_the_gateway_is_not_asked_but_for_its_health(start_nginx, upstream):
    with start_nginx(NGINX_MAX_REQUESTS="2") as front, ThreadPoolExecutor(2) as pool:
        under_way = [pool.submit(front.ask, "/slow", method="POST", body=b"x") for _ in range(2)]
        until(lambda: len(upstream.requests) == 2, within_s=20)
        for method in ("GET", "POST"):
            answer = front.ask("/api/v1/predict", method=method)
            assert_problem(answer, 503, "overloaded")
            assert int(answer.header("Retry-After")) > 0
        assert [front.ask(path).status for path in ("/livez", "/readyz")] == [200, 200]
        upstream.release_slow.set()
        assert [asked.result().status for asked in under_way] == [200, 200]
        assert front.ask("/api/v1/predict").status == 200


# --- what passes untouched


def test_the_gateways_own_problems_pass(front):
    answer = front.ask("/problem")
    assert (answer.status, answer.header("Content-Type")) == (503, PROBLEM)
    assert answer.json["type"] == "/problems/model-unavailable"
    assert answer.all("Retry-After") == ["9"]


def test_a_502_of_the_gateway_stays_its_own(front):
    answer = front.ask("/failed")
    assert (answer.status, answer.json["type"]) == (502, "/problems/model-failed")


def test_security_headers_come_once(front):
    answer = front.ask("/secure")
    for name in ("X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Cross-Origin-Opener-Policy"):
        assert len(answer.all(name)) == 1
    assert answer.header("Content-Security-Policy") == "default-src 'self'"
    assert answer.header("X-Request-ID") != "of-the-upstream"


def test_the_versions_of_nginx_and_gateway_are_not_told(front):
    assert front.ask("/echo").header("Server") == "nginx"


def test_json_is_compressed_for_those_who_take_it(front):
    plain = front.ask("/long")
    packed = front.ask("/long", headers={"Accept-Encoding": "gzip"})
    assert plain.all("Content-Encoding") == []
    assert packed.header("Content-Encoding") == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert packed.header("Vary") == "Accept-Encoding"


# --- running


def test_each_request_is_one_json_line_in_the_log(start_nginx):
    with start_nginx() as front:
        front.ask('/echo?a="b"', headers={"X-Request-ID": "first", "User-Agent": 'quo"te\\'})
        front.ask("/metrics?", method="POST", headers={"X-Request-ID": "second"})

    lines = [json.loads(line) for line in front.log().splitlines() if line.startswith("{")]
    # Each of nginx's workers writes in its own time.
    first, second = sorted(lines, key=lambda line: line["request_id"])
    assert (first["request_id"], first["status"], first["upstream_status"]) == ("first", 200, "200")
    assert first["request"] == "GET /echo HTTP/1.1"
    assert first["user_agent"] == 'quo"te\\'
    assert first["duration_s"] >= 0
    assert float(first["upstream_duration_s"]) >= 0
    assert (second["request"], second["status"]) == ("POST /metrics HTTP/1.1", 404)


def test_health_checks_are_logged_only_when_they_fail(start_nginx):
    with start_nginx() as front:
        assert [front.ask(path).status for path in ("/livez", "/readyz")] == [200, 200]
    with start_nginx(NGINX_UPSTREAM="127.0.0.1:1") as front:
        assert front.ask("/readyz").status == 503

    (line,) = (json.loads(line) for line in front.log().splitlines() if line.startswith("{"))
    assert (line["request"], line["status"]) == ("GET /readyz HTTP/1.1", 503)


def test_a_request_in_progress_ends_before_nginx_does(front, upstream):
    with socket.create_connection(("127.0.0.1", front.port), timeout=PATIENCE_S) as client:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        while not upstream.requests:
            assert front.process.poll() is None
        front.process.send_signal(signal.SIGQUIT)
        upstream.release_slow.set()
        assert client.recv(100).startswith(b"HTTP/1.1 200")

    assert front.process.wait(PATIENCE_S) == 0


def test_all_that_nginx_writes_is_in_its_folder(front):
    assert front.ask("/echo", method="POST", body=bytes(1_000_000)).status == 200
    written = {path.name for path in front.folder.iterdir()}
    assert written == {"nginx.conf", "nginx.log", "nginx.pid", "client_body", "proxy", "fastcgi", "uwsgi", "scgi"}
