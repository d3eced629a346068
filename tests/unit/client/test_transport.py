"""One call: what is sent, when it is retried or given up, and which responses are errors."""

import asyncio
import contextlib
import gzip
import shutil
import socket
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import pytest

from image_gateway_client.async_transport import AsyncTransport
from image_gateway_client.connections import CERTIFICATE_VARIABLES
from image_gateway_client.endpoint import Endpoint, Limits
from image_gateway_client.errors import NoAnswerError, ProblemError, UnexpectedAnswerError
from image_gateway_client.exchange import call
from image_gateway_client.steps import ApiRequest, Pause
from image_gateway_client.transport import Transport
from model_server.rest.app import html_error
from tests.support.contract_gateway import MODEL, Reply, busy, problem
from tests.support.raw_server import RawServer, answer
from tests.support.waiting import ends_soon
from tools import ports

READY = {"status": "ready", "model": MODEL}
WHOLE = answer(b"{}", headers=["Content-Type: application/json"])


class BlockingCalls:
    """Calls of a gateway by `Transport`."""

    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.transport = Transport(endpoint)

    def call(self, method, path, **request):
        return self.transport.run(self.plan(method, path, request))

    def plan(self, method, path, request):
        return call(self.endpoint, ApiRequest(method, path, **request), lambda document: document)


class AsyncCalls(BlockingCalls):
    """Calls of a gateway by `AsyncTransport`, each in an event loop of its own."""

    def __init__(self, endpoint):
        self.endpoint = endpoint

    def call(self, method, path, **request):
        async def run():
            transport = AsyncTransport(self.endpoint)
            try:
                return await transport.run(self.plan(method, path, request))
            finally:
                await transport.close()

        return asyncio.run(run())


@pytest.fixture(params=[BlockingCalls, AsyncCalls])
def transport(request):
    def make(url, *, api_key=None, timeout_s=20.0, retries=3, max_response_bytes=10_000):
        limits = Limits(timeout_s, 5.0, retries, 2, max_response_bytes)
        return request.param(Endpoint.create(url, api_key=api_key, limits=limits))

    return make


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """The pauses before retries, without waiting for them."""
    pauses: list[float] = []

    def record(kind):
        perform = kind._perform

        def perform_without_waiting(self, step):
            if isinstance(step, Pause):
                pauses.append(step.duration_s)
                step = Pause(0)
            return perform(self, step)

        monkeypatch.setattr(kind, "_perform", perform_without_waiting)

    record(Transport)
    record(AsyncTransport)
    return pauses


@pytest.mark.parametrize("status", [429, 503])
def test_a_request_is_retried_after_the_time_in_retry_after(transport, gateway, pauses, status):
    gateway.script.extend([busy(status, "2"), busy(status, "3")])
    assert transport(gateway.url).call("GET", "/readyz") == READY
    assert pauses == [2, 3]


def test_retry_after_may_be_a_date(transport, gateway, pauses):
    gateway.script.append(busy(retry_after="Wed, 04 Mar 2020 12:00:00 GMT"))
    assert transport(gateway.url).call("GET", "/readyz") == READY
    assert pauses == [0]


def test_without_retry_after_the_pauses_grow(transport, gateway, pauses):
    gateway.script.extend([problem(503), Reply(b"<html>", 503, {"Retry-After": "later"}), problem(429)])
    assert transport(gateway.url).call("GET", "/readyz") == READY
    assert len(pauses) == 3
    assert 0 < pauses[0] < pauses[1] < pauses[2]


def test_retries_are_limited(transport, gateway, pauses):
    gateway.script.extend([busy()] * 10)
    with pytest.raises(ProblemError) as refused:
        transport(gateway.url, retries=2).call("GET", "/readyz")
    assert refused.value.problem.status == 503
    assert refused.value.transient
    assert (len(gateway.seen), len(pauses)) == (3, 2)


def test_a_call_may_do_without_retries(transport, gateway, pauses):
    gateway.script.append(busy())
    with pytest.raises(ProblemError):
        transport(gateway.url).call("GET", "/readyz", retries=0)
    assert pauses == []


