"""The image of gateway/Dockerfile, built and started with every optional feature that it has packages for."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import requests

from tests.support import image
from tests.support.image import Image
from tests.support.otlp import Collector
from tests.support.redis_server import make_redis
from tests.support.stack import ROOT, START_S, answers
from tests.support.waiting import until
from tools.local_stack import LocalStack
from vision.headers.header import ImageFormat

DOCKERFILE = ROOT / "gateway" / "Dockerfile"
MAX_BYTES = 275_000_000
CONFIG = 'model_config_list {{ config {{ name: "digits" base_path: "{path}" model_platform: "tensorflow" }} }}'
PREDICT = "/api/v1/predict"
pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running container: its URL, and the collector of its spans."""

    url: str
    collector: Collector


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image.install(DOCKERFILE, tmp_path_factory.mktemp("dependencies"))


@pytest.fixture(scope="module")
def gateway_image(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Image:
    return image.build(DOCKERFILE, tmp_path_factory.mktemp("app"), packages / "bin")


@pytest.fixture(scope="module")
def gateway(
    gateway_image: Image, image_host: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A container with one worker, beside the model server, Redis and a collector of spans."""
    folder = tmp_path_factory.mktemp("run")
    config = folder / "models.config"
    config.write_text(CONFIG.format(path=ROOT / "serving_models" / "digits"), encoding="utf-8")
    redis, collector = make_redis(folder), Collector()
    redis.start()
    with LocalStack(folder, models_config=config) as stack, collector.serving():
        stack.start_model_server()
        process = gateway_image.start(
            log=folder / "gateway.log",
            GATEWAY_BIND=stack.gateway_url.removeprefix("http://"),
            GATEWAY_CACHE="redis",
            GATEWAY_FETCH_ALLOWED_HOSTS=image_host[1],
            GATEWAY_MODELS="digits",
            GATEWAY_RATE_LIMIT="1000/hour",
            GATEWAY_RATE_LIMIT_STORAGE="redis",
            GATEWAY_REDIS_URL=redis.url,
            GATEWAY_TFS_TARGET=f"127.0.0.1:{stack.options.grpc_port}",
            GATEWAY_TRACING="true",
            GATEWAY_WORKERS="1",
            OTEL_BSP_SCHEDULE_DELAY="50",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        )
        try:
            until(lambda: process.poll() is not None or answers(f"{stack.gateway_url}/readyz"), START_S, "ready")
            assert process.poll() is None, (folder / "gateway.log").read_text(encoding="utf-8")
            yield Gateway(stack.gateway_url, collector)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(START_S)
            redis.stop()


def size_bytes(folder: Path) -> int:
    """Return the total size of the files in a folder, which is the size of an image's layer."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_symlink() or path.is_file())


def test_the_image_is_smaller_than_its_limit(packages: Path, gateway_image: Image):
    assert size_bytes(packages) + size_bytes(gateway_image.folder) < MAX_BYTES


@pytest.mark.parametrize("kind", [kind for kind in ImageFormat if kind is not ImageFormat.HEIC])
def test_every_format_is_classified(gateway: Gateway, golden, kind):
    png, label, _ = golden[0]
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    encoded, data = cv2.imencode(f".{kind}", pixels)
    assert encoded

    response = requests.post(gateway.url + PREDICT, files={"image": data.tobytes()}, timeout=30)

    assert (response.status_code, response.json()["class"]) == (200, label)


def test_heic_is_decoded(gateway: Gateway):
    """Of which no encoder is installed."""
    data = (ROOT / "tests/unit/vision/heic/quadrants.heic").read_bytes()

    response = requests.post(gateway.url + PREDICT, files={"image": data}, timeout=30)

    assert response.status_code == 200, response.text


def test_the_cache_and_the_rate_limit_use_redis(gateway: Gateway, golden):
    png, label, _ = golden[1]

    first, second = (
        requests.post(gateway.url + PREDICT, data=png, headers={"Content-Type": "image/png"}, timeout=30)
        for _ in range(2)
    )

    assert [response.json()["class"] for response in (first, second)] == [label, label]
    assert second.headers["Cache-Status"] == "image-gateway; hit"
    remaining = [
        int(response.headers["RateLimit"].partition("r=")[2].partition(";")[0]) for response in (first, second)
    ]
    assert remaining[0] - remaining[1] == 1


def test_an_image_is_fetched_and_explained(gateway: Gateway, image_host, golden):
    png, label, _ = golden[2]
    folder, host = image_host
    (folder / "digit.png").write_bytes(png)

    response = requests.post(
        gateway.url + PREDICT, json={"url": f"http://{host}/digit.png", "explain": True, "top_k": 3}, timeout=30
    )

    assert (response.status_code, response.json()["class"]) == (200, label)
    assert response.json()["explanation"]


@pytest.mark.parametrize(
    ("body", "status", "slug"),
    [
        (b"no image", 415, "unsupported-image-format"),
        (b"\x89PNG\r\n\x1a\nbroken", 422, "unreadable-image"),
    ],
    ids=["text", "broken PNG"],
)
def test_a_file_that_is_not_an_image_is_a_problem(gateway: Gateway, body, status, slug):
    response = requests.post(gateway.url + PREDICT, files={"image": body}, timeout=30)

    assert response.status_code == status
    assert response.json()["type"] == f"/problems/{slug}"


@pytest.mark.parametrize("path", ["/", "/docs", "/api/v1/openapi.json", "/api/v1/models/digits", "/livez", "/metrics"])
def test_every_page_is_served(gateway: Gateway, path):
    response = requests.get(gateway.url + path, timeout=30)

    assert response.status_code == 200
    assert response.content


def test_spans_are_exported(gateway: Gateway):
    requests.get(f"{gateway.url}/api/v1/models", timeout=30)

    until(lambda: any(span.name == "GET /api/v1/models" for span in gateway.collector.spans), START_S, "its span")
