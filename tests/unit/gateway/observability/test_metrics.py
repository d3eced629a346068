import base64
import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask, abort
from flask.testing import FlaskClient

import gateway
from gateway.deadline import Deadline
from gateway.errors import ModelFailedError, ModelUnavailableError
from gateway.observability import metrics
from tests.support.fake_model_server import FakeModelServer, classifier, constant
from tests.support.metrics_page import samples, total
from vision.card import Card

ROOT = Path(__file__).parents[4]
PREDICT = "/api/v1/predict"
URL = "https://photos.example/a.png"


@pytest.fixture
def counted(client: FlaskClient) -> Callable[..., float]:
    """Return a function that returns the increase of a metric's samples with these labels since the test began."""

    def read() -> str:
        response = client.get("/metrics")
        assert response.status_code == 200
        assert response.content_type.startswith("text/plain; version=")
        return response.text

    before = read()
    return lambda name, **labels: total(read(), name, **labels) - total(before, name, **labels)


# Requests


def test_requests_are_counted_by_route_method_status_model_and_version(
    client: FlaskClient, counted: Callable[..., float], png: bytes
):
    for _ in range(3):
        client.post(PREDICT, data=png, content_type="image/png")
    labels = {"route": PREDICT, "method": "POST", "status": "200", "outcome": "answered", "model": "pets"}
    assert counted("gateway_requests_total", **labels, version="1") == 3
    assert counted("gateway_request_seconds_count", route=PREDICT) == 3
    assert counted("gateway_request_seconds_bucket", route=PREDICT, le="+Inf") == 3


def test_names_from_requests_are_never_labels(client: FlaskClient, counted: Callable[..., float], png: bytes):
    client.post("/api/v1/models/birds/predict", data=png, content_type="image/png")
    client.post("/api/v1/models/pets/versions/77/predict", data=png, content_type="image/png")
    client.get("/nothing/here")
    client.get("/nothing/there")
    by_model = "/api/v1/models/<model>/predict"
    assert counted("gateway_requests_total", route=by_model, outcome="model-not-found", model="", version="") == 1
    assert counted("gateway_requests_total", outcome="version-not-found", model="", version="") == 1
    assert counted("gateway_requests_total", route="none", status="404", outcome="not-found", model="") == 2
    page = client.get("/metrics").text
    assert not [word for word in ("birds", "77", "nothing") if f'"{word}' in page or f"/{word}" in page]


def test_unknown_methods_share_one_label(client: FlaskClient, counted: Callable[..., float]):
    for method in ("BREW", "WHEN", "XYZZY"):
        client.open("/livez", method=method)
    assert counted("gateway_requests_total", route="none", method="other", status="405") == 3
    assert "BREW" not in client.get("/metrics").text


def test_problems_without_a_type_are_counted_by_status(make_app: Callable[..., Flask], counted: Callable[..., float]):
    other = make_app()
    other.add_url_rule("/teapot", view_func=lambda: abort(418))
    other.test_client().get("/teapot")
    assert counted("gateway_requests_total", outcome="http-418") == 1


def test_a_failure_is_counted_for_its_version(
    client: FlaskClient, counted: Callable[..., float], server: FakeModelServer, png: bytes
):
    client.post(PREDICT, data=png, content_type="image/png")
    server.failures["predict"] = ModelFailedError("broken")
    client.post(PREDICT, data=png, content_type="image/png")
    assert counted("gateway_requests_total", status="502", outcome="model-failed", model="pets", version="1") == 1


def test_the_stages_of_a_prediction_are_measured(
    client: FlaskClient, counted: Callable[..., float], images_by_url: dict[str, bytes], png: bytes
):
    images_by_url[URL] = png
    client.post(PREDICT, json={"url": URL})
    for stage in ("receive", "fetch", "decode", "preprocess", "predict"):
        assert counted("gateway_stage_seconds_count", stage=stage, model="pets") == 1
        assert counted("gateway_stage_seconds_sum", stage=stage, model="pets") > 0
    assert counted("gateway_stage_seconds_count") == 5
    client.get("/livez")
    assert counted("gateway_stage_seconds_count") == 5