def test_a_retry_that_would_be_too_late_is_not_waited_for(transport, gateway, pauses):
    gateway.script.append(busy(retry_after="3600"))
    with pytest.raises(ProblemError) as refused:
        transport(gateway.url).call("GET", "/readyz")
    assert refused.value.retry_after_s == 3600
    assert pauses == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 415, 422, 500, 502, 504])
def test_other_problems_are_not_retried(transport, gateway, pauses, status):
    gateway.script.append(problem(status, "No", detail="Because.", limit=3))
    with pytest.raises(ProblemError, match=f"^{status} No: Because.$") as refused:
        transport(gateway.url).call("GET", "/readyz")
    assert refused.value.problem.members == {"limit": 3}
    assert (len(gateway.seen), pauses) == (1, [])


def test_a_broken_connection_is_retried(transport, pauses):
    half = b'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"status"'
    scripts = iter([lambda *_: None, lambda _, send: send(half), lambda *_: None, WHOLE])

    def play(head, send):
        next(scripts)(head, send)

    with RawServer(play) as server:
        assert transport(server.url("")).call("GET", "/readyz") == {}
    assert len(pauses) == 3


def test_an_unreachable_gateway_is_named_by_its_url(transport, pauses):
    (port,) = ports.find(1)
    with pytest.raises(NoAnswerError, match=rf"^http://127.0.0.1:{port} cannot be reached: Connection refused$"):
        transport(f"http://127.0.0.1:{port}").call("GET", "/readyz")
    assert len(pauses) == 3


@pytest.fixture
def refusing_proxy(monkeypatch) -> str:
    """A proxy in the environment that does not exist."""
    proxy = f"127.0.0.1:{ports.find(1)[0]}"
    for variable in ("http_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, f"http://me:secret@{proxy}")
    monkeypatch.delenv("no_proxy", raising=False)
    return f"http://{proxy}"


@pytest.mark.parametrize(("scheme", "variable"), [("http", "http_proxy"), ("https", "HTTPS_PROXY")])
def test_a_proxy_that_refuses_is_named_with_its_variable(transport, refusing_proxy, scheme, variable):
    with pytest.raises(NoAnswerError) as refused:
        transport(f"{scheme}://gateway.example:8080", retries=0).call("GET", "/readyz")

    assert str(refused.value) == (
        f"{scheme}://gateway.example:8080 cannot be reached through the proxy {refusing_proxy} (from {variable}): "
        "Connection refused. Set no_proxy=gateway.example to connect directly."
    )


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (answer(b"<h1>Denied</h1>", status="403 Forbidden"), ProblemError),
        (answer(b"<h1>Log in"), UnexpectedAnswerError),
    ],
)
def test_a_page_of_a_proxy_is_named_as_such(transport, monkeypatch, reply, error):
    monkeypatch.delenv("no_proxy", raising=False)
    with RawServer(reply) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url(""))
        with pytest.raises(error) as refused:
            transport("http://gateway.example", retries=0).call("GET", "/readyz")

    assert f"through the proxy {proxy.url('')} (from http_proxy)" in str(refused.value)
    assert "Set no_proxy=gateway.example" in str(refused.value)


