"""Fuzz target: the whole application answers any request, with a problem document if it refuses it.

The first line is the method, path and query; then come headers, an empty line and the body.
"""

import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from gateway.app import create_app
from gateway.models.configured import ConfiguredModels
from gateway.services import make_fetcher
from gateway.settings import Settings
from tests.support.fake_model_server import FakeModelServer, classifier, constant
from tests.support.wsgi_requests import environ
from vision.card import Card, InputSpec

MAX_BYTES = 100_000
CARD = Card(name="pets", labels=("cat", "dog", "fish"), input=InputSpec(height=4, width=4))
SERVER = FakeModelServer()
SERVER.swap("pets", 1, classifier(CARD, constant(0.2, 0.7, 0.1)))
# Images but the golden one are refused by their header: the target `decode` decodes them.
SETTINGS = Settings(
    cards_dir=Path(tempfile.gettempdir()),
    cors_origins=("https://a.example",),
    fetch_enabled=False,
    max_body_bytes=MAX_BYTES,
    max_pixels=CARD.input.height * CARD.input.width,
    trusted_proxies=1,
)
APP = create_app(
    SETTINGS,
    server=SERVER,
    fetcher=make_fetcher(SETTINGS),
    configured_models=ConfiguredModels.from_names(["pets"]),
)


def one_input(data: bytes) -> None:
    head, _, body = data.partition(b"\n\n")
    request_line, *lines = head.decode("latin-1").split("\n")
    method, _, target = request_line.partition(" ")
    path, _, query = target.partition("?")
    variables = {"REQUEST_METHOD": method, "PATH_INFO": f"/{path.lstrip('/')}", "QUERY_STRING": query}
    for line in lines:
        name, _, value = line.partition(":")
        key = name.upper().replace("-", "_")
        variables[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value.strip()
    status, headers, answer = send(environ(body, chunked="HTTP_TRANSFER_ENCODING" in variables, **variables))
    assert status < 500, (status, answer)
    assert headers["X-Request-ID"]
    if status >= 400 and method != "HEAD":
        check_refusal(status, headers["Content-Type"], json.loads(answer))


def check_refusal(status: int, content_type: str, document: dict[str, Any]) -> None:
    """Check that a refusal is a problem document or, of another protocol, its text alone."""
    if document.keys() == {"error"}:
        assert content_type == "application/json"
        assert document["error"]
    else:
        assert content_type == "application/problem+json"
        assert document["status"] == status


def send(variables: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of the response."""
    started: list[Any] = []
    server = {
        "REMOTE_ADDR": "127.0.0.1",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.errors": sys.stderr,
        "wsgi.multiprocess": False,
        "wsgi.multithread": False,
        "wsgi.run_once": False,
        "wsgi.url_scheme": "http",
        "wsgi.version": (1, 0),
    }
    with capture_logs():
        response = APP.wsgi_app(
            {**server, **variables}, lambda *arguments: started.extend(arguments) or io.BytesIO().write
        )
        try:
            answer = b"".join(response)
        finally:
            response.close()
    status, headers, *_ = started
    return int(status.split(" ")[0]), dict(headers), answer
