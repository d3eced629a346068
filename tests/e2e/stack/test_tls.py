"""HTTPS of a real nginx with a certificate made for the tests, checked with OpenSSL and curl."""

import http.client
import json
import shutil
import socket
import ssl
import subprocess

import pytest

from tests.e2e.stack.test_nginx import assert_problem
from tools import nginx

PATIENCE_S = 20
CURL = shutil.which("curl")


@pytest.fixture(scope="module")
def tls_dir(tmp_path_factory):
    """A folder for TLS_DIR, with a self-signed certificate for gateway.example."""
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=gateway.example", "-addext", "subjectAltName=DNS:gateway.example", "-days", "2"]
    command += ["-keyout", folder / nginx.PRIVATE_KEY, "-out", folder / nginx.CERTIFICATE]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture
def start_tls(start_nginx, tls_dir):
    """Return a function that starts nginx with the certificate, and with values for its template."""

    def start(**values):
        if nginx.find() is None:
            pytest.skip("nginx is not installed")
        listen = nginx.listen_values("LISTEN", tls_dir, nginx.find())
        suffix = listen["NGINX_LISTEN"].removeprefix("LISTEN")
        return start_nginx(listen_suffix=suffix, NGINX_TLS=listen.get("NGINX_TLS", ""), **values)

    return start


@pytest.fixture
def secure(start_tls):
    with start_tls() as front:
        yield front


@pytest.fixture
def trusting(tls_dir):
    """A TLS context that trusts only this certificate."""
    return ssl.create_default_context(cafile=tls_dir / nginx.CERTIFICATE)


def connected(port, context, name="gateway.example"):
    """Return a TLS connection to nginx under a name."""
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), PATIENCE_S), server_hostname=name)


def request(front, context, path="/echo", **options):
    connection = http.client.HTTPSConnection("gateway.example", front.port, timeout=PATIENCE_S)
    connection.sock = connected(front.port, context)
    try:
        return front.request_over(connection, path, **options)
    finally:
        connection.close()


def test_the_gateway_sees_the_address_of_https_requests(secure, upstream, trusting):
    assert request(secure, trusting, method="POST", body=bytes(100_000)).status == 200

    received = upstream.requests[-1]
    assert received["headers"]["X-Forwarded-For"] == "127.0.0.1"
    assert received["bytes"] == 100_000


def test_nginx_presents_the_configured_certificate(secure, trusting):
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        connected(secure.port, trusting, "other.example")
    with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
        connected(secure.port, ssl.create_default_context())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_supported(secure, trusting, version):
    trusting.minimum_version = trusting.maximum_version = version

    with connected(secure.port, trusting) as connection:
        assert connection.version() == version.name.replace("_", ".")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python deprecates these versions
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_older_versions_of_tls_are_not_supported(secure, trusting, version):
    trusting.set_ciphers("ALL:@SECLEVEL=0")  # otherwise OpenSSL itself refuses these versions
    trusting.minimum_version = trusting.maximum_version = version

    with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
        connected(secure.port, trusting)


@pytest.mark.parametrize(
    "cipher",
    ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"],
)
def test_ciphers_with_forward_secrecy_are_supported(secure, trusting, cipher):
    trusting.maximum_version = ssl.TLSVersion.TLSv1_2
    trusting.set_ciphers(cipher)

    with connected(secure.port, trusting) as connection:
        assert connection.cipher()[0] == cipher