def test_requests_in_progress_return_to_zero(
    client: FlaskClient, make_app: Callable[..., Flask], server: FakeModelServer, png: bytes
):
    def in_progress() -> float:
        return metrics.REQUESTS_IN_PROGRESS._value.get()

    values: list[float] = []
    server.before["predict"] = lambda: values.append(in_progress())
    assert client.post(PREDICT, data=png, content_type="image/png").status_code == 200
    assert client.post(PREDICT, data=b"no", content_type="image/png").status_code == 415
    assert client.post(PREDICT, data=png, headers={"X-Request-Timeout": "never"}).status_code == 400
    with client.get("/docs") as page:
        assert page.status_code == 200
    broken = make_app()
    broken.add_url_rule("/bug", view_func=lambda: 1 / 0)
    assert broken.test_client().get("/bug").status_code == 500
    assert set(values) == {1}
    assert in_progress() == 0


def test_the_threads_for_requests_are_exposed(make_app: Callable[..., Flask]):
    page = make_app(threads=5).test_client().get("/metrics").text
    assert total(page, "gateway_request_threads") == 5


# Images


def test_images_are_counted_by_outcome(
    client: FlaskClient, counted: Callable[..., float], images_by_url: dict[str, bytes], png: bytes
):
    images_by_url[URL] = png
    good, truncated = base64.b64encode(png).decode(), base64.b64encode(png[:50]).decode()
    instances = [{"image": good}, {"url": URL}, {"image": truncated}, {"image": "AAAA"}, {"url": f"{URL}?none"}, {}]
    assert client.post(PREDICT, json={"instances": instances}).status_code == 200
    outcomes = {
        sample.labels["outcome"]
        for sample in samples(client.get("/metrics").text)
        if sample.name == "gateway_images_total" and sample.labels["model"] == "pets"
    }
    assert counted("gateway_images_total", model="pets", version="1", outcome="answered") == 2
    for outcome in ("unreadable-image", "unsupported-image-format", "fetch-failed", "bad-request"):
        assert counted("gateway_images_total", model="pets", version="1", outcome=outcome) == 1
        assert outcome in outcomes


def test_fetches_are_counted_by_outcome(
    client: FlaskClient, counted: Callable[..., float], images_by_url: dict[str, bytes], png: bytes
):
    images_by_url[URL] = png
    instances = [{"url": URL}, {"url": URL}, {"url": f"{URL}?none"}]
    client.post(PREDICT, json={"instances": instances})
    assert counted("gateway_fetches_total", outcome="answered") == 2
    assert counted("gateway_fetches_total", outcome="fetch-failed") == 1


def test_classes_beyond_the_limit_are_counted_together(
    make_app: Callable[..., Flask], counted: Callable[..., float], server: FakeModelServer, card: Card, png: bytes
):
    client = make_app(metrics_max_classes=2).test_client()
    for number, scores in enumerate([(0.2, 0.7, 0.1), (0.1, 0.0, 0.9), (0.0, 0.03, 0.97)], start=2):
        server.swap("pets", number, classifier(card, constant(*scores)))
        assert client.post(PREDICT, data=png, content_type="image/png").status_code == 200
    assert counted("gateway_top_class_total", model="pets", **{"class": "dog"}) == 1
    assert counted("gateway_top_class_total", model="pets", **{"class": metrics.OTHER_CLASS}) == 2
    assert counted("gateway_top_class_total", model="pets") == 3
    assert counted("gateway_top_score_bucket", model="pets", le="0.7") == 1
    assert counted("gateway_top_score_bucket", model="pets", le="0.95") == 2
    assert counted("gateway_top_score_sum", model="pets") == pytest.approx(0.7 + 0.9 + 0.97)


# Versions


def test_the_current_version_is_exposed_and_0_if_there_is_none(
    app: Flask, client: FlaskClient, counted: Callable[..., float], server: FakeModelServer, card: Card
):
    def version() -> float:
        return total(client.get("/metrics").text, "gateway_model_version", model="pets")

    def refresh() -> None:
        app.extensions["registry"].refresh("pets", deadline=Deadline.after(5))

    refresh()
    assert version() == 1
    server.swap("pets", 3, classifier(card, constant(0.2, 0.7, 0.1)))
    refresh()
    assert version() == 3
    server.away = True
    with pytest.raises(ModelUnavailableError):
        refresh()
    assert version() == 0
    server.away = False
    refresh()
    refresh()
    assert version() == 3
    assert counted("gateway_version_starts_total", model="pets", version="1") == 1
    assert counted("gateway_version_starts_total", model="pets", version="3") == 2


