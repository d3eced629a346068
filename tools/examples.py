"""Record the examples of the OpenAPI document: send requests to a running stack, and write requests and responses.

    python -m tools.examples                              # write gateway/openapi/examples.json
    python -m tools.examples --check                      # exit 1 and name the examples that differ
    python -m tools.examples --start                      # start a stack while the command runs
    python -m tools.examples --url http://localhost:9080  # `make run` on another port than 8080

tests/e2e checks the same. The last digits of scores may differ between processors.
"""

import argparse
import base64
import contextlib
import io
import json
import math
import struct
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import requests

from gateway.openapi.examples import FILE, Example, load
from tools.local_stack import LocalStack
from tools.programs import ROOT
from tools.waiting import wait_until
from vision.decode import decode

PHOTO = ROOT / "examples" / "macaws.jpg"
PHOTO_SIZE = (120, 80)
"""Width and height at which the photo is part of the document."""
MODEL = "cifar10"
"""The model whose card is an example: its ten labels keep the document short."""
PREDICT = "/api/v1/predict"
JOBS = "/api/v1/jobs"
JOB_ID = "0f2d9c4b7a6e4e1d8c5b3a29187f6e5d"
"""Stands for the id of a job, which is random."""
JOB_TIMES = {
    "created": "2026-01-31T09:30:00.000Z",
    "started": "2026-01-31T09:30:00.120Z",
    "finished": "2026-01-31T09:30:00.250Z",
    "expires": "2026-02-01T09:30:00.250Z",
}
"""Stand for the times of a job."""
TIMEOUT_S = 30
POLL_S = 0.1
SCORE_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class ExampleRequest:
    """The request of one example.

    Attributes:
        endpoint: Flask's name of the view.
        name: Name of the example.
        summary: Description of the example.
        path: Path of the URL; `{job_id}` stands for the job that was created last, once it is done.
        json: JSON body; None for a GET request, or if `data` is sent.
        data: Body that the document does not show.
        media_type: Media type of `data`.
    """

    endpoint: str
    name: str
    summary: str
    path: str
    json: dict[str, Any] | None = None
    data: bytes | None = None
    media_type: str = "application/octet-stream"


