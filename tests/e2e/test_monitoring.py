"""Dashboard and rules over the real stack: what they ask for is there, and a real Prometheus understands it."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from gateway.observability import metrics
from tests.support.metrics_page import fetched, samples
from tests.support.monitoring import FOLDER, RULES, expressions, filled, metric_names, panels, rules
from tests.support.stack import Stack, answers, free_ports
from tests.support.waiting import until

PROMETHEUS = shutil.which("prometheus") or ""
REAL_TYPES = Path(__file__).parents[3] / "shared" / "tfs_groundtruth" / "prometheus_types.txt"
PATIENCE_S = 60
MODEL_SERVER_PAGE = "/monitoring/prometheus/metrics"
PROMETHEUS_OWN = {"up"}
NOT_YET = {f"{metrics.SWAP_RETRIES.describe()[0].name}_total"}  # workers write what has happened once
A_DAY_BACK = "Distance from the class mix of a day ago"
NO_SWAP = "Requests repeated after a version swap, per second"


@pytest.fixture(scope="module")
def ask(stack: Stack, photos: list[tuple[Path, str]], picture_host: tuple[Path, str]) -> Callable[[], None]:
    """Ask one of everything that the dashboard shows."""
    folder, host = picture_host
    photo = photos[0][0].read_bytes()
    (folder / "monitored.png").write_bytes(photo)

    def ask() -> None:
        url = {"url": f"http://{host}/monitored.png"}
        assert requests.post(stack.predict_url, files={"image": photo}, timeout=30).status_code == 200
        assert requests.post(stack.predict_url, json=url, timeout=30).status_code == 200
        assert requests.post(stack.predict_url, files={"image": b"text"}, timeout=30).status_code == 415

    return ask


def names(page: str) -> set[str]:
    return set(re.findall(r"^[\w:]+", page, re.MULTILINE))  # the parser adds _total where TensorFlow Serving has none


def test_every_metric_that_is_named_is_exposed(stack: Stack, ask: Callable[[], None]):
    ask()
    gateway = names(fetched(f"http://127.0.0.1:{stack.ports.gateway}/metrics"))
    model_server = names(fetched(f"http://127.0.0.1:{stack.ports.rest}{MODEL_SERVER_PAGE}"))
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for place, expression in expressions():
        assert metric_names(expression), place
        assert metric_names(expression) <= gateway | model_server | recorded | PROMETHEUS_OWN | NOT_YET, place


@pytest.mark.skipif(not REAL_TYPES.exists(), reason="the recorded page of TensorFlow Serving is not there")
def test_what_is_asked_of_the_model_server_the_real_one_has():
    kinds = dict(line.split() for line in REAL_TYPES.read_text(encoding="utf-8").splitlines())
    asked = {name for _, expression in expressions() for name in metric_names(expression) if name.startswith(":")}
    assert asked
    for name in asked:
        assert name in kinds or kinds[name.removesuffix("_bucket")] == "histogram"


# A real Prometheus


class Prometheus:
    """A running Prometheus with our rules."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **parameters: str) -> Any:
        response = requests.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30)
        assert response.status_code == 200, response.text
        return response.json()["data"]

    def query(self, expression: str) -> list[Any]:
        return self.get("query", query=expression)["result"]


@pytest.fixture(scope="module")
def prometheus(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Our configuration, with the stack's ports for targets, and looks every second."""
    if not PROMETHEUS:
        pytest.skip("Prometheus is not installed")
    folder = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    for job in config["scrape_configs"]:
        port = {"gateway": stack.ports.gateway, "model-server": stack.ports.rest}[job["job_name"]]
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    quick = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    for group in quick["groups"]:
        group["interval"] = "1s"
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (folder / "alerts.yml").write_text(yaml.safe_dump(quick), encoding="utf-8")
    port = free_ports().front
    command = [PROMETHEUS, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: answers(f"{url}/-/ready"), PATIENCE_S, "Prometheus ready")
        yield Prometheus(url)
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_every_panel_has_something_to_show(prometheus: Prometheus, ask: Callable[[], None]):
    until(lambda: len(prometheus.query("up == 1")) == 2, PATIENCE_S, "both scraped")

    def empty() -> list[str]:
        ask()
        return [
            f"{panel['title']}: {target['expr']}"
            for panel in panels()
            for target in panel["targets"]
            if panel["title"] not in {A_DAY_BACK, NO_SWAP} and not prometheus.query(filled(target["expr"]))
        ]

    try:
        until(lambda: not empty(), PATIENCE_S, "data in every panel")
    except TimeoutError:
        assert empty() == []


def test_prometheus_understands_every_expression(prometheus: Prometheus):
    for _, expression in expressions():
        prometheus.query(expression)


def test_rules_are_evaluated_and_all_is_well(prometheus: Prometheus):
    def states() -> dict[str, tuple[str, str]]:
        listed = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
        return {rule["name"]: (rule["health"], rule.get("state", "recorded")) for rule in listed}

    until(lambda: all(health == "ok" for health, _ in states().values()), PATIENCE_S, "rules evaluated")
    found = states()
    assert set(found) == {rule.get("alert") or rule["record"] for rule in rules()}
    critical = {rule["alert"] for rule in rules() if rule.get("labels", {}).get("severity") == "critical"}
    assert {name for name, (_, state) in found.items() if state == "firing"} & critical == set()


def test_the_numbers_are_those_of_the_gateway(prometheus: Prometheus, ask: Callable[[], None], stack: Stack):
    ask()
    page = fetched(f"http://127.0.0.1:{stack.ports.gateway}/metrics")
    asked = sum(
        sample.value
        for sample in samples(page)
        if sample.name == "gateway_images_total" and sample.labels["outcome"] == "answered"
    )
    seen = 'sum(gateway_images_total{outcome="answered"})'

    def scraped() -> bool:
        result = prometheus.query(seen)
        return bool(result) and float(result[0]["value"][1]) == asked

    until(scraped, PATIENCE_S, "the counts scraped")