@pytest.mark.parametrize(
    ("user", "fault"), [("", "requires a user and a password"), ("me:secret@", "refuses the user and password")]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_another_password_is_named_with_its_variable(transport, monkeypatch, scheme, user, fault):
    monkeypatch.delenv("no_proxy", raising=False)
    with RawServer(answer(b"<h1>No</h1>", status="407 Proxy Authentication Required")) as proxy:
        monkeypatch.setenv(f"{scheme}_proxy", proxy.url("").replace("//", f"//{user}"))
        with pytest.raises((NoAnswerError, ProblemError)) as refused:
            transport(f"{scheme}://gateway.example").call("GET", "/readyz")

    example = proxy.url("").replace("//", "//USER:PASSWORD@")
    assert str(refused.value).endswith(
        f"the proxy {proxy.url('')} (from {scheme}_proxy) {fault}. Write the right ones into {scheme}_proxy, as in "
        f"{example}. Set no_proxy=gateway.example to connect directly."
    )
    assert len(proxy.requests) == 1


def test_a_gateway_on_this_machine_is_asked_without_a_proxy(transport, gateway, refusing_proxy):
    assert refusing_proxy
    assert transport(gateway.url).call("GET", "/readyz") == READY
    assert transport(gateway.url.replace("127.0.0.1", "localhost")).call("GET", "/readyz") == READY


def test_an_unknown_host_is_an_error(transport, pauses):
    with pytest.raises(NoAnswerError, match=r"^http://nowhere\.invalid cannot be reached: "):
        transport("http://nowhere.invalid", retries=1).call("GET", "/readyz")
    assert len(pauses) == 1


def test_a_password_in_the_url_is_not_shown(transport, pauses):
    with pytest.raises(NoAnswerError) as refused:
        transport("http://me:secret@127.0.0.1:1", retries=0).call("GET", "/readyz")
    assert "secret" not in str(refused.value)
    assert str(refused.value).startswith("http://127.0.0.1:1 ")
    assert pauses == []


def test_a_program_that_does_not_speak_http_is_named_as_such(transport, pauses):
    noise = RawServer(lambda _, send: send(b"\x00\x1b[31m\x07\xff" * 9))
    with noise as server, pytest.raises(NoAnswerError) as refused:
        transport(server.url(""), retries=0).call("GET", "/readyz")
    assert str(refused.value).endswith("it does not answer with HTTP. Is this the port of an Image Gateway?")
    assert pauses == []


def test_plain_http_in_place_of_tls_is_not_retried(transport, gateway, pauses):
    with pytest.raises(NoAnswerError, match="cannot be reached") as refused:
        transport(gateway.url.replace("http:", "https:")).call("GET", "/readyz")
    assert str(refused.value).endswith(f"it answers without TLS. Did you mean {gateway.url}?")
    assert not refused.value.transient
    assert pauses == []


def test_a_silent_server_is_given_up_after_the_timeout(transport):
    with (
        RawServer(lambda *_: server.closing.wait(30)) as server,
        pytest.raises(NoAnswerError, match="did not answer in time"),
    ):
        transport(server.url(""), timeout_s=0.3).call("GET", "/readyz")


def test_an_endless_answer_is_given_up(transport):
    def drip(_head, send):
        send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        server.trickle(send, iter(lambda: b" ", b""))

    with RawServer(drip) as server, pytest.raises(NoAnswerError, match="answer in time"):
        transport(server.url(""), timeout_s=0.5).call("GET", "/readyz")


def test_the_remaining_time_is_sent_to_the_gateway(transport, gateway, pauses):
    gateway.script.append(busy(retry_after="1"))
    transport(gateway.url, timeout_s=12).call("GET", "/readyz")
    first, second = (float(seen.headers["X-Request-Timeout"]) for seen in gateway.seen)
    assert 0 < second <= first <= 12
    assert pauses == [1]


def test_the_key_is_sent_with_every_request(transport, gateway, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login other password other")
    monkeypatch.setenv("NETRC", str(netrc))
    transport(gateway.url, api_key="k-123").call("GET", "/readyz")
    monkeypatch.delenv("NETRC")
    monkeypatch.setenv("HOME", str(tmp_path))
    transport(gateway.url).call("GET", "/readyz")
    assert [seen.headers.get("Authorization") for seen in gateway.seen] == ["Bearer k-123", None]


def test_a_gateway_below_a_path(transport, gateway):
    gateway.script.append(Reply({}))
    transport(f"{gateway.url}/images/").call("GET", "/readyz")
    assert gateway.seen[0].path == "/images/readyz"


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (
            Reply(b"<html>", 200, {"Content-Type": "text/html"}),
            r"\(text/html\), but not with JSON. Is it an Image Gateway",
        ),
        (Reply(b"", 204), "but not with JSON"),
        (Reply(b"", 301, {"Location": "https://b.example/"}), "redirects to https://b.example/"),
        (Reply({}, 307), "redirects to another address"),
        (Reply({}, 302, {"Location": "https://b.example/\x1b[31m"}), r"redirects to another address\. Use"),
    ],
)
def test_a_response_of_another_service_is_an_error(transport, gateway, reply, message):
    gateway.script.append(reply)
    with pytest.raises(UnexpectedAnswerError, match=message):
        transport(gateway.url).call("GET", "/readyz")
    assert len(gateway.seen) == 1


