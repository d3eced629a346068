"""nginx with the project's configuration, in front of an upstream that takes the gateway's place."""

import gzip
import http.client
import json
import re
import resource
import select
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest

from gateway.sizes import exceeds
from tests.support.waiting import until
from tools import compose, nginx

PATIENCE_S = 20
PROBLEM = "application/problem+json"


def assert_problem(response, status, slug):
    """Check that a response is a problem of nginx itself."""
    assert (response.status, response.header("Content-Type")) == (status, PROBLEM)
    problem = response.json
    assert problem["type"] == (f"/problems/{slug}" if slug else "about:blank")
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == response.header("X-Request-ID")
    assert response.header("X-Content-Type-Options") == "nosniff"


def test_requests_share_one_connection_to_the_gateway(front, upstream):
    with front.connected() as request:
        for _ in range(10):
            assert request("/echo").status == 200

    assert (len(upstream.requests), upstream.connections) == (10, 1)


def test_path_and_query_arrive_as_they_were_sent(front):
    response = front.request("/api/v1/models/a%2Fb/predict?top_k=3&x=%20")

    assert response.json["line"] == "GET /api/v1/models/a%2Fb/predict?top_k=3&x=%20 HTTP/1.1"


def test_a_body_is_read_completely_before_it_is_passed_on(front, upstream):
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", front.port), timeout=PATIENCE_S) as slow:
        slow.sendall(head + b"half")
        assert front.request("/echo").status == 200
        assert [request["line"] for request in upstream.requests] == ["GET /echo HTTP/1.1"]
        slow.sendall(b"half")
        assert slow.recv(100).startswith(b"HTTP/1.1 200")

    assert upstream.requests[-1]["bytes"] == 8


def test_a_chunked_body_arrives_completely(front, upstream):
    def parts():
        yield from [b"abc", b"defg"]

    assert front.request("/echo", method="POST", body=parts()).status == 200
    assert upstream.requests[-1]["bytes"] == 7


def test_a_body_larger_than_nginxs_buffer_arrives_completely(front, upstream):
    assert front.request("/echo", method="POST", body=bytes(3_000_000)).status == 200
    assert upstream.requests[-1]["bytes"] == 3_000_000


# Request ids


def test_a_request_id_is_passed_on_and_returned(front, upstream):
    response = front.request("/echo", headers={"X-Request-ID": "order-17_a.b"})

    assert response.header("X-Request-ID") == "order-17_a.b"
    assert upstream.requests[-1]["headers"]["X-Request-ID"] == "order-17_a.b"


@pytest.mark.parametrize("request_id", [None, "", "two words", 'quo"te', "x" * 129, "ümlaut", "new\\nline"])
def test_a_missing_or_malformed_request_id_is_replaced(front, upstream, request_id):
    response = front.request("/echo", headers={} if request_id is None else {"X-Request-ID": request_id.encode()})

    new_id = response.header("X-Request-ID")
    assert len(new_id) == 32
    assert int(new_id, 16) >= 0
    assert upstream.requests[-1]["headers"]["X-Request-ID"] == new_id


def test_a_request_id_is_in_nginxs_own_problems(front):
    assert front.request("/metrics", headers={"X-Request-ID": "mine"}).json["request_id"] == "mine"


# Headers about the client


def test_forwarding_headers_of_a_client_are_not_trusted(front, upstream):
    front.request(
        "/echo",
        headers={
            "X-Forwarded-For": "8.8.8.8",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "evil.example",
            "Forwarded": "for=8.8.8.8",
        },
    )

    received = upstream.requests[-1]["headers"]
    assert received["X-Forwarded-For"] == "127.0.0.1"
    assert not {"X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded"} & set(received)


def test_the_address_from_a_trusted_proxy_is_passed_on(start_nginx, upstream):
    with start_nginx(NGINX_TRUSTED_PROXY="127.0.0.0/8") as front:
        front.request("/echo", headers={"X-Forwarded-For": "6.6.6.6, 8.8.8.8"})

    assert upstream.requests[-1]["headers"]["X-Forwarded-For"] == "8.8.8.8"


def test_the_host_arrives_with_its_port(front, upstream):
    front.request("/echo")

    assert upstream.requests[-1]["headers"]["Host"] == f"127.0.0.1:{front.port}"


# Problems of nginx itself


