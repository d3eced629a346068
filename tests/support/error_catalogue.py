"""Provoke the gateway's errors, some in many ways, and list them with their texts for reading.

    python -m tests.support.error_catalogue             # status, title, detail and field of each
    python -m tests.support.error_catalogue 413 url     # only those that have one of these words in their line

Each is a request to an application over a model server in memory; image URLs lead to a server on the loopback. The
refusals of gunicorn and nginx come from where these programs take them.
"""

import base64
import errno
import io
import json
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import structlog
from flask import Flask

from gateway.app import create_app
from gateway.errors import GatewayError, ModelUnavailableError
from gateway.fetching.destinations import Destinations
from gateway.fetching.fetch import UrlFetcher
from gateway.fetching.fetcher import DisabledFetcher
from gateway.model_client.tfserving import DETAILS as MODEL_SERVER_DETAILS
from gateway.models.configured import ConfiguredModels
from gateway.runtime import refusals
from gateway.settings import Settings
from gateway.sizes import exceeds
from image_gateway_client.keys import hash_key, make_key
from tests.support.fake_model_server import FakeModelServer, FakeVersion, classifier, constant
from tests.support.fetching import fetch_limits
from tests.support.raw_server import RawServer, Script, Send, answer, redirect
from tools import document, nginx
from vision.card import Card, InputSpec

PREDICT = "/api/v1/predict"
MAX_BODY_BYTES = 2_000_000
MAX_FETCHED_BYTES = 20_000
CARD = Card(name="pets", labels=("cat", "dog", "fish"), input=InputSpec(height=4, width=4, color="GRAY"))
NOISE = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
PNG, JPEG, LARGE = (
    cv2.imencode(suffix, pixels)[1].tobytes()
    for suffix, pixels in ((".png", NOISE), (".jpg", NOISE), (".png", np.zeros((1000, 2000), np.uint8)))
)
KEY = make_key("camera")


