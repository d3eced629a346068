"""No log contains images, keys, or the parts of URLs beside the path, not even at level debug."""

import base64
import contextlib
import json
import re
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
from tools.committed_models import golden_images
from tools.local_stack import LocalStack

ROOT = Path(__file__).parents[3]
GOLDEN = next(golden_images("digits").glob("*.png")).read_bytes()
PREDICT = "/api/v1/models/digits/predict"
MAX_BODY_BYTES = 200_000
FETCH_DEADLINE_S = 1
PATIENCE_S = 30
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

pytestmark = pytest.mark.in_order  # a test checks the outcomes of all requests before it

# Each place that could leak has a separate word, so that a failure shows which one did.
QUERY = "secret-of-the-query"
IMAGE_QUERY = "secret-of-an-image-query"
PASSWORD = "secret-password-of-a-url"
LOCATION = "secret-of-a-redirect"
BEARER = "secret-bearer"
HEADER_KEY = "secret-header-key"
COOKIE = "secret-cookie"
COMMENT = "words-in-an-image"
WORDS = (QUERY, IMAGE_QUERY, PASSWORD, LOCATION, BEARER, HEADER_KEY, COOKIE, COMMENT)
KEY = make_key("camera-1")


def with_comment(png: bytes) -> bytes:
    """Add a comment to a PNG: a chunk tEXt (RFC 2083 section 4.2.7) before the final chunk IEND."""
    chunk = b"tEXtComment\0" + COMMENT.encode()
    return png[:-12] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[-12:]


IMAGE = with_comment(GOLDEN)
IMAGE_BASE64 = base64.b64encode(IMAGE).decode()


def serve_image_or_fault(head: str, send: Send) -> None:
    """Respond to a path with an image or a fault."""
    path = head.split()[1].partition("?")[0]
    if path == "/never":
        time.sleep(3 * FETCH_DEADLINE_S)  # the client has disconnected by then
    elif path == "/broken-headers":
        send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nno colon here\r\n: no name\r\n\r\nhello")
    elif path == "/no-http":
        send(b"hello\r\n\r\n")
    elif path == "/cut":
        send(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello")
    else:
        {
            "/picture": answer(IMAGE),
            "/missing": answer(status="404 Not Found"),
            "/redirect": redirect(f"/picture?sig={LOCATION}"),
            "/redirect-with-password": redirect(f"http://user:{LOCATION}@127.0.0.1/"),
            "/redirect-inside": redirect(f"http://10.0.0.1/?sig={LOCATION}"),
            "/redirect-nowhere": redirect(f"http://[broken/?sig={LOCATION}"),
            "/endless": redirect(f"/endless?sig={LOCATION}"),
            "/huge": answer(b"x" * (MAX_BODY_BYTES + 1)),
        }[path](head, send)


class LoggedStack:
    """A whole stack that requires keys, and its logs."""

    def __init__(self, stack: LocalStack, host: RawServer) -> None:
        self.stack = stack
        self.host = host
        self.statuses: set[int] = set()

    def send(self, path: str = PREDICT, *, method: str = "POST", key: str = KEY, **options: object) -> None:
        """Send a request, and send it again with a key in the query, which is refused."""
        headers = {"Authorization": f"Bearer {key}", "Cookie": f"session={COOKIE}", **options.pop("headers", {})}
        separator = "&" if "?" in path else "?"
        for target in (path, f"{path}{separator}api_key={QUERY}"):
            response = requests.request(method, self.stack.url + target, headers=headers, timeout=30, **options)
            self.statuses.add(response.status_code)

    def send_bytes(self, content: bytes) -> None:
        """Send bytes to nginx, and read until it closes the connection."""
        address = ("127.0.0.1", self.stack.options.port)
        # nginx resets the connection if it closes it before it has read the whole request.
        with socket.create_connection(address, timeout=30) as connection, contextlib.suppress(ConnectionError):
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

    def text(self) -> str:
        return "".join(path.read_text(encoding="utf-8") for path in self.stack.options.logs.iterdir())


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoggedStack]:
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
        RawServer(serve_image_or_fault) as host,
        LocalStack(tmp_path_factory.mktemp("logged"), environment=settings) as stack,
    ):
        yield LoggedStack(stack.start(), host)


