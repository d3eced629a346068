"""The cache in the whole stack: equal requests share one computation, and removed versions are never returned."""

import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.support.redis_server import RedisServer, make_redis
from tests.support.stack import RunningStack, running
from tests.support.waiting import until
from tools.committed_models import newest_version

REQUESTS = 100
HIT = "image-gateway; hit"
STORED = "image-gateway; fwd=miss; stored"
COLLAPSED = "image-gateway; fwd=miss; collapsed"

pytestmark = [
    pytest.mark.in_order,  # the version changes, then Redis stops
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = make_redis(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with only version 1 of the model `digits`."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(newest_version("digits"), folder / "digits" / "1")
    (folder / "models.config").write_text(
        f'model_config_list {{ config {{ name: "digits" base_path: "{folder}/digits" model_platform: "tensorflow" }} }}'
    )
    return folder


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer, models: Path) -> Iterator[RunningStack]:
    """A stack whose two workers share a cache in Redis."""
    environment = {"GATEWAY_CACHE": "redis", "GATEWAY_REDIS_URL": redis_server.url, "GATEWAY_WORKERS": "2"}
    run_dir = tmp_path_factory.mktemp("run")
    with running(run_dir, models_config=models / "models.config", environment=environment) as stack:
        yield stack


def classify(stack: RunningStack, data: bytes) -> tuple[str, int, str]:
    """Send an image; return the Cache-Status, the version and the class of the response."""
    response = requests.post(stack.predict_url, data=data, headers={"Content-Type": "image/png"}, timeout=60)
    document = response.json()
    return response.headers["Cache-Status"], document["model"]["version"], document["class"]


def test_a_hundred_simultaneous_equal_requests_are_computed_once(cached: RunningStack, golden):
    data, label, _ = golden[0]
    barrier = threading.Barrier(REQUESTS)

    def send(_: int) -> tuple[str, int, str]:
        barrier.wait()
        return classify(cached, data)

    with ThreadPoolExecutor(REQUESTS) as pool:
        responses = list(pool.map(send, range(REQUESTS)))

    states = Counter(state for state, _, _ in responses)
    assert states[STORED] == 1
    assert states.keys() <= {STORED, COLLAPSED, HIT}
    assert {(version, predicted) for _, version, predicted in responses} == {(1, label)}


def test_predictions_of_a_removed_version_are_not_returned(cached: RunningStack, models: Path, golden):
    data, label, _ = golden[1]
    classify(cached, data)
    assert classify(cached, data) == (HIT, 1, label)

    shutil.copytree(models / "digits" / "1", models / "digits" / "2")

    def swapped() -> bool:
        document = requests.get(f"http://127.0.0.1:{cached.ports.rest}/v1/models/digits", timeout=5).json()
        return {item["version"]: item["state"] for item in document["model_version_status"]} == {
            "1": "END",
            "2": "AVAILABLE",
        }

    until(swapped, within_s=120, what="version 2 in place of 1")
    responses = [classify(cached, data) for _ in range(20)]

    assert {(version, predicted) for _, version, predicted in responses} == {(2, label)}
    assert responses[-1][0] == HIT


def test_requests_are_answered_without_redis(cached: RunningStack, redis_server: RedisServer, golden):
    data, label, _ = golden[2]

    redis_server.stop()

    assert {classify(cached, data)[2] for _ in range(10)} == {label}
