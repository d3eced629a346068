"""The gateway in front of the stand-in that batches, with a queue of one batch of eight images."""

import base64
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask import Flask

from bench import images
from gateway.app import create_app
from gateway.fetching.fetcher import DisabledFetcher
from gateway.models.configured import ConfiguredModels
from gateway.services import connect
from gateway.settings import Settings
from tests.support.waiting import until
from tools import ports

ROOT = Path(__file__).parents[4]
MODEL = "cifar10"
"""Its batch of eight takes TensorFlow some hundred times as long as the gateway needs to prepare it."""

START_S = 60
BATCHING = """
max_batch_size { value: 8 }
max_enqueued_batches { value: 1 }
num_batch_threads { value: 1 }
batch_timeout_micros { value: 0 }
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    folder = tmp_path_factory.mktemp("batching")
    (folder / "batching.config").write_text(BATCHING)
    (folder / "models.config").write_text(
        f'model_config_list {{ config {{ name: "{MODEL}" base_path: "{ROOT / "serving_models" / MODEL}" '
        'model_platform: "tensorflow" } }'
    )
    (port,) = ports.find(1)
    flags = [f"--port={port}", f"--model_config_file={folder / 'models.config'}", "--grpc_max_threads=64"]
    flags += ["--enable_batching=true", f"--batching_parameters_file={folder / 'batching.config'}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "model_server", *flags],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    settings = Settings(tfs_target=f"127.0.0.1:{port}", models=(MODEL,), cards_dir=ROOT / "serving_models", threads=256)
    server = connect(settings)
    app = create_app(
        settings,
        server=server,
        fetcher=DisabledFetcher(),
        configured_models=ConfiguredModels.from_names([MODEL]),
    )
    try:
        until(lambda: app.test_client().get("/readyz").status_code == 200, START_S, "the model served")
        yield app
    finally:
        server.close()
        process.kill()
        process.wait()


def predict(app: Flask, count: int) -> tuple[int, str]:
    """Send a batch, and return the status of the response and the type of its problem."""
    image = base64.b64encode(images.golden(MODEL)).decode()
    response = app.test_client().post("/api/v1/predict", json={"instances": [{"image": image}] * count})
    return response.status_code, (response.get_json(force=True) or {}).get("type", "")


def test_a_batch_beyond_the_servers_own_maximum_is_answered(app: Flask):
    until(lambda: predict(app, 30) == (200, ""), within_s=20)


def test_a_full_queue_is_overload_and_the_gateway_stays_ready(app: Flask):
    readiness: list[int] = []
    stop = threading.Event()

    def check() -> None:
        while not stop.is_set():
            readiness.append(app.test_client().get("/readyz").status_code)

    checker = threading.Thread(target=check)
    checker.start()
    try:
        with ThreadPoolExecutor(24) as pool:
            outcomes = Counter(pool.map(lambda _: predict(app, 8), range(72)))
    finally:
        stop.set()
        checker.join()

    assert outcomes.keys() == {(200, ""), (503, "/problems/model-overloaded")}
    assert set(readiness) == {200}