def uploads(stack: LoggedStack) -> None:
    stack.send(files={"image": ("holiday.png", IMAGE)})
    stack.send(files=[("image", IMAGE), ("image", IMAGE), ("image", IMAGE[:100])])
    stack.send(data=IMAGE, headers={"Content-Type": "image/png"})
    stack.send(data=IMAGE[:100], headers={"Content-Type": "image/png"})
    stack.send(data=IMAGE, headers={"Content-Type": "text/plain"})
    stack.send(data={"image": IMAGE_BASE64})
    stack.send(json={"image": f"data:image/png;base64,{IMAGE_BASE64}"})
    stack.send(json={"image": IMAGE_BASE64, "explain": "raw"})
    stack.send(json={"instances": [{"image": IMAGE_BASE64}, {"image": IMAGE_BASE64[:81]}, {"image": "%"}]})
    stack.send(json={IMAGE_BASE64: IMAGE_BASE64})
    stack.send(data='{"image": "' + IMAGE_BASE64, headers={"Content-Type": "application/json"})
    stack.send(data=IMAGE * (MAX_BODY_BYTES // len(IMAGE) + 1), headers={"Content-Type": "image/png"})


def urls(stack: LoggedStack) -> None:
    host = f"127.0.0.1:{stack.host.port}"
    paths = ("picture", "missing", "redirect", "redirect-with-password", "redirect-inside", "redirect-nowhere")
    for path in (*paths, "endless", "huge", "broken-headers", "no-http", "cut", "never"):
        stack.send(json={"url": f"http://{host}/{path}?sig={IMAGE_QUERY}"})
    wrong = (
        f"http://user:{PASSWORD}@{host}/picture",
        f"http://user:{PASSWORD}@[broken/picture?sig={IMAGE_QUERY}",
        f"https://{host}/picture?sig={IMAGE_QUERY}",
        f"http://127.0.0.1:1/picture?sig={IMAGE_QUERY}",
        f"http://10.0.0.1/picture?sig={IMAGE_QUERY}",
        f"http://nowhere.invalid/picture?sig={IMAGE_QUERY}",
        f"ftp://{host}/picture?sig={IMAGE_QUERY}",
        f"http://{host}/" + "x" * 3000 + f"?sig={IMAGE_QUERY}",
    )
    for url in wrong:
        stack.send(json={"url": url})
    stack.send(json={"instances": [{"url": url} for url in (*wrong, f"http://{host}/never?sig={IMAGE_QUERY}")]})


def other_paths(stack: LoggedStack) -> None:
    for path in ("/", "/docs", "/readyz", "/metrics", "/api/v1/models", "/api/v1/models/digits", "/nothing"):
        stack.send(path, method="GET")
    stack.send("/api/v1/models/none/predict", data=IMAGE)
    stack.send("/livez", method="DELETE")


def wrong_keys(stack: LoggedStack) -> None:
    stack.send(key=BEARER, data=IMAGE)
    stack.send(key=f"{KEY}{BEARER}", data=IMAGE)
    stack.send(data=IMAGE, headers={"Authorization": f"Basic {BEARER}"})
    stack.send(data=IMAGE, headers={"Authorization": "", "X-API-Key": HEADER_KEY})


def requests_that_nginx_refuses(stack: LoggedStack) -> None:
    for line in (f"BREW /?api_key={QUERY} HTTP/1.1", f"GET /?api_key={QUERY} HTTP/9.9", f"GET ?api_key={QUERY}"):
        stack.send_bytes(f"{line}\r\nHost: localhost\r\n\r\n".encode())
    stack.send_bytes(f"GET /?api_key={QUERY}{'x' * 9000} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    start = f"GET /?api_key={QUERY} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {BEARER}"
    stack.send_bytes(f"{start}{'x' * 9000}\r\n\r\n".encode())
    stack.send_bytes(f"{start}\r\nX-API-Key : {HEADER_KEY}\r\nbroken {HEADER_KEY}\r\n\r\n".encode())
    stack.send_bytes(f"{start}\r\nTransfer-Encoding: {HEADER_KEY}\r\n\r\n".encode())


def without_a_model_server(stack: LoggedStack) -> None:
    stack.stack.end("model-server", signal.SIGKILL)
    stack.send(data=IMAGE, headers={"Content-Type": "image/png"})
    stack.stack.start_model_server()
    until(lambda: answers(f"{stack.stack.url}/readyz"), START_S, "stack ready")


def without_a_gateway(stack: LoggedStack) -> None:
    stack.stack.end("gateway", signal.SIGTERM)
    url = f"{stack.stack.url}{PREDICT}?api_key={QUERY}"
    response = requests.post(url, data=IMAGE, headers={"X-API-Key": HEADER_KEY}, timeout=30)
    assert response.status_code == 503
    stack.stack.start_gateway()
    until(lambda: answers(f"{stack.stack.url}/readyz"), START_S, "stack ready")


PIECES = {IMAGE_BASE64[start : start + 40] for start in range(0, len(IMAGE_BASE64) - 40, 20)}
SECRETS = {*WORDS, KEY.partition(".")[2], *PIECES, "IHDR"}  # every PNG contains IHDR
REQUESTS = [
    uploads,
    urls,
    other_paths,
    wrong_keys,
    requests_that_nginx_refuses,
    without_a_gateway,
    without_a_model_server,
]


@pytest.mark.parametrize("send_requests", REQUESTS)
def test_no_log_contains_images_keys_or_queries(logged: LoggedStack, send_requests: Callable[[LoggedStack], None]):
    send_requests(logged)

    lines = logged.text().splitlines()
    assert lines
    assert [line[:1000] for line in lines if any(secret in line for secret in SECRETS)] == []


def test_the_requests_had_every_outcome(logged: LoggedStack):
    assert {200, 400, 401, 404, 405, 413, 415, 422, 503, 504} <= logged.statuses


LIBRARIES = "INFO: Created TensorFlow Lite XNNPACK delegate for CPU."
"""What a library of the model server prints itself."""


def test_all_programs_log_lines_of_one_form(logged: LoggedStack):
    logged.send(data=IMAGE, headers={"Content-Type": "image/png"})
    logs = {path.stem: path.read_text(encoding="utf-8") for path in logged.stack.options.logs.iterdir()}

    assert logs.keys() >= {"nginx", "gateway", "model-server"}
    for name, text in logs.items():
        lines = [json.loads(line) for line in text.splitlines() if line != LIBRARIES]
        assert lines, name
        for line in lines:
            assert line.keys() >= {"timestamp", "level", "logger", "event"}, line
            assert TIMESTAMP.fullmatch(line["timestamp"]), line
            if line["event"] == "request":
                assert line.keys() >= {"request_id", "client", "method", "path", "status", "duration_ms"}, line


def test_all_three_programs_log_and_requests_are_in_the_logs(logged: LoggedStack):
    logged.send(data=IMAGE, headers={"Content-Type": "image/png"})

    names = {path.name for path in logged.stack.options.logs.iterdir()}
    assert {"nginx.log", "gateway.log", "model-server.log"} <= names
    for name in ("nginx.log", "gateway.log"):
        path = logged.stack.options.logs / name
        until(lambda path=path: PREDICT in path.read_text(encoding="utf-8"), PATIENCE_S, "the request's line")
    assert '"level": "debug"' in logged.text()
