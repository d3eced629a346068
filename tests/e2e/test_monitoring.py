"""Dashboard and rules on the real stack: their metrics exist, and a real Prometheus accepts their expressions."""

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
from tests.support.metrics_page import fetch, samples
from tests.support.monitoring import FOLDER, RULES, expressions, metric_names, panels, rules, substitute
from tests.support.stack import RunningStack, answers, free_ports
from tests.support.waiting import until

PROMETHEUS = shutil.which("prometheus") or ""
REAL_TYPES = Path(__file__).parents[3] / "shared" / "tfs_groundtruth" / "prometheus_types.txt"
PATIENCE_S = 60
MIN_EXPRESSIONS = 20
MODEL_SERVER_PAGE = "/monitoring/prometheus/metrics"
PROMETHEUS_OWN = {"up"}
OTHER_EXPORTERS = ("container_", "kube_", "probe_", "certmanager_")
"""First words of metrics from the kubelet, kube-state-metrics, the blackbox exporter and cert-manager."""
NOT_YET = {f"{metrics.SWAP_RETRIES.describe()[0].name}_total"}  # workers only write a counter after its first increment
NEEDS_A_DAY = "Distance from the class mix of a day ago"
NEEDS_A_SWAP = "Requests repeated after a version swap, per second"


@pytest.fixture(scope="module")
def send_requests(
    stack: RunningStack, photos: list[tuple[Path, str]], image_host: tuple[Path, str]
) -> Callable[[], None]:
    """Return a function that sends one request of each kind that the dashboard shows."""
    folder, host = image_host
    photo = photos[0][0].read_bytes()
    (folder / "monitored.png").write_bytes(photo)

    def send() -> None:
        url = {"url": f"http://{host}/monitored.png"}
        assert requests.post(stack.predict_url, files={"image": photo}, timeout=30).status_code == 200
        assert requests.post(stack.predict_url, json=url, timeout=30).status_code == 200
        assert requests.post(stack.predict_url, files={"image": b"text"}, timeout=30).status_code == 415

    return send


def names(page: str) -> set[str]:
    return set(re.findall(r"^[\w:]+", page, re.MULTILINE))  # the parser adds _total, which TensorFlow Serving does not


def reads_only_other_exporters(expression: str) -> bool:
    return all(name.startswith(OTHER_EXPORTERS) for name in metric_names(expression))


def test_every_metric_in_an_expression_is_exposed(stack: RunningStack, send_requests: Callable[[], None]):
    send_requests()
    gateway = names(fetch(f"http://127.0.0.1:{stack.ports.gateway}/metrics"))
    model_server = names(fetch(f"http://127.0.0.1:{stack.ports.rest}{MODEL_SERVER_PAGE}"))
    recorded_names = {rule["record"] for rule in rules() if "record" in rule}

    exposed = gateway | model_server | recorded_names | PROMETHEUS_OWN | NOT_YET
    metric_sets = [
        (place, {name for name in metric_names(expression) if not name.startswith(OTHER_EXPORTERS)})
        for place, expression in expressions()
        if not reads_only_other_exporters(expression)
    ]
    assert len(metric_sets) >= MIN_EXPRESSIONS
    for place, metric_set in metric_sets:
        assert metric_set, place
        assert metric_set <= exposed, place


@pytest.mark.skipif(not REAL_TYPES.exists(), reason="the recorded page of TensorFlow Serving is missing")
def test_tensorflow_serving_has_the_metrics_that_expressions_read():
    kinds = dict(line.split() for line in REAL_TYPES.read_text(encoding="utf-8").splitlines())
    metric_set = {name for _, expression in expressions() for name in metric_names(expression) if name.startswith(":")}

    assert metric_set
    for name in metric_set:
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
def prometheus(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Start Prometheus with our configuration, the stack's ports as targets, and an interval of one second."""
    if not PROMETHEUS:
        pytest.skip("Prometheus is not installed")
    folder = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"] = [job for job in config["scrape_configs"] if job["job_name"] != "certificate"]
    for job in config["scrape_configs"]:
        port = {"gateway": stack.ports.gateway, "model-server": stack.ports.rest}[job["job_name"]]
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    rule_file = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    for group in rule_file["groups"]:
        group["interval"] = "1s"
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (folder / "alerts.yml").write_text(yaml.safe_dump(rule_file), encoding="utf-8")
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


def test_every_panel_has_data(prometheus: Prometheus, send_requests: Callable[[], None]):
    until(lambda: len(prometheus.query("up == 1")) == 2, PATIENCE_S, "both scraped")

    def empty_panels() -> list[str]:
        send_requests()
        return [
            f"{panel['title']}: {target['expr']}"
            for panel in panels()
            for target in panel["targets"]
            if panel["title"] not in {NEEDS_A_DAY, NEEDS_A_SWAP}
            and not reads_only_other_exporters(target["expr"])
            and not prometheus.query(substitute(target["expr"]))
        ]

    try:
        until(lambda: not empty_panels(), PATIENCE_S, "data in every panel")
    except TimeoutError:
        assert empty_panels() == []


def test_prometheus_accepts_every_expression(prometheus: Prometheus):
    queries = [expression for _, expression in expressions()]

    assert queries
    for query in queries:
        prometheus.query(query)


def test_rules_are_evaluated_and_no_critical_alert_fires(prometheus: Prometheus):
    def states() -> dict[str, tuple[str, str]]:
        documents = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
        return {rule["name"]: (rule["health"], rule.get("state", "recorded")) for rule in documents}

    until(lambda: all(health == "ok" for health, _ in states().values()), PATIENCE_S, "rules evaluated")
    final = states()

    assert set(final) == {rule.get("alert") or rule["record"] for rule in rules()}
    critical = {rule["alert"] for rule in rules() if rule.get("labels", {}).get("severity") == "critical"}
    assert {name for name, (_, state) in final.items() if state == "firing"} & critical == set()


def test_scraped_counts_equal_those_of_the_gateway(
    prometheus: Prometheus, send_requests: Callable[[], None], stack: RunningStack
):
    send_requests()
    page = fetch(f"http://127.0.0.1:{stack.ports.gateway}/metrics")
    image_count = sum(
        sample.value
        for sample in samples(page)
        if sample.name == "gateway_images_total" and sample.labels["outcome"] == "answered"
    )
    query = 'sum(gateway_images_total{outcome="answered"})'

    def scraped() -> bool:
        result = prometheus.query(query)
        return bool(result) and float(result[0]["value"][1]) == image_count

    until(scraped, PATIENCE_S, "the counts scraped")
