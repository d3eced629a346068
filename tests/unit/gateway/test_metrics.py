import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask, abort
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[3]


def samples(page: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(page)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture
def counted(client: FlaskClient) -> Callable[..., float]:
    """Give how much a sample has grown since the test began."""

    def read() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        response = client.get("/metrics")
        assert response.status_code == 200
        assert response.content_type.startswith("text/plain; version=")
        return samples(response.text)

    before = read()

    def grown(name: str, **labels: str) -> float:
        key = (name, tuple(sorted(labels.items())))
        return read().get(key, 0.0) - before.get(key, 0.0)

    return grown


def test_answers_are_counted_by_route_method_and_status(client: FlaskClient, counted: Callable[..., float], png: bytes):
    for _ in range(3):
        client.post("/api/v1/predict", data=png, content_type="image/png")
    client.post("/api/v1/models/birds/predict", data=png, content_type="image/png")
    client.get("/nothing/here")
    client.get("/nothing/there")
    assert counted("gateway_requests_total", route="/api/v1/predict", method="POST", status="200") == 3
    assert counted("gateway_requests_total", route="/api/v1/models/<model>/predict", method="POST", status="404") == 1
    assert counted("gateway_requests_total", route="none", method="GET", status="404") == 2
    assert counted("gateway_request_seconds_count", route="/api/v1/predict") == 3
    assert counted("gateway_request_seconds_bucket", route="/api/v1/predict", le="+Inf") == 3
    assert counted("gateway_predictions_total", model="pets", version="1") == 3
    assert counted("gateway_problems_total", problem="model-not-found") == 1
    assert counted("gateway_problems_total", problem="not-found") == 2


def test_methods_that_clients_make_up_share_one_label(client: FlaskClient, counted: Callable[..., float]):
    for method in ("BREW", "WHEN", "XYZZY"):
        client.open("/livez", method=method)
    assert counted("gateway_requests_total", route="none", method="other", status="405") == 3
    assert "BREW" not in client.get("/metrics").text


def test_problems_without_a_type_are_counted_by_status(make_app: Callable[..., Flask], counted: Callable[..., float]):
    other = make_app()
    other.add_url_rule("/teapot", view_func=lambda: abort(418))
    other.test_client().get("/teapot")
    assert counted("gateway_problems_total", problem="http-418") == 1


COUNT_IN_THREE_PROCESSES = """
import os
from gateway import metrics

for number in range(3):
    child = os.fork()
    if child == 0:
        metrics.REQUESTS.labels("/x", "GET", 200).inc(number + 1)
        metrics.REQUEST_SECONDS.labels("/x").observe(0.2)
        os._exit(0)
    os.waitpid(child, 0)
page, content_type = metrics.render()
print(page.decode())
"""


def test_several_processes_count_together(tmp_path: Path):
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", COUNT_IN_THREE_PROCESSES],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    counts = samples(done.stdout)
    assert counts["gateway_requests_total", (("method", "GET"), ("route", "/x"), ("status", "200"))] == 6
    assert counts["gateway_request_seconds_count", (("route", "/x"),)] == 3
    assert len(list(tmp_path.glob("counter_*.db"))) >= 3