def test_requests_retried_after_a_swap_are_counted(
    client: FlaskClient, counted: Callable[..., float], server: FakeModelServer, card: Card, png: bytes
):
    client.post(PREDICT, data=png, content_type="image/png")
    assert counted("gateway_swap_retries_total") == 0
    server.swap("pets", 2, classifier(dataclasses.replace(card, title="second"), constant(0.2, 0.7, 0.1)))
    client.post(PREDICT, data=png, content_type="image/png")
    assert counted("gateway_swap_retries_total", model="pets") == 1
    assert counted("gateway_requests_total", route=PREDICT, status="200", model="pets", version="2") == 1


# Several processes


COUNT_IN_THREE_PROCESSES = """
import os
from gateway.observability import metrics

for number in range(3):
    child = os.fork()
    if child == 0:
        metrics.SWAP_RETRIES.labels("pets").inc(number + 1)
        metrics.REQUEST_SECONDS.labels("/x").observe(0.2)
        metrics.REQUEST_THREADS.set(4)
        metrics.MODEL_VERSION.labels("pets").set(number + 7)
        os._exit(0)
    os.waitpid(child, 0)
page, content_type = metrics.render()
print(page.decode())
"""


COUNT_BEYOND_THE_SIZE_OF_A_FILE = """
from gateway.observability import metrics

first = metrics.SWAP_RETRIES.labels("first")
first.inc()
for number in range(2000):
    metrics.SWAP_RETRIES.labels(f"model-{number}").inc()
first.inc()
page, content_type = metrics.render()
print(page.decode())
"""


COUNT_WITH_DEFAULT_SETTINGS = """
from gateway.observability import metrics

metrics.allocate_files()
for model in range(10):
    for number in range(1000 if model < 2 else 10):
        metrics.TOP_CLASSES.labels(f"model-{model}", f"class-{number}-with-the-long-name").inc()
    for stage in ("receive", "fetch", "decode", "preprocess", "predict", "explain", "draw", "total"):
        metrics.STAGE_SECONDS.labels(stage, f"model-{model}").observe(0.1)
    metrics.TOP_SCORES.labels(f"model-{model}").observe(0.5)
    metrics.MODEL_VERSION.labels(f"model-{model}").set(1)
"""


RENDER_WHILE_PROCESSES_START = """
import os
import threading

from gateway.observability import metrics

metrics.allocate_files()
ended = threading.Event()

def start_processes():
    for _ in range(50):
        if os.fork() == 0:
            metrics.allocate_files()
            os._exit(0)
        os.wait()
    ended.set()

threading.Thread(target=start_processes).start()
while not ended.is_set():
    metrics.render()
"""


def _page_of(script: str, directory: Path) -> str:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_several_processes_count_together(tmp_path: Path):
    page = _page_of(COUNT_IN_THREE_PROCESSES, tmp_path)

    assert total(page, "gateway_swap_retries_total", model="pets") == 6
    assert total(page, "gateway_request_seconds_count", route="/x") == 3
    assert total(page, "gateway_request_threads") == 12
    assert total(page, "gateway_model_version", model="pets") == 7
    assert len(list(tmp_path.glob("counter_*.db"))) >= 3


def test_the_page_is_whole_while_processes_start(tmp_path: Path):
    _page_of(RENDER_WHILE_PROCESSES_START, tmp_path)

    assert len(list(tmp_path.glob("counter_*.db"))) > 50


def test_a_file_of_metrics_grows(tmp_path: Path):
    page = _page_of(COUNT_BEYOND_THE_SIZE_OF_A_FILE, tmp_path)

    assert total(page, "gateway_swap_retries_total", model="first") == 2
    assert total(page, "gateway_swap_retries_total") == 2002


def test_the_reserved_space_is_enough_for_two_models_of_a_thousand_classes_and_eight_others(tmp_path: Path):
    _page_of(COUNT_WITH_DEFAULT_SETTINGS, tmp_path)

    (counter,) = (path for path in tmp_path.glob("counter_*.db") if path.stat().st_size > 64 * 1024)
    pid = counter.stem.partition("_")[2]
    sizes = {kind: (tmp_path / f"{kind}_{pid}.db").stat().st_size for kind in metrics.FILE_BYTES}
    assert sizes == metrics.FILE_BYTES


def test_the_version_is_a_label(client: FlaskClient):
    page = client.get("/metrics").text

    assert total(page, "gateway_build_info", version=gateway.__version__) == 1