def test_an_error_page_of_a_proxy_is_a_problem(transport, gateway):
    gateway.script.append(Reply(b"<h1>no entry</h1>" * 100, 403, {"Content-Type": "text/html"}))
    with pytest.raises(ProblemError) as refused:
        transport(gateway.url).call("GET", "/readyz")
    problem = refused.value.problem
    assert (problem.type, problem.title, problem.status) == ("about:blank", "Forbidden", 403)
    assert problem.detail.startswith("no entry no entry")
    assert len(problem.detail) <= 200


@pytest.mark.parametrize(
    "body",
    [
        b"<html><head>\n<title>404 Not Found</title>\n</head><body>\n<h1>Not Found</h1>\n</body></html>\n",
        b'{ "error": "Not Found" }',
        b"",
    ],
)
def test_a_route_that_does_not_exist_may_be_of_another_program(transport, gateway, body):
    gateway.script.append(Reply(body, 404, {"Content-Type": "text/html"}))

    with pytest.raises(ProblemError) as refused:
        transport(gateway.url).call("GET", "/api/v1/models")

    problem = refused.value.problem
    assert (problem.title, problem.status) == ("Not Found", 404)
    assert problem.detail == f"Is {gateway.url} an Image Gateway?"


@pytest.mark.parametrize("path", ["/api/v1", "/api/v1/", "/api/v1/predict", "/api/v1/models/pets/predict"])
@pytest.mark.parametrize("prefix", ["", "/gw"])
def test_the_path_of_a_route_is_taken_off_the_url(transport, gateway, prefix, path):
    gateway.script.append(Reply(READY))

    transport(gateway.url + prefix + path).call("GET", "/readyz")

    assert gateway.seen[-1].path == f"{prefix}/readyz"


@pytest.mark.parametrize(
    "path", ["/v2", "/v2/models/pets", "/v1/models", "/v1/models/pets", "/docs", "/problems", "/readyz"]
)
@pytest.mark.parametrize("prefix", ["", "/gw"])
@pytest.mark.parametrize(
    "document", [{"error": "no such route"}, {"type": "/problems/not-found", "title": "Not Found"}]
)
def test_the_path_of_another_route_is_named(transport, gateway, prefix, path, document):
    gateway.script.append(Reply(document, 404))

    with pytest.raises(UnexpectedAnswerError, match=f"Did you mean {gateway.url}{prefix}\\?$"):
        transport(gateway.url + prefix + path).call("GET", "/readyz")


def test_a_gateway_may_be_published_at_a_path_that_is_one_of_its_own(transport, gateway):
    gateway.script.extend([Reply(READY), problem(404, "The model is not served", type="/problems/model-not-found")])

    assert transport(f"{gateway.url}/v2").call("GET", "/readyz") == READY
    with pytest.raises(ProblemError, match="The model is not served"):
        transport(f"{gateway.url}/v2").call("GET", "/api/v1/models/none")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8080",
        "ftp://localhost",
        "http://",
        "http://:80",
        "http://a:0",
        "http://a:99999",
        "http://a?b=c",
        "http://a b",
    ],
)
def test_an_invalid_url_is_refused(transport, url):
    with pytest.raises(ValueError, match="is not a valid gateway URL"):
        transport(url)


@pytest.mark.parametrize("key", ["", " secret", "secret ", "secret\n", "sécret", "secret\0"])
def test_a_key_that_cannot_be_sent_is_refused(transport, key):
    with pytest.raises(ValueError, match="The API key is not valid") as refused:
        transport("http://localhost", api_key=key)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("limits", [(0, 5, 3, 1), (1, 0, 3, 1), (float("nan"), 5, 3, 1), (1, 5, -1, 1), (1, 5, 3, 0)])
def test_limits_out_of_range_are_refused(limits):
    with pytest.raises(ValueError, match="must be a"):
        Limits(*limits)


