"""TLS over real sockets, with certificates that openssl makes."""

import shutil
import subprocess

import grpc
import pytest

from model_server.dataplane import DataPlane
from model_server.errors import InvalidArgumentError, NotFoundError
from model_server.grpc.credentials import read_credentials
from model_server.grpc.services import GrpcOptions, create_server
from model_server.monitoring import Metrics

HEALTHY = b"\x08\x01"


def escaped(file):
    return file.read_text().replace("\n", "\\n")


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    """Make a key and a self-signed certificate for localhost."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(folder / "key"), "-out", str(folder / "cert")]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    return folder


@pytest.fixture
def serve(models, pem, tmp_path):
    """Return a function that starts a server with an SSLConfig of this key and certificate, and returns its address."""
    servers = []

    def start(more=""):
        file = tmp_path / "ssl.config"
        file.write_text(f'server_key: "{escaped(pem / "key")}" server_cert: "{escaped(pem / "cert")}" {more}')
        options = GrpcOptions(addresses=[], threads=2, credentials=read_credentials(file), health=True)
        servers.append(create_server(DataPlane(models), options, Metrics()))
        port = servers[-1].add_secure_port("localhost:0", options.credentials)
        servers[-1].start()
        return f"localhost:{port}"

    yield start
    for server in servers:
        server.stop(None).wait()


def check(channel):
    with channel:
        return channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=20, wait_for_ready=False)


def credentials(pem, *, own=False):
    certificate, key = (pem / "cert").read_bytes(), (pem / "key").read_bytes()
    return grpc.ssl_channel_credentials(certificate, key if own else None, certificate if own else None)


def test_calls_are_encrypted(serve, pem):
    address = serve()
    assert check(grpc.secure_channel(address, credentials(pem))) == HEALTHY
    with pytest.raises(grpc.RpcError):
        check(grpc.insecure_channel(address))


def test_clients_without_a_certificate_are_refused_with_client_verify(serve, pem):
    address = serve(f'custom_ca: "{escaped(pem / "cert")}" client_verify: true')
    assert check(grpc.secure_channel(address, credentials(pem, own=True))) == HEALTHY
    with pytest.raises(grpc.RpcError):
        check(grpc.secure_channel(address, credentials(pem)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "server_key must be a PEM text"),
        ('server_key: "/etc/ssl/key.pem"', "server_key must be a PEM text"),
        ('server_key: "-----BEGIN KEY"', "server_cert must be a PEM text"),
        (
            'server_key: "-----BEGIN KEY" server_cert: "-----BEGIN CERTIFICATE" client_verify: true',
            "client_verify needs custom_ca",
        ),
    ],
)
def test_an_incomplete_ssl_config_is_refused(tmp_path, text, message):
    file = tmp_path / "ssl.config"
    file.write_text(text)
    with pytest.raises(InvalidArgumentError, match=message):
        read_credentials(file)


def test_there_is_no_file(tmp_path):
    with pytest.raises(NotFoundError):
        read_credentials(tmp_path / "ssl.config")
