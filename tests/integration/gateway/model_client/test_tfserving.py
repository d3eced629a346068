"""The client, the registry and the application with the project's own model server in a separate process."""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient

from gateway.app import create_app
from gateway.fetching.fetcher import DisabledFetcher
from gateway.model_client.tfserving import TensorFlowServing
from gateway.models.configured import ConfiguredModels
from gateway.settings import Settings
from tests.contracts.model_server import LABEL, MODEL, START_S, ModelServerContract, serve
from tests.support.waiting import until
from tools import ports

pytestmark = pytest.mark.timeout(600)  # the first test waits until TensorFlow has written the models
ROOT = Path(__file__).parents[4]
PREDICT = "/api/v1/predict"


@dataclass(slots=True)
class ServerStage:
    """A `tests.contracts.model_server.Stage` with a directory that `python -m model_server` watches.

    Attributes:
        exports: Directory of the versions that can be published.
        served: The directory that the server watches.
        port: Port of the server.
        server: The client under test.
    """

    exports: Path
    served: Path
    port: int
    server: TensorFlowServing = field(init=False)
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.server = TensorFlowServing(f"127.0.0.1:{self.port}", call_deadline_s=5, max_retried_rows=40)

    def publish(self, version: int) -> None:
        old = [path for path in self.served.iterdir() if path.name != str(version)]
        if not (self.served / str(version)).exists():
            shutil.copytree(self.exports / str(version), self.served.with_name("copied"))
            self.served.with_name("copied").rename(self.served / str(version))  # atomically
        for path in old:
            shutil.rmtree(path)

    def withdraw(self) -> None:
        for path in self.served.iterdir():
            shutil.rmtree(path)

    def start(self) -> None:
        config = self.served.with_name("models.config")
        config.write_text(
            f'model_config_list {{ config {{ name: "{MODEL}" base_path: "{self.served}" model_platform: "tensorflow" '
            f'version_labels {{ key: "{LABEL}" value: 1 }} }} }}'
        )
        flags = [f"--port={self.port}", f"--model_config_file={config}"]
        # The default, four threads per CPU, is fewer than the calls that the suite makes at once.
        flags += ["--allow_version_labels_for_unavailable_models", "--grpc_max_threads=64"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "model_server", *flags, "--file_system_poll_wait_seconds=1"],
            cwd=ROOT,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        self.server.close()
        self.stop()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerStage]:
    """Start a server on a directory, and write the models that it serves meanwhile."""
    exports, served = tmp_path_factory.mktemp("exports"), tmp_path_factory.mktemp("served") / MODEL
    served.mkdir()
    (port,) = ports.find(1)
    with contextlib.closing(ServerStage(exports, served, port)) as stage:
        stage.start()
        command = [sys.executable, "-m", "tests.support.toy_models", str(exports), "1", "2"]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        yield stage


class TestTensorFlowServing(ModelServerContract):
    """The client fulfils the contract with the project's own model server."""


# The application with this server


@pytest.fixture
def app(stage: ServerStage, tmp_path: Path) -> Iterator[Flask]:
    settings = Settings(models=(MODEL,), cards_dir=tmp_path)
    app = create_app(
        settings,
        server=stage.server,
        fetcher=DisabledFetcher(),
        configured_models=ConfiguredModels.from_names([MODEL]),
    )
    app.extensions["registry"].watch(0.2, deadline_s=5)
    yield app
    app.extensions["registry"].close()


PICTURE = cv2.imencode(".png", np.full((2, 2), 51, np.uint8))[1].tobytes()


def predict(client: FlaskClient) -> tuple[int, dict[str, object]]:
    response = client.post(PREDICT, data=PICTURE, content_type="image/png")
    return response.status_code, response.get_json(force=True)


def test_predictions_have_the_labels_of_the_model(stage: ServerStage, app: Flask):
    serve(stage, 1)
    until(lambda: app.test_client().get("/readyz").status_code == 200)
    status, document = predict(app.test_client())
    assert status == 200
    assert [(item["class"], round(item["score"], 4)) for item in document["predictions"]] == [
        ("dark-1", 0.8),
        ("light-1", 0.2),
        ("version-1", 0.01),
    ]
    assert document["model"] == {"name": MODEL, "version": 1}
    (model,) = app.test_client().get("/api/v1/models").get_json()["models"]

    assert (model["available"], model["version"], model["labels"][1]) == (True, 1, "version-1")


def test_swaps_under_load_do_not_fail_requests_or_mix_versions(stage: ServerStage, app: Flask):
    serve(stage, 1)
    client = app.test_client()
    until(lambda: client.get("/readyz").status_code == 200)
    stop = threading.Event()
    responses: list[tuple[int, dict[str, object]]] = []

    def send_requests() -> None:
        while not stop.is_set():
            responses.append(predict(app.test_client()))

    users = [threading.Thread(target=send_requests) for _ in range(4)]
    for user in users:
        user.start()
    try:
        until(lambda: responses, START_S, "the first response")
        for version in (2, 1):
            stage.publish(version)
            until(lambda version=version: responses[-1][1].get("model") == {"name": MODEL, "version": version}, START_S)
            count = len(responses)
            until(lambda count=count: len(responses) > count + 20)
    finally:
        stop.set()
        for user in users:
            user.join()
    assert {status for status, _ in responses} == {200}
    for _, document in responses:
        version = document["model"]["version"]
        assert {item["class"].rpartition("-")[2] for item in document["predictions"]} == {str(version)}
    assert {document["model"]["version"] for _, document in responses} == {1, 2}