@pytest.mark.parametrize(
    ("url", "suggestion"),
    [
        ("localhost:8080", "http://localhost:8080"),
        ("http:/localhost:8080", "http://localhost:8080"),
        ("HTTP//localhost", "http://localhost"),
        ("https:/gateway.example/gw", "https://gateway.example/gw"),
        ("http:localhost:8080", "http://localhost:8080"),
        ("http:///localhost", "http://localhost"),
        ("http:\\\\localhost", "http://localhost"),
        ("//localhost:8080", "http://localhost:8080"),
        (" http://localhost:8080\n", "http://localhost:8080"),
        (":8080", "http://localhost:8080"),
        ("https.example", "http://https.example"),
    ],
)
def test_a_url_that_is_almost_one_is_mended_in_the_message(transport, url, suggestion):
    with pytest.raises(ValueError, match=rf"Did you mean {suggestion}\?$"):
        transport(url)


@pytest.mark.parametrize("url", ["", "http:", "ftp://localhost", "http://a:0", "http.//localhost", "http:http://a"])
def test_a_url_that_cannot_be_guessed_gets_an_example(transport, url):
    with pytest.raises(ValueError, match=r"Use one such as http://localhost:8080\.$"):
        transport(url)


def test_a_header_that_never_ends_is_given_up(transport):
    def drip(_head, send):
        send(b"HTTP/1.1 200 OK\r\nX-Padding: ")
        server.trickle(send, iter(lambda: b"x", b""))

    with RawServer(drip) as server, ends_soon(), pytest.raises(NoAnswerError, match="did not answer in time"):
        transport(server.url(""), timeout_s=0.3, retries=0).call("GET", "/readyz")


def compressed(body, encoding="gzip"):
    return answer(body, headers=["Content-Type: application/json", f"Content-Encoding: {encoding}"])


def test_a_compressed_response_is_read(transport):
    with RawServer(compressed(gzip.compress(b'{"status": "ready"}'))) as server:
        assert transport(server.url("")).call("GET", "/readyz") == {"status": "ready"}
    assert "accept-encoding: gzip" in server.requests[0].lower()


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (answer(b"[" + b"1," * 5000 + b"1]"), "larger than 10000 bytes"),
        (compressed(gzip.compress(b" " * 50_000_000)), "larger than 10000 bytes"),
        (compressed(gzip.compress(b"{}")[:-3]), "incomplete"),
        (compressed(b"no gzip"), "damaged"),
        (compressed(b"{}", "br"), "compressed with 'br'"),
    ],
)
def test_a_response_that_is_too_large_or_damaged_is_an_error(transport, reply, message):
    with RawServer(reply) as server, pytest.raises(UnexpectedAnswerError, match=message) as refused:
        transport(server.url("")).call("GET", "/readyz")
    assert str(refused.value).startswith(server.url(""))


def test_a_response_of_exactly_the_limit_is_read(transport):
    body = b'"' + b"x" * 9_998 + b'"'
    for reply in (answer(body), compressed(gzip.compress(body))):
        with RawServer(reply) as server:
            assert len(transport(server.url("")).call("GET", "/readyz")) == 9_998


@pytest.mark.parametrize(
    "no_proxy", ["*", "gateway.example", ".example", "x, gateway.example:8080", "10.0.0.0/8,192.0.2.0/24", "192.0.2.7"]
)
def test_hosts_in_no_proxy_are_called_directly(transport, refusing_proxy, monkeypatch, no_proxy):
    assert refusing_proxy
    monkeypatch.setenv("NO_PROXY", no_proxy)
    host = "192.0.2.7" if no_proxy[0].isdigit() else "gateway.example"

    endpoint = transport(f"http://{host}:8080").endpoint

    assert endpoint.proxy is None


@pytest.mark.parametrize("no_proxy", ["", "other.example", "way.example", "10.0.0.0/8"])
def test_other_hosts_are_reached_through_the_proxy(transport, refusing_proxy, monkeypatch, no_proxy):
    monkeypatch.setenv("NO_PROXY", no_proxy)

    endpoint = transport("http://gateway.example:8080").endpoint

    assert str(endpoint.proxy) == f"the proxy {refusing_proxy} (from http_proxy)"


def test_a_proxy_needs_no_scheme(transport, monkeypatch):
    monkeypatch.delenv("no_proxy", raising=False)
    with RawServer(WHOLE) as proxy:
        monkeypatch.setenv("all_proxy", f"127.0.0.1:{proxy.port}")
        assert transport("http://gateway.example").call("GET", "/readyz") == {}
    assert proxy.requests[0].startswith("GET http://gateway.example/readyz HTTP/1.1")