def test_a_body_over_the_limit_does_not_reach_the_gateway(start_nginx, upstream):
    with start_nginx(GATEWAY_MAX_BODY_BYTES="1000") as front:
        assert front.request("/echo", method="POST", body=bytes(1000)).status == 200
        response = front.request("/echo", method="POST", body=bytes(1001))

    assert_problem(response, 413, "body-too-large")
    assert response.json["max_bytes"] == 1000
    assert response.json["detail"] == f"{exceeds('The body', None, 1000)} Send a smaller image."
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("limit", [1024, 99_999, 2_500_000, 10_485_760, 1_073_741_824])
def test_a_size_reads_as_in_the_gateway(start_nginx, limit):
    with start_nginx(GATEWAY_MAX_BODY_BYTES=str(limit)) as front:
        for size in (2 * limit, 3 * limit + 50_000, 12 * limit, 150 * limit):
            head = f"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
            detail = front.send_bytes(head.encode()).json["detail"]
            assert detail == f"{exceeds('The body', size, limit)} Send a smaller image."


def test_a_job_has_a_limit_of_its_own(start_nginx):
    with start_nginx(GATEWAY_MAX_BODY_BYTES="1000", GATEWAY_JOBS_MAX_BYTES="5000") as front:
        assert front.request("/api/v1/jobs?model=x", method="POST", body=bytes(5000)).status != 413
        response = front.request("/gw/api/v1/jobs", method="POST", body=bytes(5001))
        other = front.request("/api/v1/jobs/1", method="POST", body=bytes(1001))

    assert_problem(response, 413, "body-too-large")
    assert response.json["max_bytes"] == 5000
    assert response.json["detail"] == f"{exceeds('The job', None, 5000)} Send several jobs."
    assert other.json["max_bytes"] == 1000


def test_a_health_check_with_a_body_is_told_to_omit_it(front):
    response = front.request("/readyz?verbose", method="POST", body=b"{}")

    assert_problem(response, 413, "body-too-large")
    assert response.json["detail"] == "A health check takes no body. Send GET without one."


def test_a_chunked_body_over_the_limit_does_not_reach_the_gateway(start_nginx, upstream):
    def parts():
        yield from [bytes(800), bytes(800)]

    with start_nginx(GATEWAY_MAX_BODY_BYTES="1000") as front:
        assert_problem(front.request("/echo", method="POST", body=parts()), 413, "body-too-large")

    assert upstream.requests == []


@pytest.mark.parametrize(
    "path", ["/metrics", "//metrics", "/./metrics", "/api/../metrics", "/%6detrics", "/metrics/", "/metrics?name[]=x"]
)
def test_metrics_are_not_reachable_from_outside(front, upstream, path):
    assert_problem(front.request(path), 404, "not-found")
    assert upstream.requests == []


def test_the_internal_location_of_problems_is_not_reachable(front, upstream):
    assert_problem(front.request("/.problem"), 404, "not-found")
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("content", "status", "slug"),
    [
        pytest.param(b"no request\r\n\r\n", 400, "bad-request", id="text"),
        pytest.param(b"\x16\x03\x01\x02\x00\r\n\r\n", 400, "bad-request", id="TLS"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, "bad-request", id="no host"),
        pytest.param(b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad-request", id="invalid escape"),
        pytest.param(b"GET /../x HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad-request", id="path above the root"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x y\r\n\r\n", 400, "bad-request", id="invalid host"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, "bad-request", id="negative length"
        ),
        pytest.param(b"GET /?" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "uri-too-long", id="long query"),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 9000 + b"\r\n\r\n",
            431,
            "headers-too-large",
            id="long header",
        ),
        pytest.param(b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method-not-allowed", id="TRACE"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: unheard\r\n\r\n", 501, None, id="unknown encoding"
        ),
        pytest.param(b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505, None, id="HTTP/3.0"),
    ],
)
def test_a_request_that_nginx_cannot_pass_on_is_a_problem(front, upstream, content, status, slug):
    assert_problem(front.send_bytes(content), status, slug)
    assert upstream.requests == []


def test_a_refused_method_gets_the_list_of_allowed_ones(front):
    response = front.send_bytes(b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n")

    assert response.header("Allow") == "GET, HEAD, POST, DELETE, OPTIONS"
    assert front.send_bytes(b"GET / HTTP/1.1\r\n\r\n").all("Allow") == []


def test_an_unreachable_gateway_is_503_with_retry_after(front, upstream):
    upstream.server_close()

    for method in ("GET", "POST"):
        response = front.request("/api/v1/predict.html", method=method)
        assert_problem(response, 503, "gateway-unavailable")
        assert int(response.header("Retry-After")) > 0


@pytest.mark.parametrize("path", ["/", "/?model=digits&url=http://a.example/b.png"])
def test_a_browser_that_opens_the_page_of_an_unreachable_gateway_tries_again_by_itself(front, upstream, path):
    upstream.server_close()
    page = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}

    assert front.request(path, headers=page).header("Refresh") == "2"
    assert front.request(path, headers={"Accept": "*/*"}).all("Refresh") == []
    assert front.request("/api/v1/models", headers=page).all("Refresh") == []


