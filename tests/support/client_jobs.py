"""A small HTTP server that keeps the contract of jobs, one image further with each look at a job."""

import email
import email.policy
import io
import json
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from tests.support.contract_gateway import MODEL, Reply, prediction

JOBS = "/api/v1/jobs"


@dataclass
class StoredJob:
    """A job of the server.

    Attributes:
        key: Its idempotency key.
        options: What was asked for.
        items: Name and bytes of each image; a URL counts as the bytes after its last slash.
        processed: The number of images that have a result.
        status: Its status.
    """

    key: str
    options: Mapping[str, Any]
    items: list[tuple[str, bytes]]
    processed: int = 0
    status: str = "queued"


@dataclass
class JobsGateway:
    """Serves in separate threads while the context lasts.

    Attributes:
        jobs: The jobs by id.
        per_look: The number of images that are classified each time a job is looked at.
        missing: Indexes of the images that never get a result.
        broken: The number of further submissions that are stored, but whose connection breaks before the answer.
        requests: Method and path of each request.
        headers: Headers of each request.
    """

    per_look: int = 1_000_000
    missing: frozenset[int] = frozenset()
    broken: int = 0
    jobs: dict[str, StoredJob] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def submit(self, body: bytes, content_type: str, key: str) -> str:
        """Store a job, or find the one with this key; return its id."""
        known = next((name for name, job in self.jobs.items() if job.key == key), None)
        if known is not None:
            return known
        options, items = _read(body, content_type)
        name = f"job-{len(self.jobs)}"
        self.jobs[name] = StoredJob(key, options, items)
        return name

    def look(self, name: str) -> dict[str, Any]:
        """Classify the next images, and return the job."""
        job = self.jobs[name]
        if job.status in {"queued", "running"}:
            job.processed = min(len(job.items), job.processed + self.per_look)
            job.status = "done" if job.processed == len(job.items) else "running"
        return self.describe(name)

    def describe(self, name: str) -> dict[str, Any]:
        """Return the job as it is."""
        job = self.jobs[name]
        failed = sum("class" not in prediction(data) for _, data in job.items[: job.processed])
        document = {
            "id": name,
            "status": job.status,
            "total": len(job.items),
            "answered": job.processed - failed,
            "failed": failed,
            "model": MODEL if job.processed > failed else self._named_model(job),
            "created": "2026-03-04T12:00:00Z",
            "results": f"{JOBS}/{name}/results",
            "request_id": "r-9",
        }
        if "webhook_url" in job.options:
            document["webhook"] = {"url": job.options["webhook_url"], "status": "pending"}
        if job.status == "failed":
            document["problem"] = {"type": "/problems/model-not-found", "title": "The model is gone", "status": 404}
        return document

    def _named_model(self, job: StoredJob) -> Mapping[str, Any]:
        """Return the model before it has answered: the default one has no name yet."""
        return {"name": job.options["model"]} if "model" in job.options else {}

    def results(self, name: str, offset: int, limit: int) -> tuple[bytes, bool]:
        """Return a page of lines, and whether there is more to come."""
        job = self.jobs[name]
        present = [index for index in range(offset, job.processed) if index not in self.missing][:limit]
        lines = [
            json.dumps(
                {"index": index, **({"name": job.items[index][0]} if job.items[index][0] else {})}
                | prediction(job.items[index][1])
            )
            for index in present
        ]
        end = present[-1] + 1 if present else offset
        is_last = end >= (job.processed if job.status == "cancelled" else len(job.items))
        return "".join(f"{line}\n" for line in lines).encode(), not is_last

    def post(self, body: bytes, headers: Mapping[str, str]) -> Reply | None:
        """Answer a submission; None to break the connection."""
        name = self.submit(body, headers["Content-Type"], headers["Idempotency-Key"])
        if self.broken:
            self.broken -= 1
            return None
        return Reply(self.describe(name), 202, {"Location": f"{JOBS}/{name}"})

    def get(self, name: str, part: str, query: Mapping[str, str]) -> Reply:
        """Answer a look at a job or its results."""
        if name not in self.jobs:
            return Reply({"type": "/problems/job-not-found", "title": "There is no such job"}, 404)
        if part != "results":
            return Reply(self.look(name), 200, {"Retry-After": "0"})
        lines, has_more = self.results(name, int(query["offset"]), int(query["limit"]))
        link = {"Link": f'<{JOBS}/{name}/results?offset=0>; rel="next"'} if has_more else {}
        return Reply(lines, 200, {"Content-Type": "application/x-ndjson", **link})

    def delete(self, name: str) -> Reply:
        """Cancel a job that has not ended."""
        job = self.jobs[name]
        job.status = job.status if job.status in {"done", "failed"} else "cancelled"
        return Reply(self.describe(name))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_POST(self) -> None:
                self._send(gateway.post(self.rfile.read(int(self.headers["Content-Length"])), self.headers))

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                name, _, part = parts.path.removeprefix(f"{JOBS}/").partition("/")
                self._send(gateway.get(name, part, dict(parse_qsl(parts.query))))

            def do_DELETE(self) -> None:
                self._send(gateway.delete(self.path.removeprefix(f"{JOBS}/")))

            def _send(self, reply: Reply | None) -> None:
                gateway.requests.append(f"{self.command} {self.path}")
                gateway.headers.append(dict(self.headers))
                if reply is None:
                    self.close_connection = True
                    return
                body = reply.document if isinstance(reply.document, bytes) else json.dumps(reply.document).encode()
                self.send_response(reply.status)
                headers = {"Content-Type": "application/json", **reply.headers, "Content-Length": str(len(body))}
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        return Handler


def _read(body: bytes, content_type: str) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
    """Return the options and the images of a submission."""
    if content_type == "application/json":
        document = json.loads(body)
        return document, [(url, url.rpartition("/")[2].encode()) for url in document.pop("urls")]
    head = b"Content-Type: " + content_type.encode() + b"\r\n\r\n"
    parts = {
        part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
        for part in email.message_from_bytes(head + body, policy=email.policy.HTTP).iter_parts()
    }
    with zipfile.ZipFile(io.BytesIO(parts.pop("archive"))) as archive:
        items = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    return {name: value.decode().rstrip("\r\n") for name, value in parts.items()}, items