def serve_socks(listener, greeting):
    """Answer one connection as a SOCKS5 proxy (RFC 1928) behind which a gateway answers; return the host asked for."""
    connection, _ = listener.accept()
    with connection:
        connection.recv(100)
        connection.sendall(greeting)
        if greeting != b"\x05\x00":
            return b""
        request = connection.recv(100)
        connection.sendall(b"\x05\x00\x00\x01" + bytes(6))
        connection.recv(10_000)
        WHOLE("", connection.sendall)
        return request[5 : 5 + request[4]]


@pytest.fixture
def socks_proxy(monkeypatch):
    monkeypatch.delenv("no_proxy", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("all_proxy", f"socks5h://127.0.0.1:{listener.getsockname()[1]}")
        yield listener


def test_a_socks_proxy_is_used(transport, socks_proxy):
    with ThreadPoolExecutor() as thread:
        host = thread.submit(serve_socks, socks_proxy, b"\x05\x00")
        assert transport("http://gateway.example").call("GET", "/readyz") == {}
        assert host.result() == b"gateway.example"


def test_a_socks_proxy_that_fails_is_named(socks_proxy):
    endpoint = Endpoint.create("http://gateway.example", api_key=None, limits=Limits(20, 5, 0, 2))
    for greeting in (b"\x05\xff", b"", b"no"):
        with ThreadPoolExecutor() as thread:
            thread.submit(serve_socks, socks_proxy, greeting)
            with pytest.raises(NoAnswerError, match=r"through the proxy socks5h://.* \(from all_proxy\)"):
                BlockingCalls(endpoint).call("GET", "/readyz")


def test_a_proxy_of_another_kind_is_refused(transport, monkeypatch):
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("http_proxy", "ftp://me:secret@proxy.example")
    with pytest.raises(
        ValueError, match=r"the proxy ftp://proxy.example \(from http_proxy\) cannot be used"
    ) as refused:
        transport("http://gateway.example")
    assert "no_proxy=gateway.example" in str(refused.value)


@pytest.mark.parametrize("url", ["http://me:s@gateway.example", "http://gateway.example"])
@pytest.mark.parametrize(
    "proxy",
    [
        "http://127.0.0.1:abc",
        "http://[::1",
        "127.0.0.1:99999",
        "http://a..b:1",
        "http://:1",
        " http://a:1",
        "http://a b:1",
    ],
)
def test_a_proxy_that_cannot_be_one_is_named(transport, monkeypatch, proxy, url):
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(ValueError, match=r"^the proxy .* \(from http_proxy\) cannot be used\. .*no_proxy=gateway"):
        transport(url).call("GET", "/readyz")


def test_the_scheme_may_be_in_capitals(transport, gateway, monkeypatch):
    gateway.script.append(Reply(READY))
    monkeypatch.setenv(CERTIFICATE_VARIABLES[0], "/none.pem")

    assert transport(gateway.url.replace("http:", "HTTP:")).call("GET", "/readyz") == READY
    with pytest.raises(ValueError, match=r"^REQUESTS_CA_BUNDLE is '/none\.pem'"):  # certificates are read
        transport("HTTPS://gateway.example").call("GET", "/readyz")


@pytest.mark.parametrize("variable", CERTIFICATE_VARIABLES)
def test_certificates_that_cannot_be_read_are_named(transport, monkeypatch, tmp_path, variable):
    for other in CERTIFICATE_VARIABLES:
        monkeypatch.delenv(other, raising=False)
    (tmp_path / "none.pem").write_text("nothing")
    for name in ("none.pem", "missing.pem"):
        monkeypatch.setenv(variable, str(tmp_path / name))
        with pytest.raises(ValueError, match=f"^{variable} is .*{name}.*Set {variable} to a PEM file") as refused:
            transport("https://gateway.example").call("GET", "/readyz")
        assert "_ssl.c" not in str(refused.value)


@pytest.fixture(scope="module")
def make_certificate(tmp_path_factory):
    """Return a function that makes a certificate, with its key in the same file."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")

    def make(name):
        file = tmp_path_factory.mktemp("certificate") / "certificate.pem"
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=x"
        names = ["-addext", f"subjectAltName={name}", "-keyout", file.with_suffix(".key"), "-out", file]
        subprocess.run([*command.split(), *names], check=True, capture_output=True)
        file.write_text(file.read_text() + file.with_suffix(".key").read_text())
        return file

    return make


@pytest.fixture
def serve_tls():
    """Return a function that starts a server with a certificate and returns its URL."""
    with contextlib.ExitStack() as servers:

        def serve(certificate):
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
            return servers.enter_context(RawServer(WHOLE, tls=tls)).url("")

        yield serve


def test_a_certificate_of_an_unknown_authority_says_what_to_do(transport, make_certificate, serve_tls, monkeypatch):
    certificate, other = make_certificate("IP:127.0.0.1"), make_certificate("IP:127.0.0.1")
    url = serve_tls(certificate)
    for variable in CERTIFICATE_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    refusal = f"{url} cannot be reached: its certificate is not accepted: self-signed certificate. "

    with pytest.raises(NoAnswerError) as unknown:
        transport(url).call("GET", "/readyz")
    monkeypatch.setenv("CURL_CA_BUNDLE", str(other))
    with pytest.raises(NoAnswerError) as named:
        transport(url).call("GET", "/readyz")
    monkeypatch.setenv("CURL_CA_BUNDLE", str(certificate))

    advice = "To trust it, set SSL_CERT_FILE to a PEM file with the certificate of its authority."
    assert str(unknown.value) == refusal + advice
    advice = f"CURL_CA_BUNDLE is '{other}': to trust it, name a PEM file with the certificate of its authority there."
    assert str(named.value) == refusal + advice
    assert not named.value.transient
    assert transport(url).call("GET", "/readyz") == {}


def test_a_certificate_of_another_host_says_what_to_do(transport, make_certificate, serve_tls, monkeypatch):
    certificate = make_certificate("DNS:other.example")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))

    with pytest.raises(NoAnswerError, match=r"mismatch.* Use a host name that the certificate is for\.$") as refused:
        transport(serve_tls(certificate)).call("GET", "/readyz")

    assert "_ssl.c" not in str(refused.value)


def test_a_user_and_a_password_in_the_url_are_sent_unless_there_is_a_key(transport, gateway):
    url = gateway.url.replace("//", "//me:s%20t@")

    transport(url).call("GET", "/readyz")
    transport(url, api_key="k-1").call("GET", "/readyz")

    assert [seen.headers["Authorization"] for seen in gateway.seen] == ["Basic bWU6cyB0", "Bearer k-1"]


def test_nothing_is_logged_at_the_level_of_information(transport, gateway, caplog):
    caplog.set_level("INFO")
    transport(gateway.url).call("GET", "/readyz")
    assert caplog.records == []


@pytest.mark.parametrize("path", ["/readyz", "/api/v1/models", "/version"])
def test_tensorflow_serving_is_recognised(transport, path):
    page = html_error(HTTPStatus.NOT_FOUND).body
    reply = answer(page, status="404 Not Found", headers=["Content-Type: text/html"])
    with RawServer(reply) as server, pytest.raises(ProblemError) as refused:
        transport(server.url("")).call("GET", path)

    detail = refused.value.problem.detail
    assert detail == f"{server.url('')} is TensorFlow Serving. The gateway is usually at http://127.0.0.1:8080."


def test_an_interrupted_program_leaves_no_connection_open(gateway):
    calls = BlockingCalls(Endpoint.create(gateway.url, api_key=None, limits=Limits(20, 5, 3, 2)))
    calls.call("GET", "/readyz")
    del calls  # an open socket would be a ResourceWarning, and therefore an error


def test_a_connection_is_used_again(gateway, monkeypatch):
    opened = []
    connect = socket.create_connection

    def count(*arguments, **options):
        opened.append(arguments)
        return connect(*arguments, **options)

    monkeypatch.setattr(socket, "create_connection", count)
    calls = BlockingCalls(Endpoint.create(gateway.url, api_key=None, limits=Limits(20, 5, 3, 2)))

    for _ in range(3):
        calls.call("GET", "/readyz")

    assert len(opened) == 1