def test_a_slow_gateway_is_504(start_nginx):
    with start_nginx(NGINX_READ_TIMEOUT_S="1") as front:
        response = front.request("/slow")

    assert_problem(response, 504, "gateway-timeout")
    assert response.all("Retry-After") == []


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_that_fails_on_a_reused_connection_is_sent_again_on_a_new_one(front, upstream, method):
    with front.connected() as request:
        request("/echo")  # leaves a connection open, which nginx uses for the next request
        assert_problem(request("/break", method=method), 503, "gateway-unavailable")

    assert [request["line"].split()[0] for request in upstream.requests] == ["GET", method, method]


@pytest.mark.parametrize("prefer", ["respond-async", "wait=3, Respond-Async"])
def test_a_request_that_may_create_a_job_is_not_sent_again(front, upstream, prefer):
    with front.connected() as request:
        request("/echo")
        assert_problem(request("/break", method="POST", headers={"Prefer": prefer}), 503, "gateway-unavailable")

    assert [request["line"].split()[0] for request in upstream.requests] == ["GET", "POST"]


def test_a_request_that_fails_on_a_new_connection_is_not_sent_again(front, upstream):
    assert_problem(front.request("/break", method="POST", body=b"x"), 503, "gateway-unavailable")
    assert len(upstream.requests) == 1


# Limits for each client

HALF_A_HEAD = b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: "
LARGE_BODY = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n" + bytes(300_000)
MEDIUM_BODY = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1999999\r\n\r\n" + bytes(300_000)
SLOW_BODY = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx"
CHUNKED_BODY = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"


@pytest.fixture
def hold(front):
    """Return a function that opens connections from an address of the loopback, each with the same bytes."""
    with ExitStack() as stack:

        def hold(number, content, *, source="127.0.0.2"):
            connections = []
            for _ in range(number):
                connection = socket.create_connection(
                    ("127.0.0.1", front.port), timeout=PATIENCE_S, source_address=(source, 0)
                )
                stack.enter_context(connection).sendall(content)
                connections.append(connection)
            return connections

        yield hold


def count_refused(connections):
    """Return how many of these connections have got a response."""
    poll = select.poll()
    for connection in connections:
        poll.register(connection, select.POLLIN)
    return len(poll.poll(0))


@pytest.mark.parametrize("content", [b"", HALF_A_HEAD], ids=["nothing", "half a head"])
def test_thousands_of_connections_without_a_request_leave_others_alone(front, hold, content):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 3000:
        pytest.skip(f"needs 3000 open files, and the limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        hold(2600, content)

        assert [front.request(path).status for path in ("/livez", "/echo") * 5] == [200] * 10
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("content", "accepted"),
    [
        pytest.param(LARGE_BODY, 24, id="large"),
        pytest.param(MEDIUM_BODY, 96, id="medium"),
        pytest.param(CHUNKED_BODY, 24, id="of unknown length"),
        pytest.param(SLOW_BODY, 512, id="small"),
    ],
)
def test_a_client_sends_a_limited_number_of_bodies_at_a_time(front, hold, content, accepted):
    connections = hold(accepted + 10, content)

    until(lambda: count_refused(connections) == 10, PATIENCE_S, "10 refusals")
    refused = next(connection for connection in connections if count_refused([connection]))
    response = http.client.HTTPResponse(refused)
    response.begin()
    assert_problem(front.read(response), 503, "overloaded")
    assert response.headers["Retry-After"]
    # Health checks of the same client, and every request of others.
    assert front.request("/livez", source="127.0.0.2").status == 200
    assert front.request("/echo", method="POST", body=bytes(900_000)).status == 200


def test_behind_a_trusted_proxy_the_clients_are_limited(start_nginx):
    with (
        start_nginx(NGINX_TRUSTED_PROXY="127.0.0.0/8", NGINX_CLIENT_REQUESTS="1") as front,
        ThreadPoolExecutor(4) as pool,
    ):
        clients = ["8.8.8.8", "8.8.4.4", "2001:db8::1", "2001:db8:0:1::1"]
        slow = [pool.submit(front.request, "/slow", headers={"X-Forwarded-For": client}) for client in clients]
        until(lambda: len(front.upstream.requests) == 4, PATIENCE_S)

        def status(client):
            return front.request("/echo", headers={"X-Forwarded-For": client}).status

        assert [status(client) for client in ("8.8.8.8", "2001:db8::ffff:1")] == [503, 503]
        assert [status(client) for client in ("8.8.8.9", "2001:db8:0:2::1")] == [200, 200]
        front.upstream.release_slow.set()

        assert [future.result().status for future in slow] == [200] * 4


