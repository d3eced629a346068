"""A small HTTP server with the gateway's API whose limits and failures are set by a test."""

import base64
import contextlib
import email
import email.policy
import json
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

PROBLEM = "application/problem+json"
MANY = 100_000
MODEL = {"name": "pets", "version": 3}
UNREADABLE = {
    "type": "/problems/unreadable-image",
    "title": "The image cannot be decoded",
    "status": 422,
    "detail": "The image is cut off.",
}


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request as the server received it."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    images: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """A response."""

    document: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def problem(status: int, title: str = "Refused", **members: Any) -> Reply:
    """Return a problem."""
    return Reply({"type": "about:blank", "title": title, "status": status, **members}, status)


def busy(status: int = 503, retry_after: str = "0") -> Reply:
    """Return a reply with Retry-After."""
    return Reply({"title": "Busy", "status": status}, status, {"Retry-After": retry_after})


def prediction(image: bytes) -> Mapping[str, Any]:
    """Return a prediction with the first word of an image's bytes as label; `bad` cannot be decoded."""
    label = image.decode().split(" ")[0]
    if label == "bad":
        return UNREADABLE
    best = {"class": label, "class_id": len(label), "score": 0.75}
    return {**best, "predictions": [best, {"class": "else", "class_id": 0, "score": 0.25}]}


class ContractGateway:
    """Serves in separate threads while the context lasts.

    Attributes:
        seen: The requests received so far.
        script: Replies to the next requests, regardless of their content.
        failing: Status of a whole request by an image that it contains.
        max_images: Largest number of images in a request.
        max_bytes: Largest body in bytes.
        turns: Number of further requests that are answered; others wait.
        waiting: Number of requests that wait for their turn.
    """

    def __init__(self) -> None:
        self.seen: list[ReceivedRequest] = []
        self.script: deque[Reply] = deque()
        self.failing: dict[bytes, int] = {}
        self.max_images = 1000
        self.max_bytes = 1_000_000
        self.turns = threading.Semaphore(MANY)
        self.waiting = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def batches(self) -> list[tuple[bytes, ...]]:
        """The images of each request."""
        return [request.images for request in self.seen]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.turns.release(MANY)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, request: ReceivedRequest, size: int, *, single: bool) -> Reply:
        """Return the reply to a request."""
        with self._lock:
            self.waiting += 1
        self.turns.acquire(timeout=30)
        with self._lock:
            self.waiting -= 1
            self.seen.append(request)
            if self.script:
                return self.script.popleft()
        if request.method == "GET":
            return self._get(request.path)
        if size > self.max_bytes:
            return problem(413, "Too many bytes", max_bytes=self.max_bytes)
        if len(request.images) > self.max_images:
            return problem(400, "Too many images")
        for image in request.images:
            if image in self.failing:
                return problem(self.failing[image], "Failed")
        return self._predict(request.images, single=single)

    def _predict(self, images: tuple[bytes, ...], *, single: bool) -> Reply:
        results = [prediction(image) for image in images]
        shared = {"model": MODEL, "request_id": "r-1"}
        if not single:
            return Reply({"results": results, **shared})
        if "class" not in results[0]:
            return Reply({**results[0], "request_id": "r-1"}, results[0]["status"], {"Content-Type": PROBLEM})
        return Reply({**results[0], **shared})

    def _get(self, path: str) -> Reply:
        pets = {
            "name": "pets",
            "default": True,
            "available": True,
            "version": 3,
            "title": "Pets",
            "task": "multiclass",
            "labels": ["cat", "dog"],
        }
        card = {"abstain_below": 0.5, "metrics": {"accuracy": 0.9}, "provenance": {"licence": "Apache-2.0"}}
        versions = [{"version": 3, "state": "AVAILABLE", "labels": ["stable"]}]
        away = {"name": "birds", "default": False, "available": False, "reason": "birds is loading."}
        documents = {
            "/readyz": {"status": "ready", "model": MODEL},
            "/api/v1/models": {"models": [pets, away]},
            "/api/v1/models/pets": {**pets, "versions": versions, "card": card},
        }
        return Reply(documents[path]) if path in documents else problem(404, "Not Found")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = (
                -1
            )  # head and body in one packet; otherwise the second waits for the acknowledgement of the first

            def do_GET(self) -> None:
                self._serve(b"")

            def do_POST(self) -> None:
                self._serve(self.rfile.read(int(self.headers["Content-Length"])))

            def _serve(self, body: bytes) -> None:
                parts = urlsplit(self.path)
                kind = self.headers.get("Content-Type", "")
                images = _images(body, kind) if body else ()
                query = dict(parse_qsl(parts.query))
                request = ReceivedRequest(self.command, parts.path, query, {**self.headers}, images)
                reply = gateway.answer(request, len(body), single=b'{"instances"' not in body[:20] and len(images) == 1)
                text = reply.document if isinstance(reply.document, bytes) else json.dumps(reply.document).encode()
                self.send_response(reply.status)
                kind = "application/json" if reply.status < 400 else PROBLEM
                for name, value in {"Content-Type": kind, **reply.headers, "Content-Length": str(len(text))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            def handle(self) -> None:
                with contextlib.suppress(OSError):  # some tests kill clients during a request
                    super().handle()

            def finish(self) -> None:
                with contextlib.suppress(OSError):
                    super().finish()

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        return Handler


def _images(body: bytes, kind: str) -> tuple[bytes, ...]:
    """Return the images of a request; a URL counts as the bytes after its last slash."""
    if kind.startswith("multipart/"):
        message = email.message_from_bytes(
            b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body, policy=email.policy.HTTP
        )
        parts = list(message.iter_parts())
        assert all(part.get_param("name", header="content-disposition") == "image" for part in parts)
        return tuple(part.get_payload(decode=True) for part in parts)
    if kind == "application/json":
        document = json.loads(body)
        return tuple(
            item["url"].rpartition("/")[2].encode() if "url" in item else base64.b64decode(item["image"])
            for item in document.get("instances", [document])
        )
    return (body,)
