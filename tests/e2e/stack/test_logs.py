"""What no log may hold: pictures, keys, and what stands in URLs beside the path; asked in every way at level debug."""

import base64
import signal
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from image_gateway_client.keys import hash_key, make_key
from tests.support.raw_server import RawServer, Send, answer, redirect
from tests.support.stack import NGINX, START_S, answers
from tests.support.waiting import until
from tools.local_stack import LocalStack

ROOT = Path(__file__).parents[3]
GOLDEN = next((ROOT / "serving_models" / "digits" / "1" / "assets.extra" / "golden").glob("*.png")).read_bytes()
PREDICT = "/api/v1/models/digits/predict"
MAX_BODY_BYTES = 200_000
FETCH_DEADLINE_S = 1
PATIENCE_S = 30

# Each place that could leak has a word of its own, so that a failure tells which did.
QUERY = "secret-of-the-query"
PICTURE_QUERY = "secret-of-a-pictures-query"
PASSWORD = "secret-password-of-a-url"
LOCATION = "secret-of-a-redirect"
BEARER = "secret-bearer"
HEADER_KEY = "secret-header-key"
COOKIE = "secret-cookie"
COMMENT = "words-within-a-picture"
WORDS = (QUERY, PICTURE_QUERY, PASSWORD, LOCATION, BEARER, HEADER_KEY, COOKIE, COMMENT)
KEY = make_key("camera-1")


def with_comment(png: bytes) -> bytes:
    """Put words into a PNG (RFC 2083 section 4.2.7, before the chunk IEND that ends it)."""
    chunk = b"tEXtComment\0" + COMMENT.encode()
    return png[:-12] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[-12:]


PICTURE = with_comment(GOLDEN)
PICTURE_BASE64 = base64.b64encode(PICTURE).decode()