def test_requests_of_a_client_beyond_the_rate_are_refused(start_nginx):
    with start_nginx(NGINX_CLIENT_RATE="1") as front:
        responses = [front.request("/echo") for _ in range(4)]

    assert_problem(responses[-1], 429, "rate-limited")
    assert responses[-1].header("Retry-After") == "1"


def test_a_body_without_space_is_refused_and_its_query_is_not_logged(start_nginx, tmp_path):
    with start_nginx() as front:
        (tmp_path / "client_body").rmdir()
        (tmp_path / "client_body").symlink_to("/proc")  # where no file can be made
        response = front.request("/echo?secret", method="POST", body=bytes(900_000))

    assert_problem(response, 503, "overloaded")
    assert "secret" not in front.log()


def test_a_health_check_has_no_body(front):
    assert_problem(front.request("/livez", method="POST", body=b"12"), 413, "body-too-large")


def test_running_out_of_connections_does_not_fill_the_log(start_nginx):
    with start_nginx(NGINX_CONNECTIONS="64", NGINX_OPEN_FILES="62") as front, ExitStack() as stack:
        for _ in range(500):
            connection = socket.create_connection(("127.0.0.1", front.port), timeout=PATIENCE_S)
            stack.enter_context(connection).sendall(HALF_A_HEAD)

    assert len(front.log().splitlines()) < 50


def test_nginx_without_files_answers_503(start_nginx):
    with start_nginx(NGINX_OPEN_FILES="24") as front, ThreadPoolExecutor(60) as pool:
        statuses = {response.status for response in pool.map(lambda _: front.request("/echo"), range(120))}

    assert statuses <= {200, 503}


def test_one_client_fills_at_most_half_of_the_space_for_bodies():
    values = nginx.defaults()
    space_bytes = 512 * 2**20
    (mount,) = compose.load(compose.BASE)["services"]["nginx"]["tmpfs"]
    assert mount.endswith(":size=512m")
    large = int(values["NGINX_CLIENT_LARGE_BODIES"]) * int(values["GATEWAY_MAX_BODY_BYTES"])
    assert large <= space_bytes / 2
    assert large + int(values["NGINX_CLIENT_MEDIUM_BODIES"]) * 2_000_000 <= space_bytes * 7 / 8


# Overload


def test_only_health_checks_exceed_the_limit_on_concurrent_requests(start_nginx, upstream):
    with start_nginx(NGINX_MAX_REQUESTS="2") as front, ThreadPoolExecutor(2) as pool:
        in_progress = [pool.submit(front.request, "/slow", method="POST", body=b"x") for _ in range(2)]
        until(lambda: len(upstream.requests) == 2, within_s=20)

        for method in ("GET", "POST"):
            response = front.request("/api/v1/predict", method=method)
            assert_problem(response, 503, "overloaded")
            assert int(response.header("Retry-After")) > 0
        assert [front.request(path).status for path in ("/livez", "/readyz")] == [200, 200]

        upstream.release_slow.set()

        assert [future.result().status for future in in_progress] == [200, 200]
        assert front.request("/api/v1/predict").status == 200


# Responses of the gateway


def test_problems_of_the_gateway_pass_unchanged(front):
    response = front.request("/problem")

    assert (response.status, response.header("Content-Type")) == (503, PROBLEM)
    assert response.json["type"] == "/problems/model-unavailable"
    assert response.all("Retry-After") == ["9"]


def test_a_502_of_the_gateway_passes_unchanged(front):
    response = front.request("/failed")

    assert (response.status, response.json["type"]) == (502, "/problems/model-failed")


def test_security_headers_are_not_repeated(front):
    response = front.request("/secure")

    for name in ("X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Cross-Origin-Opener-Policy"):
        assert len(response.all(name)) == 1
    assert response.header("Content-Security-Policy") == "default-src 'self'"
    assert response.header("X-Request-ID") != "of-the-upstream"


def test_the_versions_of_nginx_and_gateway_are_not_disclosed(front):
    assert front.request("/echo").header("Server") == "nginx"


