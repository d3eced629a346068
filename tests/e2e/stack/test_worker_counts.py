"""Metrics of all workers of a real gunicorn together, while workers end and are replaced."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.support.metrics_page import fetch, total
from tests.support.stack import START_S, answers
from tests.support.waiting import until
from tools.committed_models import golden_images, newest_version
from tools.local_stack import LocalStack

WORKERS = 3
THREADS = 2
PATIENCE_S = 30
PREDICT = "/api/v1/models/digits/predict"
GOLDEN = golden_images("digits")
VERSION = int(newest_version("digits").name)


class Gateway:
    """A gateway of three workers, connected to a model server."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack = stack
        self.url = stack.gateway_url
        self.image = next(GOLDEN.glob("*.png")).read_bytes()

    @property
    def master(self) -> int:
        return self.stack.pid("gateway")

    @property
    def workers(self) -> set[int]:
        return set(self.stack.workers())

    @property
    def files(self) -> set[str]:
        """The names of the files in which the workers count."""
        return {path.name for path in (self.stack.options.run_dir / "metrics").iterdir()}

    def predict(self, number: int) -> None:
        """Send this number of requests, each over a new connection."""

        def send(_: int) -> None:
            headers = {"Connection": "close"}
            response = requests.post(self.url + PREDICT, files={"image": self.image}, headers=headers, timeout=30)
            assert response.status_code == 200

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(send, range(number)))

    def count(self, name: str, **labels: str) -> float:
        return total(fetch(f"{self.url}/metrics"), name, **labels)

    def wait_until_complete(self) -> None:
        """Wait until there are three workers, and each has reported its threads and the model's version."""
        until(lambda: len(self.workers) == WORKERS, PATIENCE_S, "three workers")
        until(lambda: self.count("gateway_request_threads") == WORKERS * THREADS, PATIENCE_S, "three workers' threads")
        until(
            lambda: self.count("gateway_model_version", model="digits") == VERSION, PATIENCE_S, "version known to all"
        )


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    environment = {"GATEWAY_WORKERS": str(WORKERS), "GATEWAY_THREADS": str(THREADS)}
    with LocalStack(tmp_path_factory.mktemp("counts"), environment=environment) as stack:
        old_file = stack.options.run_dir / "metrics" / "counter_1.db"
        old_file.parent.mkdir()
        old_file.write_bytes(b"left by an earlier run")
        stack.start_model_server()
        stack.start_gateway()
        until(lambda: answers(f"{stack.gateway_url}/readyz"), START_S, "gateway ready")
        yield Gateway(stack)


def test_a_start_deletes_the_files_of_an_earlier_run(gateway: Gateway):
    gateway.wait_until_complete()
    assert "counter_1.db" not in gateway.files


def test_all_workers_count_together(gateway: Gateway):
    gateway.wait_until_complete()
    labels = {
        "route": "/api/v1/models/<model>/predict",
        "outcome": "answered",
        "model": "digits",
        "version": str(VERSION),
    }
    before = gateway.count("gateway_requests_total", **labels)

    gateway.predict(60)

    assert gateway.count("gateway_requests_total", **labels) - before == 60
    assert gateway.count("gateway_requests_in_progress") == 1  # the request for the metrics


def test_the_counts_of_a_killed_worker_stay_and_its_gauges_go(gateway: Gateway):
    gateway.wait_until_complete()
    gateway.predict(30)
    before = gateway.count("gateway_images_total", model="digits")
    workers = gateway.workers
    victim = min(workers)
    assert f"gauge_livesum_{victim}.db" in gateway.files

    os.kill(victim, signal.SIGKILL)
    until(lambda: len(gateway.workers - workers) == 1, PATIENCE_S, "worker replaced")
    gateway.wait_until_complete()

    assert not [name for name in gateway.files if name.startswith("gauge_live") and name.endswith(f"_{victim}.db")]
    assert gateway.count("gateway_images_total", model="digits") == before
    gateway.predict(30)
    assert gateway.count("gateway_images_total", model="digits") == before + 30


def test_a_reload_keeps_the_counts(gateway: Gateway):
    gateway.wait_until_complete()
    gateway.predict(10)
    before, workers = gateway.count("gateway_images_total", model="digits"), gateway.workers

    os.kill(gateway.master, signal.SIGHUP)
    until(lambda: not gateway.workers & workers, PATIENCE_S, "all workers replaced")
    gateway.wait_until_complete()
    gateway.predict(10)
    assert gateway.count("gateway_images_total", model="digits") == before + 10


def test_made_up_paths_models_and_options_add_no_series(gateway: Gateway):
    def send_requests(number: int) -> None:
        requests.get(f"{gateway.url}/path{number}", timeout=30)
        requests.post(f"{gateway.url}/api/v1/models/model{number}/predict", data=gateway.image, timeout=30)
        requests.post(f"{gateway.url}/api/v1/models/digits/versions/9{number}/predict", timeout=30)
        requests.post(f"{gateway.url}/api/v1/predict?option{number}=1", data=gateway.image, timeout=30)

    def names() -> list[str]:
        lines = fetch(f"{gateway.url}/metrics").splitlines()
        return [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]

    gateway.wait_until_complete()
    send_requests(0)
    before = names()
    for number in range(1, 20):
        send_requests(number)

    assert before
    assert sorted(names()) == sorted(before)
