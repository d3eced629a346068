import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests.adapters

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceededError, FetchError, FetchRefusedError
from gateway.fetching import addresses
from gateway.fetching.destinations import Destinations
from gateway.fetching.fetch import UrlFetcher
from tests.support.fetching import fetch_limits
from tests.support.raw_server import RawServer, Script, Send, answer
from tests.support.waiting import ends_soon

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")

PICTURE = b"a picture"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a self-signed certificate for localhost, its key in the same file."""
    file = tmp_path_factory.mktemp("tls") / "localhost.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=DNS:localhost", "-keyout", file, "-out", f"{file}.cert"],
        check=True,
        capture_output=True,
    )
    file.write_text(file.read_text() + Path(f"{file}.cert").read_text())
    return file


@pytest.fixture
def serve_tls(certificate: Path, serve: Callable[..., RawServer]) -> Callable[[Script], RawServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return lambda script: serve(script, tls=context)


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let requests trust that certificate instead of the public authorities."""
    monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", str(certificate))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Return a socket that accepts connections and sends nothing by itself."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock


def fetch(url: str, *allowed: str, deadline_s: float = 5, ca_bundle: Path | None = None, **rules: Any) -> bytes:
    limits = fetch_limits(deadline_s=deadline_s)
    fetcher = UrlFetcher(Destinations(allowed_hosts=allowed, **rules), limits, ca_bundle=ca_bundle)
    return fetcher.fetch(url, deadline=Deadline.after(10))


def test_a_self_signed_certificate_is_refused(serve_tls: Callable[[Script], RawServer]):
    server = serve_tls(answer(PICTURE))
    with pytest.raises(FetchError, match="localhost has no trusted certificate"):
        fetch(f"https://localhost:{server.port}/", "localhost")
    assert server.requests == []


@pytest.mark.usefixtures("trusted")
def test_a_trusted_certificate_must_match_the_name_in_the_url(serve_tls: Callable[[Script], RawServer]):
    server = serve_tls(answer(PICTURE))
    assert fetch(f"https://localhost:{server.port}/", "localhost") == PICTURE
    with pytest.raises(FetchError, match="certificate"):
        fetch(server.url(), "127.0.0.1")
    assert len(server.requests) == 1


def test_a_private_address_is_refused_over_tls_too(serve_tls: Callable[[Script], RawServer]):
    server = serve_tls(answer(PICTURE))
    with pytest.raises(FetchRefusedError, match="no public address"):
        fetch(f"https://localhost:{server.port}/", ports=(server.port,))
    assert server.requests == []


def test_a_server_without_tls_is_an_error(listener: socket.socket):
    def speak_plainly() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    speaker = threading.Thread(target=speak_plainly)
    speaker.start()
    with pytest.raises(FetchError, match="or does not support TLS"):
        fetch(f"https://127.0.0.1:{listener.getsockname()[1]}/", "127.0.0.1")
    speaker.join()


@pytest.mark.usefixtures("trusted")
def test_the_authorities_are_loaded_once_until_their_file_changes(
    serve_tls: Callable[[Script], RawServer], certificate: Path, monkeypatch: pytest.MonkeyPatch
):
    """It takes more processor time than all the rest of a fetch, and a request may cause 256 connections."""
    loads: list[str] = []
    load = ssl.SSLContext.load_verify_locations

    def count(context: ssl.SSLContext, *arguments: Any) -> None:
        loads.append("load")
        load(context, *arguments)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", count)
    server = serve_tls(answer(PICTURE))
    for _ in range(2):
        os.utime(certificate)
        loads.clear()
        for _ in range(3):
            assert fetch(f"https://localhost:{server.port}/", "localhost") == PICTURE
        assert loads == ["load"]


@pytest.mark.usefixtures("trusted")
def test_a_slow_body_is_cut_at_the_deadline(serve_tls: Callable[[Script], RawServer]):
    def script(_: str, send: Send) -> None:
        send(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")
        server.trickle(send, (b"x" for _ in range(900)))

    server = serve_tls(script)
    with ends_soon(), pytest.raises(DeadlineExceededError):
        fetch(f"https://localhost:{server.port}/", "localhost", deadline_s=0.5)


def test_a_tls_handshake_without_an_answer_is_abandoned(listener: socket.socket):
    with ends_soon(), pytest.raises(DeadlineExceededError) as raised:
        fetch(f"https://127.0.0.1:{listener.getsockname()[1]}/", "127.0.0.1", deadline_s=0.4)
    assert raised.value.__cause__ is None  # it would be logged, and may contain the URL


def test_a_slow_handshake_is_cut_at_the_deadline(listener: socket.socket):
    """Each byte arrives long before any timeout, and the record header announces 16 kB of them."""
    done = threading.Event()

    def trickle() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"\x16\x03\x03\x40\x00")
            while not done.wait(0.02):
                connection.sendall(b"\x02")

    speaker = threading.Thread(target=trickle)
    speaker.start()
    with ends_soon(), pytest.raises(DeadlineExceededError):
        fetch(f"https://127.0.0.1:{listener.getsockname()[1]}/", "127.0.0.1", deadline_s=0.4)
    done.set()
    speaker.join()


def test_an_allowed_host_is_verified_with_the_configured_bundle(
    serve_tls: Callable[[Script], RawServer], certificate: Path
):
    server = serve_tls(answer(PICTURE))
    url = f"https://localhost:{server.port}/"
    assert fetch(url, "localhost", ca_bundle=certificate) == PICTURE
    with pytest.raises(FetchError, match="certificate"):
        fetch(url, "localhost")


def test_a_public_host_is_not_verified_with_that_bundle(
    serve_tls: Callable[[Script], RawServer], certificate: Path, monkeypatch: pytest.MonkeyPatch
):
    server = serve_tls(answer(PICTURE))
    monkeypatch.setattr(addresses, "is_public", lambda _: True)
    limits = fetch_limits()
    fetcher = UrlFetcher(Destinations(ports=(server.port,)), limits, ca_bundle=certificate)
    with pytest.raises(FetchError, match="certificate"):
        fetcher.fetch(f"https://localhost:{server.port}/", deadline=Deadline.after(5))
    assert server.requests == []


def test_bundles_of_the_environment_are_not_used(
    serve_tls: Callable[[Script], RawServer], certificate: Path, monkeypatch: pytest.MonkeyPatch
):
    server = serve_tls(answer(PICTURE))
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(variable, str(certificate))
    with pytest.raises(FetchError, match="certificate"):
        fetch(f"https://localhost:{server.port}/", "localhost")