def test_json_is_compressed_for_clients_that_accept_it(front):
    plain = front.request("/long")
    compressed = front.request("/long", headers={"Accept-Encoding": "gzip"})

    assert plain.all("Content-Encoding") == []
    assert compressed.header("Content-Encoding") == "gzip"
    assert gzip.decompress(compressed.body) == plain.body
    assert compressed.header("Vary") == "Accept-Encoding"


# Log, stop and files


def log_lines(front):
    return [json.loads(line) for line in front.log().splitlines() if line.startswith("{")]


def test_each_request_is_one_json_line_with_the_fields_of_the_gateways_log(start_nginx):
    with start_nginx() as front:
        front.request('/echo?a="b"', headers={"X-Request-ID": "first", "User-Agent": 'quo"te\\'})
        front.request("/metrics?", method="POST", headers={"X-Request-ID": "second"})

    # The order of lines is not defined: two of nginx's workers may write them.
    first, second = sorted(log_lines(front), key=lambda line: line["request_id"])
    assert (first["event"], first["level"], first["logger"]) == ("request", "info", "nginx")
    assert (first["request_id"], first["client"]) == ("first", "127.0.0.1")
    assert (first["method"], first["path"], first["status"], first["problem"]) == ("GET", "/echo", 200, "")
    assert first["user_agent"] == 'quo"te\\'
    assert (first["upstream_status"], type(first["upstream_duration_ms"])) == (200, int)
    assert (second["method"], second["path"], second["status"]) == ("POST", "/metrics", 404)
    assert (second["problem"], second["upstream_status"]) == ("not-found", None)


@pytest.mark.parametrize(("zone", "end"), [("UTC", "Z"), ("Asia/Tokyo", "+09:00")])
def test_times_have_milliseconds_in_every_zone(start_nginx, monkeypatch, zone, end):
    monkeypatch.setenv("TZ", zone)

    with start_nginx() as front:
        front.request("/echo")

    (line,) = log_lines(front)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}" + re.escape(end), line["timestamp"])
    logged = datetime.fromisoformat(line["timestamp"])
    assert abs(datetime.now(UTC) - logged) < timedelta(minutes=5)


def test_durations_are_whole_milliseconds(start_nginx, upstream):
    with start_nginx() as front, ThreadPoolExecutor(1) as pool:
        response = pool.submit(front.request, "/slow")
        until(lambda: upstream.requests, PATIENCE_S)
        started_s = time.monotonic()
        until(lambda: time.monotonic() > started_s + 1.01, PATIENCE_S)
        upstream.release_slow.set()
        response.result()

    (line,) = log_lines(front)
    assert 1000 <= line["upstream_duration_ms"] <= line["duration_ms"] < 60_000


@pytest.mark.parametrize(
    ("request_line", "method", "path"),
    [
        (b"GET http://user:secret@host/a/b?key=secret HTTP/1.1", "GET", "/a/b"),
        (b"GET ?key=secret HTTP/1.1", "GET", ""),
        (b"nothing secret", "", ""),
        (b"GET /\xff HTTP/1.1", "GET", "(not printable ASCII)"),
    ],
)
def test_of_a_request_line_only_method_and_path_are_logged(front, request_line, method, path):
    front.send_bytes(request_line + b"\r\nHost: a\r\n\r\n")

    until(lambda: log_lines(front), PATIENCE_S)
    (line,) = log_lines(front)
    assert (line["method"], line["path"]) == (method, path)
    assert "secret" not in front.log()


def test_health_checks_are_logged_only_when_they_fail(start_nginx):
    with start_nginx() as front:
        assert [front.request(path).status for path in ("/livez", "/readyz")] == [200, 200]
    with start_nginx(NGINX_UPSTREAM="127.0.0.1:1") as front:
        assert front.request("/readyz").status == 503

    (line,) = log_lines(front)
    assert (line["path"], line["status"], line["problem"]) == ("/readyz", 503, "gateway-unavailable")


def test_nginx_finishes_a_request_in_progress_before_it_stops(front, upstream):
    with socket.create_connection(("127.0.0.1", front.port), timeout=PATIENCE_S) as client:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        while not upstream.requests:
            assert front.process.poll() is None

        front.process.send_signal(signal.SIGQUIT)
        upstream.release_slow.set()

        assert client.recv(100).startswith(b"HTTP/1.1 200")

    assert front.process.wait(PATIENCE_S) == 0


def test_nginx_writes_only_to_its_folder(front):
    assert front.request("/echo", method="POST", body=bytes(1_000_000)).status == 200

    names = {path.name for path in front.folder.iterdir()}
    assert names == {"nginx.conf", "nginx.log", "nginx.pid", "client_body", "proxy", "fastcgi", "uwsgi", "scgi"}
