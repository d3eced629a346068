"""Ask a running stack what the OpenAPI document shows as examples, and write request and answer to the gateway.

    python -m tools.examples                              # write gateway/openapi/examples.json
    python -m tools.examples --check                      # exit 1 and name the examples that are answered otherwise
    python -m tools.examples --url http://localhost:9080  # `make run` elsewhere than on port 8080

tests/e2e checks the same. Scores may differ in their last digits from one processor to the next.
"""

import argparse
import base64
import json
import math
import struct
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests

from gateway.openapi.examples import FILE, Example, load

PHOTO = Path(__file__).parents[1] / "serving_models" / "cifar10" / "1" / "assets.extra" / "golden" / "05.png"
PREDICT = "/api/v1/predict"
TIMEOUT_S = 30
SCORE_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for one example.

    Attributes:
        endpoint: Flask's name of what answers.
        name: Of the example.
        summary: What it shows.
        path: Where it is asked.
        request: The JSON body; None for a GET, or where `data` is sent.
        data: A body that is not shown, as application/octet-stream.
    """

    endpoint: str
    name: str
    summary: str
    path: str
    request: dict[str, Any] | None = None
    data: bytes | None = None


def questions() -> Iterator[Question]:
    """Give what is asked, in the order that the document shows it."""
    photo = PHOTO.read_bytes()
    batch = [{"image": text(photo)}, {"image": text(b"GIF or JPEG?")}]
    yield predict("photo", "A small photo, and the three best classes", {"image": text(photo), "top_k": 3})
    yield predict("explained", "Where the model looked", {"image": text(photo), "top_k": 1, "explain": "raw"})
    yield predict("url-private-host", "An image by URL, whose host is not public", {"url": "http://192.168.0.1/1.png"})
    yield predict("option-out-of-range", "An option out of its range", {"image": text(photo), "top_k": 0})
    yield predict("no-image", "A request without an image", {"image": ""})
    yield predict("image-format", "Bytes that are no image", {"image": text(b"GIF or JPEG?")})
    yield predict("image-cut-off", "An image that was cut off", {"image": text(photo[: len(photo) // 2])})
    yield predict("image-too-large", "An image of too many pixels", {"image": text(png_of(20_000, 20_000))})
    yield predict("batch", "A batch, one image of which cannot be read", {"instances": batch, "top_k": 1})
    yield Question("api.predict", "body-too-large", "A body of too many bytes", PREDICT, data=bytes(11 << 20))
    yield Question(
        "api.predict",
        "no-such-version",
        "A version that is not served",
        "/api/v1/models/cifar10/versions/999/predict",
        request={"image": text(photo)},
    )
    yield Question("api.models", "models", "The models, the first of them shown", "/api/v1/models")
    yield Question("api.model_details", "model", "A model", "/api/v1/models/cifar10")
    yield Question("health.version", "version", "Version of the gateway", "/version")
    yield Question("health.livez", "live", "It does", "/livez")
    yield Question("health.readyz", "ready", "It can", "/readyz")


def predict(name: str, summary: str, request: dict[str, Any]) -> Question:
    """Ask the default model."""
    return Question("api.predict", name, summary, PREDICT, request)


def text(data: bytes) -> str:
    """Write bytes as base64."""
    return base64.b64encode(data).decode()


def png_of(width: int, height: int) -> bytes:
    """Write a PNG file (RFC 2083) that claims a size and holds no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def answered(url: str) -> list[Example]:
    """Ask a stack everything, each question under its own name as request id.

    Raises:
        requests.RequestException: it does not answer.
    """
    return [_ask(url, question) for question in questions()]


def _ask(url: str, question: Question) -> Example:
    headers = {"X-Request-ID": question.name}
    if question.data is not None:
        headers["Content-Type"] = "application/octet-stream"
    method = "GET" if question.request is None and question.data is None else "POST"
    response = requests.request(
        method, url + question.path, json=question.request, data=question.data, headers=headers, timeout=TIMEOUT_S
    )
    answer = response.json()
    if "models" in answer:
        answer["models"] = answer["models"][:1]  # which others are served is no matter of this document
    return Example(question.endpoint, question.name, question.summary, question.request, response.status_code, answer)


def differences(shown: list[Example], found: list[Example]) -> list[str]:
    """Say which examples are not what was found."""
    by_name = {example.name: example for example in shown}
    told = [f"no longer asked: {name}" for name in by_name.keys() - {example.name for example in found}]
    for example in found:
        if example.name not in by_name:
            told.append(f"new: {example.name}")
        elif not alike(asdict(by_name[example.name]), asdict(example)):
            told.append(f"differs: {example.name}, now {example.status} {json.dumps(example.answer)}")
    return told


def alike(shown: object, found: object) -> bool:
    """Compare two JSON values, numbers with the tolerance that scores need."""
    if isinstance(shown, float) and isinstance(found, float):
        return math.isclose(shown, found, abs_tol=SCORE_TOLERANCE)
    if isinstance(shown, Mapping) and isinstance(found, Mapping):
        return shown.keys() == found.keys() and all(alike(shown[name], found[name]) for name in shown)
    if isinstance(shown, list) and isinstance(found, list):
        return len(shown) == len(found) and all(alike(*pair) for pair in zip(shown, found, strict=True))
    return shown == found


def main() -> int:
    """Write or check; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--url", default="http://localhost:8080", help="where the stack runs (%(default)s)")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if something would change")
    arguments = parser.parse_args()
    found = answered(arguments.url)
    told = differences(load(), found)
    print("\n".join(told) or f"{FILE.name}: {len(found)} examples, up to date")
    if arguments.check:
        if told:
            print("Write them anew: python -m tools.examples", file=sys.stderr)
        return bool(told)
    if told:
        written = json.dumps([asdict(example) for example in found], indent=1, ensure_ascii=False)
        FILE.write_text(written + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