@pytest.mark.parametrize(
    "ciphers",
    ["ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "AES128-GCM-SHA256", "DHE+AES", "ECDHE-ECDSA-AES128-CCM"],
)
def test_weaker_ciphers_are_not_supported(secure, trusting, ciphers):
    trusting.maximum_version = ssl.TLSVersion.TLSv1_2
    trusting.set_ciphers(f"{ciphers}:@SECLEVEL=0")

    with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        connected(secure.port, trusting)


def test_http_2_is_offered(secure, trusting):
    trusting.set_alpn_protocols(["h2", "http/1.1"])

    with connected(secure.port, trusting) as connection:
        assert connection.selected_alpn_protocol() == "h2"


@pytest.mark.skipif(CURL is None, reason="curl is not installed")
def test_http_2_requests_reach_the_gateway_completely(secure, upstream, tls_dir, tmp_path):
    (tmp_path / "body").write_bytes(bytes(600_000))
    host = f"gateway.example:{secure.port}"
    command = [CURL, "--silent", "--http2", "--cacert", tls_dir / nginx.CERTIFICATE, "--dump-header", "-"]
    command += ["--resolve", f"{host}:127.0.0.1", "--output", tmp_path / "response"]
    command += ["--header", "X-Request-ID: over-h2", "--data-binary", f"@{tmp_path / 'body'}", f"https://{host}/echo"]
    headers = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_S).stdout

    assert headers.startswith("HTTP/2 200")
    assert "x-request-id: over-h2" in headers.lower()
    received = upstream.requests[-1]
    assert (received["headers"]["Host"], received["bytes"]) == (host, 600_000)
    assert received["headers"]["X-Request-ID"] == "over-h2"
    assert json.loads((tmp_path / "response").read_text())["line"] == "POST /echo HTTP/1.1"


def test_every_https_response_requires_https_for_a_year(secure, trusting):
    for path in ("/echo", "/metrics", "/problem"):
        assert request(secure, trusting, path).header("Strict-Transport-Security") == "max-age=31536000"


def test_the_duration_of_strict_transport_security_is_a_setting(start_tls, trusting):
    with start_tls(NGINX_HSTS_S="0") as front:
        assert request(front, trusting).header("Strict-Transport-Security") == "max-age=0"


def test_http_responses_have_no_strict_transport_security(front):
    assert front.request("/echo").all("Strict-Transport-Security") == []


def test_plain_http_on_the_https_port_is_a_problem(secure, upstream):
    response = secure.request("/echo")

    assert_problem(response, 400, "bad-request")
    assert "plain HTTP" in response.json["detail"]
    assert upstream.requests == []


def test_problems_of_nginx_have_the_same_form_over_https(secure, trusting):
    assert_problem(request(secure, trusting, "/metrics"), 404, "not-found")


def test_a_missing_certificate_or_key_is_named(tmp_path):
    with pytest.raises(nginx.TlsError, match=r"has no file tls\.crt"):
        nginx.listen_values("127.0.0.1:8443", tmp_path, "nginx")

    (tmp_path / nginx.CERTIFICATE).touch()
    with pytest.raises(nginx.TlsError, match=r"has no file tls\.key"):
        nginx.listen_values("127.0.0.1:8443", tmp_path, "nginx")


@pytest.mark.parametrize(
    ("version", "listen", "directive"),
    [
        ("nginx version: nginx/1.22.1", "1:2 ssl http2", False),
        ("nginx version: nginx/1.25.0", "1:2 ssl http2", False),
        ("nginx version: nginx/1.25.1 (Ubuntu)", "1:2 ssl", True),
        ("nginx version: openresty/1.27.1.2", "1:2 ssl", True),
    ],
)
def test_http_2_is_enabled_in_the_syntax_of_the_nginx_version(tls_dir, tmp_path, version, listen, directive):
    program = tmp_path / "nginx"
    program.write_text(f"#!/bin/sh\necho '{version}' >&2\n")
    program.chmod(0o755)

    values = nginx.listen_values("1:2", tls_dir, str(program))

    assert values["NGINX_LISTEN"] == listen
    assert values["NGINX_TLS"].endswith("http2 on;") == directive


@pytest.mark.timeout(240)
def test_make_run_serves_https_with_a_certificate(start_run, tls_dir, trusting):
    with start_run("secure", f"--tls-dir={tls_dir}") as run:
        run.wait_ready()
        assert f"Open    https://localhost:{run.ports['PORT']}" in run.output()
        with connected(run.ports["PORT"], trusting) as connection:
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: gateway.example\r\nConnection: close\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200")


def test_make_run_without_a_certificate_names_the_missing_files(start_run, tmp_path):
    with start_run("secure", f"--tls-dir={tmp_path}") as run:
        assert run.process.wait(PATIENCE_S) == 1
        assert "has no file tls.crt; expected tls.crt and tls.key" in run.output()