def example_requests() -> Iterator[ExampleRequest]:
    """Yield the requests in the order of the document."""
    photo = small_photo()
    batch = [{"image": to_base64(photo)}, {"image": to_base64(b"GIF or JPEG?")}]
    yield predict("photo", "A small photo, and the three best classes", {"image": to_base64(photo), "top_k": 3})
    yield predict(
        "explained", "An explanation of the best class", {"image": to_base64(photo), "top_k": 1, "explain": "raw"}
    )
    yield predict("url-private-host", "An image by URL on a private host", {"url": "http://192.168.0.1/1.png"})
    yield predict("option-out-of-range", "An option out of its range", {"image": to_base64(photo), "top_k": 0})
    yield predict("no-image", "A request without an image", {"image": ""})
    yield predict("image-format", "Bytes that are not an image", {"image": to_base64(b"GIF or JPEG?")})
    yield predict("image-cut-off", "A truncated image", {"image": to_base64(photo[: len(photo) // 2])})
    yield predict("image-too-large", "An image with too many pixels", {"image": to_base64(png_of(20_000, 20_000))})
    yield predict("batch", "A batch with a text that is not an image", {"instances": batch, "top_k": 1})
    yield ExampleRequest("api.predict", "body-too-large", "A body with too many bytes", PREDICT, data=bytes(11 << 20))
    yield ExampleRequest(
        "api.predict",
        "no-such-version",
        "A version that is not served",
        f"/api/v1/models/{MODEL}/versions/999/predict",
        json={"image": to_base64(photo)},
    )
    yield ExampleRequest(
        "jobs.create", "job", "A job for two images", f"{JOBS}/json", json={"instances": batch, "top_k": 1}
    )
    yield ExampleRequest("jobs.read", "job-done", "A job that is done", f"{JOBS}/{{job_id}}")
    yield ExampleRequest(
        "jobs.create",
        "archive",
        "An archive with an unsafe name",
        JOBS,
        data=unsafe_archive(),
        media_type="application/zip",
    )
    yield ExampleRequest("jobs.read", "no-such-job", "A job that does not exist", f"{JOBS}/{JOB_ID}")
    yield ExampleRequest("api.models", "models", "The models, limited to one", "/api/v1/models")
    yield ExampleRequest("api.model_details", "model", "A model", f"/api/v1/models/{MODEL}")
    yield ExampleRequest("health.version", "version", "Version of the gateway", "/version")
    yield ExampleRequest("health.livez", "live", "The process is alive", "/livez")
    yield ExampleRequest("health.readyz", "ready", "The service is ready", "/readyz")


def predict(name: str, summary: str, body: dict[str, Any]) -> ExampleRequest:
    """Return a request to the default model."""
    return ExampleRequest("api.predict", name, summary, PREDICT, body)


def small_photo() -> bytes:
    """Return the photo as a small JPEG."""
    pixels = decode(PHOTO.read_bytes(), max_pixels=1_000_000)
    small = cv2.resize(pixels, PHOTO_SIZE, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()


def to_base64(data: bytes) -> str:
    """Encode bytes as base64."""
    return base64.b64encode(data).decode()


def png_of(width: int, height: int) -> bytes:
    """Return a PNG file (RFC 2083) with a size in its header and no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def unsafe_archive() -> bytes:
    """Return a ZIP archive with a file whose name leads out of the folder that it is unpacked to."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("../photo.jpg"), b"")
    return packed.getvalue()


def record(url: str) -> list[Example]:
    """Send all requests to a stack, each with the name of its example as request id.

    Raises:
        requests.RequestException: The stack does not answer, or has no jobs.
        TimeoutError: A job was not done in time.
    """
    job_id = ""
    recorded = []
    for request in example_requests():
        path = request.path
        if "{job_id}" in path:
            path = path.format(job_id=job_id)
            wait_until(partial(_is_done, url + path), TIMEOUT_S, "job done", poll_s=POLL_S)
        response = _send(url + path, request)
        document = response.json()
        job_id = document.get("id", job_id)
        recorded.append(
            Example(
                *(request.endpoint, request.name, request.summary, request.json),
                *(response.status_code, as_shown(document)),
            )
        )
    return recorded


def as_shown(document: dict[str, Any]) -> dict[str, Any]:
    """Return a response without what depends on chance or on which other models are served."""
    if "models" in document:
        return document | {"models": [model for model in document["models"] if model["name"] == MODEL]}
    if "created" in document:
        times = {name: moment for name, moment in JOB_TIMES.items() if name in document}
        return document | times | {"id": JOB_ID, "results": document["results"].replace(document["id"], JOB_ID)}
    return document


def _is_done(job_url: str) -> bool:
    response = requests.get(job_url, timeout=TIMEOUT_S)
    response.raise_for_status()
    return bool(response.json()["status"] == "done")


def _send(url: str, request: ExampleRequest) -> requests.Response:
    headers = {"X-Request-ID": request.name}
    if request.data is not None:
        headers["Content-Type"] = request.media_type
    method = "GET" if request.json is None and request.data is None else "POST"
    return requests.request(method, url, json=request.json, data=request.data, headers=headers, timeout=TIMEOUT_S)


def differences(recorded: list[Example], current: list[Example]) -> list[str]:
    """Describe how the recorded examples differ from the current responses, a line per example."""
    by_name = {example.name: example for example in recorded}
    lines = [f"no longer requested: {name}" for name in by_name.keys() - {example.name for example in current}]
    for example in current:
        if example.name not in by_name:
            lines.append(f"new: {example.name}")
        elif not alike(asdict(by_name[example.name]), asdict(example)):
            lines.append(f"differs: {example.name}, now {example.status} {json.dumps(example.response)}")
    return lines


def alike(one: object, other: object) -> bool:
    """Compare two JSON values, numbers with the tolerance of scores."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, abs_tol=SCORE_TOLERANCE)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(alike(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(alike(*pair) for pair in zip(one, other, strict=True))
    return one == other


@contextlib.contextmanager
def start_stack() -> Iterator[str]:
    """Run a stack of the committed models, with jobs, while the context lasts, and yield its URL.

    Raises:
        SystemExit: Nginx, which sends one of the responses, is not installed.
    """
    with (
        tempfile.TemporaryDirectory() as jobs_dir,
        tempfile.TemporaryDirectory() as run_dir,
        LocalStack(Path(run_dir), environment={"GATEWAY_JOBS": "sqlite", "GATEWAY_JOBS_DIR": jobs_dir}) as stack,
    ):
        if not stack.options.use_nginx:
            raise SystemExit("nginx is not installed; install it with: apt-get install nginx-light")
        yield stack.start().url


def main() -> int:
    """Write or check; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.examples", description=(__doc__ or "").partition("\n")[0])
    service = parser.add_mutually_exclusive_group()
    service.add_argument("--url", default="http://localhost:8080", help="URL of a running stack (%(default)s)")
    service.add_argument("--start", action="store_true", help="start a stack while the command runs")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if something would change")
    arguments = parser.parse_args()
    with start_stack() if arguments.start else contextlib.nullcontext(arguments.url) as url:
        current = record(url)
    lines = differences(load(), current)
    print("\n".join(lines) or f"{FILE.name}: {len(current)} examples, up to date")
    if arguments.check:
        if lines:
            print("Record them again: python -m tools.examples", file=sys.stderr)
        return bool(lines)
    if lines:
        text = json.dumps([asdict(example) for example in current], indent=1, ensure_ascii=False)
        FILE.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