def pictures(head: str, send: Send) -> None:
    """Answer by the path: a picture, or what goes wrong in one way or another."""
    path = head.split()[1].partition("?")[0]
    if path == "/never":
        time.sleep(3 * FETCH_DEADLINE_S)  # the client is gone by then
    elif path == "/broken-headers":
        send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nno colon here\r\n: no name\r\n\r\nhello")
    elif path == "/no-http":
        send(b"hello\r\n\r\n")
    elif path == "/cut":
        send(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello")
    else:
        {
            "/picture": answer(PICTURE),
            "/missing": answer(status="404 Not Found"),
            "/redirect": redirect(f"/picture?sig={LOCATION}"),
            "/redirect-with-password": redirect(f"http://user:{LOCATION}@127.0.0.1/"),
            "/redirect-inside": redirect(f"http://10.0.0.1/?sig={LOCATION}"),
            "/redirect-nowhere": redirect(f"http://[broken/?sig={LOCATION}"),
            "/endless": redirect(f"/endless?sig={LOCATION}"),
            "/huge": answer(b"x" * (MAX_BODY_BYTES + 1)),
        }[path](head, send)


class Logged:
    """A whole stack with keys, and what it has logged."""

    def __init__(self, stack: LocalStack, host: RawServer) -> None:
        self.stack = stack
        self.host = host
        self.statuses: set[int] = set()

    def ask(self, path: str = PREDICT, *, method: str = "POST", key: str = KEY, **request: object) -> None:
        """Ask, and again with a key in the query, which is refused."""
        headers = {"Authorization": f"Bearer {key}", "Cookie": f"session={COOKIE}", **request.pop("headers", {})}
        separator = "&" if "?" in path else "?"
        for asked in (path, f"{path}{separator}api_key={QUERY}"):
            response = requests.request(method, self.stack.url + asked, headers=headers, timeout=30, **request)
            self.statuses.add(response.status_code)

    def raw(self, content: bytes) -> None:
        """Send bytes to nginx as they are, and wait for the end of what it says."""
        with socket.create_connection(("127.0.0.1", self.stack.options.port), timeout=30) as connection:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

    def text(self) -> str:
        return "".join(path.read_text(encoding="utf-8") for path in self.stack.options.logs.iterdir())


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    if not NGINX:
        pytest.skip("nginx is not installed")
    settings = {
        "GATEWAY_LOG_LEVEL": "debug",
        "GATEWAY_WORKERS": "2",
        "GATEWAY_API_KEYS": hash_key("camera-1", KEY),
        "GATEWAY_FETCH_ALLOWED_HOSTS": "127.0.0.1",
        "GATEWAY_FETCH_DEADLINE_S": str(FETCH_DEADLINE_S),
        "GATEWAY_FETCH_MAX_BYTES": str(MAX_BODY_BYTES),
        "GATEWAY_MAX_BODY_BYTES": str(MAX_BODY_BYTES),
    }
    with (
        RawServer(pictures) as host,
        LocalStack(tmp_path_factory.mktemp("logged"), environment=settings) as stack,
    ):
        yield Logged(stack.start(), host)


def uploads(stack: Logged) -> None:
    stack.ask(files={"image": ("holiday.png", PICTURE)})
    stack.ask(files=[("image", PICTURE), ("image", PICTURE), ("image", PICTURE[:100])])
    stack.ask(data=PICTURE, headers={"Content-Type": "image/png"})
    stack.ask(data=PICTURE[:100], headers={"Content-Type": "image/png"})
    stack.ask(data=PICTURE, headers={"Content-Type": "text/plain"})
    stack.ask(data={"image": PICTURE_BASE64})
    stack.ask(json={"image": f"data:image/png;base64,{PICTURE_BASE64}"})
    stack.ask(json={"image": PICTURE_BASE64, "explain": "raw"})
    stack.ask(json={"instances": [{"image": PICTURE_BASE64}, {"image": PICTURE_BASE64[:81]}, {"image": "%"}]})
    stack.ask(json={PICTURE_BASE64: PICTURE_BASE64})
    stack.ask(data='{"image": "' + PICTURE_BASE64, headers={"Content-Type": "application/json"})
    stack.ask(data=PICTURE * (MAX_BODY_BYTES // len(PICTURE) + 1), headers={"Content-Type": "image/png"})


def urls(stack: Logged) -> None:
    host = f"127.0.0.1:{stack.host.port}"
    paths = ("picture", "missing", "redirect", "redirect-with-password", "redirect-inside", "redirect-nowhere")
    for path in (*paths, "endless", "huge", "broken-headers", "no-http", "cut", "never"):
        stack.ask(json={"url": f"http://{host}/{path}?sig={PICTURE_QUERY}"})
    wrong = (
        f"http://user:{PASSWORD}@{host}/picture",
        f"http://user:{PASSWORD}@[broken/picture?sig={PICTURE_QUERY}",
        f"https://{host}/picture?sig={PICTURE_QUERY}",
        f"http://127.0.0.1:1/picture?sig={PICTURE_QUERY}",
        f"http://10.0.0.1/picture?sig={PICTURE_QUERY}",
        f"http://nowhere.invalid/picture?sig={PICTURE_QUERY}",
        f"ftp://{host}/picture?sig={PICTURE_QUERY}",
        f"http://{host}/" + "x" * 3000 + f"?sig={PICTURE_QUERY}",
    )
    for url in wrong:
        stack.ask(json={"url": url})
    stack.ask(json={"instances": [{"url": url} for url in (*wrong, f"http://{host}/never?sig={PICTURE_QUERY}")]})


def other_paths(stack: Logged) -> None:
    for path in ("/", "/docs", "/readyz", "/metrics", "/api/v1/models", "/api/v1/models/digits", "/nothing"):
        stack.ask(path, method="GET")
    stack.ask("/api/v1/models/none/predict", data=PICTURE)
    stack.ask("/livez", method="DELETE")


def wrong_keys(stack: Logged) -> None:
    stack.ask(key=BEARER, data=PICTURE)
    stack.ask(key=f"{KEY}{BEARER}", data=PICTURE)
    stack.ask(data=PICTURE, headers={"Authorization": f"Basic {BEARER}"})
    stack.ask(data=PICTURE, headers={"Authorization": "", "X-API-Key": HEADER_KEY})


def what_nginx_refuses(stack: Logged) -> None:
    for line in (f"BREW /?api_key={QUERY} HTTP/1.1", f"GET /?api_key={QUERY} HTTP/9.9", f"GET ?api_key={QUERY}"):
        stack.raw(f"{line}\r\nHost: localhost\r\n\r\n".encode())
    stack.raw(f"GET /?api_key={QUERY}{'x' * 9000} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    start = f"GET /?api_key={QUERY} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {BEARER}"
    stack.raw(f"{start}{'x' * 9000}\r\n\r\n".encode())
    stack.raw(f"{start}\r\nX-API-Key : {HEADER_KEY}\r\nbroken {HEADER_KEY}\r\n\r\n".encode())
    stack.raw(f"{start}\r\nTransfer-Encoding: {HEADER_KEY}\r\n\r\n".encode())


def without_a_model_server(stack: Logged) -> None:
    stack.stack.end("model-server", signal.SIGKILL)
    stack.ask(data=PICTURE, headers={"Content-Type": "image/png"})


def without_a_gateway(stack: Logged) -> None:
    stack.stack.end("gateway", signal.SIGTERM)
    url = f"{stack.stack.url}{PREDICT}?api_key={QUERY}"
    response = requests.post(url, data=PICTURE, headers={"X-API-Key": HEADER_KEY}, timeout=30)
    assert response.status_code == 503
    stack.stack.start_gateway()
    until(lambda: answers(f"{stack.stack.url}/readyz"), START_S, "stack ready")


PIECES = {PICTURE_BASE64[start : start + 40] for start in range(0, len(PICTURE_BASE64) - 40, 20)}
SECRETS = {*WORDS, KEY.partition(".")[2], *PIECES, "IHDR"}  # the last is in every PNG as it is
WAYS = [uploads, urls, other_paths, wrong_keys, what_nginx_refuses, without_a_gateway, without_a_model_server]


@pytest.mark.parametrize("way", WAYS)
def test_no_log_holds_pictures_keys_or_what_urls_keep_to_themselves(logged: Logged, way: Callable[[Logged], None]):
    way(logged)
    assert [line[:1000] for line in logged.text().splitlines() if any(secret in line for secret in SECRETS)] == []


def test_it_was_asked_in_every_way(logged: Logged):
    assert {200, 400, 401, 404, 405, 413, 415, 422, 503, 504} <= logged.statuses


def test_the_logs_were_those_of_all_three_and_tell_what_was_asked(logged: Logged):
    logged.ask(data=PICTURE, headers={"Content-Type": "image/png"})
    names = {path.name for path in logged.stack.options.logs.iterdir()}
    assert {"nginx.log", "gateway.log", "model-server.log"} <= names
    for name in ("nginx.log", "gateway.log"):
        path = logged.stack.options.logs / name
        until(lambda path=path: PREDICT in path.read_text(encoding="utf-8"), PATIENCE_S, "the request's line")
    assert '"level": "debug"' in logged.text()