@dataclass(frozen=True, slots=True)
class Case:
    """A request that fails.

    Attributes:
        name: What is wrong with it.
        arguments: Arguments of Flask's test client, beginning with `POST /api/v1/predict` and no body.
        settings: Settings of the application that differ from those of the others.
        server: Breaks the model server first.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    server: Callable[[FakeModelServer], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Entry:
    """What a caller of a failed request reads."""

    name: str
    status: int
    type: str
    title: str
    detail: str
    field: str

    def __str__(self) -> str:
        about = f"\n    field: {self.field}" if self.field else ""
        return f"{self.name}\n    {self.status} {self.title} ({self.type})\n    {self.detail}{about}"


def sends(body: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    return {"data": body, "content_type": media_type, **more}


def sends_json(document: object) -> dict[str, Any]:
    return sends(json.dumps(document).encode(), "application/json")


def sends_text(text: str, media_type: str = "application/json") -> dict[str, Any]:
    return sends(text.encode(), media_type)


def sends_form(**fields: Any) -> dict[str, Any]:
    parts = {
        name: (io.BytesIO(value), "photo.jpg") if isinstance(value, bytes) else value for name, value in fields.items()
    }
    return {"data": parts, "content_type": "multipart/form-data"}


def asks(method: str, path: str) -> dict[str, Any]:
    return {"method": method, "path": path}


def with_query(query: str) -> dict[str, Any]:
    return sends(PNG, "image/png", query_string=query)


def with_headers(**headers: str) -> dict[str, Any]:
    return sends(PNG, "image/png", headers={name.replace("_", "-"): value for name, value in headers.items()})


def fails(method: str, kind: type[GatewayError]) -> Callable[[FakeModelServer], None]:
    """Let a method of the model server fail as its client reports it."""

    def fail(server: FakeModelServer) -> None:
        server.failures[method] = kind(MODEL_SERVER_DETAILS[kind])

    return fail


def raises(error: BaseException) -> Callable[[FakeModelServer], None]:
    """Let a fault of the gateway occur when the model server is called."""

    def fail() -> None:
        raise error

    return lambda server: server.before.update(predict=fail)


def is_away(server: FakeModelServer) -> None:
    """Let every call fail as if nothing listened."""
    for method in ("version_statuses", "predict"):
        fails(method, ModelUnavailableError)(server)


ENCODED = base64.b64encode(PNG).decode()

ROUTES = [
    Case("a misspelt path", asks("POST", "/api/v1/predct")),
    Case("a path without its prefix", asks("POST", "/predict")),
    Case("a path with half its prefix", asks("POST", "/v1/predict")),
    Case("a path like no other", asks("GET", "/nothing/here")),
    Case("GET of a prediction", asks("GET", PREDICT)),
    Case("POST of a model", asks("POST", "/api/v1/models/pets")),
    Case("DELETE of a page", asks("DELETE", "/docs")),
    Case("an unknown problem", asks("GET", "/problems/body-to-large")),
    Case("an unknown model", sends(PNG, "image/png", path="/api/v1/models/cats/predict")),
    Case("an unknown version", sends(PNG, "image/png", path="/api/v1/models/pets/versions/7/predict")),
    Case("an unknown label", sends(PNG, "image/png", path="/api/v1/models/pets/labels/stable/predict")),
]

BODIES = [
    Case("no body"),
    Case("an empty image", sends(b"", "image/png")),
    Case("no media type", {"data": b"hello"}),
    Case("text", sends(b"hello", "text/plain")),
    Case("text as an image", sends(b"hello world, this is no image", "image/png")),
    Case("an HTML page as an image", sends(b"<!doctype html><html></html>", "image/png")),
    Case("a PDF as a file", sends_form(image=b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")),
    Case("a form without a boundary", sends(b"--x\r\n\r\n", "multipart/form-data")),
    Case("a form with another boundary", sends(b"--x\r\n\r\na\r\n--x--", "multipart/form-data; boundary=y")),
    Case(
        "a form that is cut off",
        sends(b'--x\r\nContent-Disposition: form-data; name="image"', "multipart/form-data; boundary=x"),
    ),
    Case(
        "a part without a name",
        sends(
            b'--x\r\nContent-Disposition: form-data; filename="a"\r\n\r\na\r\n--x--', "multipart/form-data; boundary=x"
        ),
    ),
    Case("a form with a misspelt part", sends_form(imge=PNG)),
    Case("a PDF as a URL-encoded form", sends(b"%PDF-1.7\n&&", "application/x-www-form-urlencoded")),
    Case("a multipart form as JSON", sends(b"--x\r\nContent-Disposition: form-data\r\n\r\n[[[[", "application/json")),
    Case("a URL without a field", sends_text("http://example.com/a.jpg", "application/x-www-form-urlencoded")),
    Case("a misspelt field", sends_text("img=AAAA", "application/x-www-form-urlencoded")),
    Case("an empty form", sends(b"--x--\r\n", "multipart/form-data; boundary=x")),
    Case(
        "no file chosen",
        sends(
            b'--x\r\nContent-Disposition: form-data; name="image"; filename=""\r\n\r\n\r\n--x--',
            "multipart/form-data; boundary=x",
        ),
    ),
    Case(
        "a last boundary behind the data",
        sends(
            b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\naaaa--x--',
            "multipart/form-data; boundary=x",
        ),
    ),
    Case("a file under the name of a URL", sends_form(url=PNG)),
    Case("a file as an option", sends_form(image=PNG, top_k=PNG)),
    Case("an empty file", sends_form(image=b"")),
    Case("text instead of a file", sends_form(image="photo.jpg!")),
    Case("files of different names", sends_form(image=PNG, file=PNG)),
    Case("too many parts", sends_form(**{f"field_{number}": "x" for number in range(50)})),
    Case("the path of a file in a form", sends_text("image=@photo.jpg", "application/x-www-form-urlencoded")),
    Case("a long boundary", sends(b"x", f"multipart/form-data; boundary={'x' * 300}")),
    Case("a gzip body", sends(PNG, "application/json", headers={"Content-Encoding": "gzip"})),
    Case("a body over the limit", sends(bytes(2 * MAX_BODY_BYTES), "image/png")),
    Case("an image of too many pixels", sends(LARGE, "image/png")),
    Case("a truncated PNG", sends(PNG[:200], "image/png")),
    Case("a truncated JPEG", sends_form(image=JPEG[: len(JPEG) // 2])),
    Case("too many images", sends_json({"instances": [{"image": ENCODED}] * 5})),
]

JSONS = [
    Case("JSON that is not", sends_text("{image: 1}")),
    Case("JSON that is cut off", sends_text('{"image": "abc')),
    Case("single quotes", sends_text("{'image': 'abc'}")),
    Case("a trailing comma", sends_text('{"top_k": 1,}')),
    Case("JSON in Latin-1", sends(b'{"image": "\xe9"}', "application/json")),
    Case("a list", sends_json([1])),
    Case("a string", sends_json("image")),
    Case("nothing but braces", sends_json({})),
    Case("a deep document", sends_text('{"url": ' + "[" * 100)),
    Case("many values", sends_json({"instances": [[]] * 20_000})),
    Case("an unknown member", sends_json({"img": ENCODED})),
    Case("a number for an image", sends_json({"image": 5})),
    Case("not base64", sends_json({"image": "!!!"})),
    Case("base64 as a URL", sends_json({"url": ENCODED})),
    Case("base64 that is cut off", sends_json({"image": ENCODED[:41]})),
    Case("base64 that was shortened", sends_json({"image": f"{ENCODED[:40]}..."})),
    Case(
        "a prefix that is there twice", sends_json({"image": f"data:image/png;base64,data:image/png;base64,{ENCODED}"})
    ),
    Case("bytes read as text", sends_json({"image": PNG.decode("latin-1")})),
    Case("hexadecimal digits", sends_json({"image": f"0x{JPEG.hex()}00"})),
    Case("a host without a scheme", sends_json({"image": "www.example.com/a.jpg"})),
    Case("a description of an object", sends_json({"image": "<_io.BufferedReader name='a.jpg'>"})),
    Case("quotes of a shell", sends_text(r"{\"url\": \"x\"}")),
    Case("base64 of text", sends_json({"image": "aGVsbG8gd29ybGQsIGhlbGxv"})),
    Case("two images", sends_json({"image": ENCODED, "url": "http://example.com/"})),
    Case("instances and an image", sends_json({"instances": [{"image": ENCODED}], "image": ENCODED})),
    Case("no instances", sends_json({"instances": []})),
    Case("instances that are not a list", sends_json({"instances": "a"})),
    Case("a string among the instances", sends_json({"instances": ["a"]})),
    Case("an empty instance", sends_json({"instances": [{}]})),
    Case("an instance with an unknown member", sends_json({"instances": [{"b64": ENCODED}]})),
]

OPTIONS = [
    Case("top_k of zero", with_query("top_k=0")),
    Case("top_k in words", with_query("top_k=five")),
    Case("a threshold above 1", with_query("threshold=50")),
    Case("an unknown value of explain", with_query("explain=yes")),
    Case("an unknown query parameter", with_query("topk=3")),
    Case("a boolean for a number", sends_json({"image": ENCODED, "top_k": True})),
    Case("an explanation that the model does not have", with_query("explain=true")),
    Case("a timeout in words", with_headers(X_Request_Timeout="soon")),
    Case("a timeout that is over", with_headers(X_Request_Timeout="0.0001")),
]

ACCESS = [
    Case("no key", with_headers(), {"api_keys": (hash_key("camera", KEY),)}),
    Case("another key", with_headers(X_API_Key="camera.wrong"), {"api_keys": (hash_key("camera", KEY),)}),
    Case("a request beyond the limit", with_headers(), {"rate_limit": "1/hour"}),
    Case("a batch beyond the limit", sends_json({"instances": [{"image": ENCODED}] * 3}), {"rate_limit": "2/hour"}),
    Case(
        "a request that cannot be counted",
        with_headers(),
        {
            "rate_limit": "1/hour",
            "rate_limit_storage": "redis",
            "rate_limit_fallback": "deny",
            "redis_url": "redis://127.0.0.1:1/0",
        },
    ),
]  # fmt: skip

MODELS = [
    Case("a model server that is away", with_headers(), server=is_away),
    Case("a model that is not ready", asks("GET", "/readyz"), server=is_away),
    *(
        Case(f"a call that fails: {kind.__name__}", with_headers(), server=fails("predict", kind))
        for kind in MODEL_SERVER_DETAILS
    ),
    Case("a model without its signature", sends(PNG, "image/png", path="/api/v1/models/broken/predict")),
    Case("scores that are not numbers", sends(PNG, "image/png", path="/api/v1/models/odd/predict")),
    Case("a fault of the gateway", with_headers(), server=raises(ZeroDivisionError("secret"))),
    Case("no more files", with_headers(), server=raises(OSError(errno.EMFILE, "Too many open files"))),
]


def garbage(_: str, send: Send) -> None:
    send(b"SSH-2.0-OpenSSH_9.7\r\n")


def latin1_host(_: str, send: Send) -> None:
    send(b"HTTP/1.1 302 Found\r\nLocation: http://a\xff/\r\n\r\n")


ARCHIVE = io.BytesIO()
with zipfile.ZipFile(ARCHIVE, "w") as _archive:
    _archive.writestr("a.png", PNG)
OUTSIDE = ARCHIVE.getvalue().replace(b"a.png", b"/.png")
JOBS_PATH = "/api/v1/jobs"


def sends_job(body: bytes, media_type: str = "application/zip", query: str = "", **more: Any) -> dict[str, Any]:
    """Return the arguments of a request for a job."""
    return sends(body, media_type, path=f"{JOBS_PATH}{query}", **more)


JOBS = [
    Case(name, arguments, {"jobs": "sqlite", **settings})
    for name, arguments, settings in [
        ("a job that is not an archive", sends_job(b"hello"), {}),
        ("a job that is cut off", sends_job(ARCHIVE.getvalue()[:-30]), {}),
        ("a job whose entry leads out of the archive", sends_job(OUTSIDE), {}),
        ("a job of text", sends_job(b"hello", "text/plain"), {}),
        ("a job without URLs", sends_job(b"{}", "application/json"), {}),
        ("a job with half a webhook", sends_job(ARCHIVE.getvalue(), query="?webhook_url=https://example.com"), {}),
        ("a job with a version in words", sends_job(ARCHIVE.getvalue(), query="?version=new"), {}),
        ("a job that is too large", sends_job(bytes(2000)), {"jobs_max_bytes": 1024}),
        ("a job of too many images", sends_job(b'{"urls": ["a", "b"]}', "application/json"), {"jobs_max_images": 1}),
        ("one job more", sends_job(ARCHIVE.getvalue()), {"jobs_max_unfinished": 1}),
        ("no space for jobs", sends_job(ARCHIVE.getvalue()), {"jobs_max_stored_bytes": 1024}),
        ("an idempotency key with a space", sends_job(ARCHIVE.getvalue(), headers={"Idempotency-Key": "a key"}), {}),
        ("a job that does not exist", asks("GET", f"{JOBS_PATH}/{'0' * 32}"), {}),
    ]
]
JOBS.append(Case("jobs are switched off", asks("POST", JOBS_PATH)))

RESPONSES: dict[str, Script] = {
    "/missing": answer(status="404 Not Found"),
    "/private": answer(status="403 Forbidden"),
    "/busy": answer(status="503 Service Unavailable"),
    "/teapot": answer(status="418 I'm a teapot"),
    "/login": answer(b"<!doctype html><html>" + b" " * 12_000, headers=["Content-Type: text/html; charset=utf-8"]),
    "/error.json": answer(b'{"message": "no such file"}', headers=["Content-Type: application/json"]),
    "/words": answer(b"not an image", headers=["Content-Type: text/plain"]),
    "/gzip": answer(PNG, headers=["Content-Encoding: gzip"]),
    "/large": answer(bytes(2 * MAX_FETCHED_BYTES)),
    "/cut": answer(PNG[:100]),
    "/loop": redirect("/loop"),
    "/ftp": redirect("ftp://example.com/"),
    "/nowhere": redirect("http://[::1/"),
    "/latin1": latin1_host,
    "/garbage": garbage,
}
"""What the server on the loopback answers, by path."""

REFUSED_URLS = {
    "a path instead of a URL": "photo.jpg",
    "a file URL": "file:///etc/passwd",
    "an S3 URL": "s3://bucket/photo.jpg",
    "a URL without a host": "http:///photo.jpg",
    "a URL with a password": "http://user:secret@example.com/photo.jpg",
    "a URL with a port in words": "http://example.com:web/photo.jpg",
    "a URL with half an address": "http://[::1/photo.jpg",
    "a URL with half a character": "http://example.com/\ud800",
    "a URL that is too long": "http://example.com/" + "x" * 9000,
    "a private address": "http://192.168.0.1/photo.jpg",
    "an unusual port": "http://1.1.1.1:22/photo.jpg",
    "a host that cannot exist": "http://a b/photo.jpg",
}
"""URLs that are refused before anything is requested."""


TOO_LARGE = f"{exceeds('The body', 11_300_000, 10_485_760)} Send a smaller image."
"""What nginx makes of the size of a body."""


def catalogue(folder: Path) -> Iterator[Entry]:
    """Provoke all errors.

    Args:
        folder: An empty folder, for the applications.
    """
    script: Script = lambda head, send: RESPONSES[head.split()[1]](head, send)  # noqa: E731
    with RawServer(script) as host, quiet():
        urls = [Case(f"a URL: {path}", sends_json({"url": host.url(path)})) for path in RESPONSES]
        urls += [Case(name, sends_json({"url": url})) for name, url in REFUSED_URLS.items()]
        urls.append(Case("URLs are switched off", sends_json({"url": "http://example.com/"}), {"fetch_enabled": False}))
        urls.append(Case("a closed port", sends_json({"url": "http://127.0.0.1:1/"})))
        fetcher = UrlFetcher(Destinations(allowed_hosts=("127.0.0.1",)), fetch_limits(max_bytes=MAX_FETCHED_BYTES))
        for case in [*ROUTES, *BODIES, *JSONS, *OPTIONS, *urls, *ACCESS, *MODELS, *JOBS]:
            yield from provoke(case, fetcher, folder)
    yield from gunicorn_refusals()
    yield from nginx_refusals()


@contextmanager
def quiet() -> Iterator[None]:
    """Write no log."""
    with structlog.testing.capture_logs():
        yield


def provoke(case: Case, fetcher: UrlFetcher, folder: Path) -> Iterator[Entry]:
    """Send the request of a case, twice if its application limits their number, and return its problem or problems."""
    server = FakeModelServer()
    server.swap("pets", 1, classifier(CARD, constant(0.2, 0.7, 0.1)))
    server.swap("odd", 1, classifier(CARD, constant(np.nan, 0.7, 0.1)))
    server.swap("broken", 1, FakeVersion({}, {}))
    app = make_app(case, server, fetcher, folder)
    case.server(server)
    client = app.test_client()
    arguments = {"method": "POST", "path": PREDICT, **case.arguments}
    for _ in range(2 if case.settings.keys() & {"rate_limit", "jobs_max_unfinished"} else 1):
        response = client.open(**arguments)
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            break
    document = response.get_json(force=True)
    problems = [item for item in document.get("results", [document]) if "status" in item and "title" in item]
    assert problems, f"{case.name} was answered with {response.text}"
    yield from (entry(case.name, problem) for problem in problems[:1])


def make_app(case: Case, server: FakeModelServer, fetcher: UrlFetcher, folder: Path) -> Flask:
    """Return an application for one case."""
    settings = Settings(
        max_body_bytes=MAX_BODY_BYTES,
        max_pixels=1_000_000,
        max_images=4,
        models=("pets", "odd", "broken"),
        cards_dir=folder,
        jobs_dir=folder / "jobs",
        **case.settings,
    )
    models = ConfiguredModels(lambda: {name: tuple(server.labels.get(name, ())) for name in settings.models})
    used = fetcher if settings.fetch_enabled else DisabledFetcher()
    return create_app(settings, server=server, fetcher=used, configured_models=models)


def entry(name: str, problem: Mapping[str, Any]) -> Entry:
    return Entry(
        name, problem["status"], problem["type"], problem["title"], problem["detail"], problem.get("field", "")
    )


def gunicorn_refusals() -> Iterator[Entry]:
    """Return the refusals of requests that gunicorn cannot parse."""
    for status in refusals.DETAILS:
        body = refusals.make_response(status, "catalogue").partition(b"\r\n\r\n")[2]
        yield entry(f"gunicorn: {status.value}", json.loads(body))


def nginx_refusals() -> Iterator[Entry]:
    """Return nginx's own problems, as its configuration has them."""
    template = nginx.render({"NGINX_LISTEN": "8080", "NGINX_UPSTREAM": "127.0.0.1:8000", "NGINX_TLS": ""})
    types, titles, details = (document.nginx_map(template, f"problem_{part}") for part in ("type", "title", "detail"))
    for status, text in details.items():
        detail = TOO_LARGE if text == "$too_large" else text
        yield Entry(f"nginx: {status}", int(status), types.get(status, "about:blank"), titles[status], detail, "")


def main(words: list[str]) -> None:
    """Print the catalogue, or the entries that have one of the words."""
    with tempfile.TemporaryDirectory() as folder:
        entries = [
            text for text in map(str, catalogue(Path(folder))) if not words or any(word in text for word in words)
        ]
    sys.stdout.write("\n".join([*entries, "", f"{len(entries)} errors", ""]))


if __name__ == "__main__":
    main(sys.argv[1:])
