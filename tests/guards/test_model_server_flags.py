"""Every flag and file that a deployment gives the model server is one that it can use."""

import re
import shlex
import shutil

import pytest
import yaml

from gateway.settings import Settings
from model_server import options
from model_server.batching.parameters import read_parameters
from model_server.monitoring import read_page_path
from tools import compose, deployment

MODELS = compose.ROOT / "serving_models"
PRESETS = sorted([MODELS / "batching.config", *(MODELS / "batching").glob("*.config")])


def flags(command):
    return [word for word in shlex.split(command) if word.startswith("--")]


def test_compose_gives_flags_that_there_are():
    command = compose.load(compose.BASE)["services"]["model-server"]["command"][0]
    assert options.parse(flags(command)).unknown == ()


def test_the_gpu_override_gives_flags_that_there_are_and_a_file_that_is_there():
    service = compose.load(compose.ROOT / "docker-compose.gpu.yml")["services"]["model-server"]
    read = options.parse(flags(service["environment"]["MODEL_SERVER_FLAGS"]))
    assert read.unknown == ()
    assert (compose.ROOT / read.options.batching_parameters_file.removeprefix("/")).is_file()


def test_a_preset_chosen_by_variable_is_the_one_that_is_read():
    variables = {"BATCHING_CONFIG": "batching/latency.config"}
    command = compose.load(compose.BASE, variables)["services"]["model-server"]["command"][0]
    assert options.parse(flags(command)).options.batching_parameters_file == "/serving_models/batching/latency.config"


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("folder", deployment.kustomizations(), ids=lambda folder: folder.name)
def test_kubernetes_gives_flags_that_there_are(folder):
    given = []
    for resource in deployment.render(folder):
        if resource["kind"] == "InferenceService":
            given += resource["spec"]["predictor"]["model"]["args"]
        if resource["kind"] == "Deployment":
            for container in resource["spec"]["template"]["spec"]["containers"]:
                given += flags(" ".join(container.get("args", []))) if container["name"] == "model-server" else []
                variables = {item["name"]: item.get("value", "") for item in container.get("env", [])}
                given += flags(variables.get("MODEL_SERVER_FLAGS", ""))
    assert given
    assert options.parse(given).unknown == ()


@pytest.mark.parametrize("file", PRESETS, ids=lambda file: file.name)
def test_a_preset_can_be_used_and_takes_the_gateways_batches(file):
    parameters = read_parameters(file)
    parameters.check()
    assert parameters.max_batch_size >= Settings().max_batch_size


def test_presets_differ_in_how_long_they_wait():
    waits = [
        read_parameters(MODELS / "batching" / f"{name}.config").batch_timeout_micros
        for name in ("latency", "balanced", "throughput")
    ]
    assert waits == sorted(set(waits))


def test_the_documentation_says_what_the_presets_do():
    text = (compose.ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    for name in ("latency", "balanced", "throughput", "gpu"):
        parameters = read_parameters(MODELS / "batching" / f"{name}.config")
        (row,) = re.findall(rf"^\| `{name}` \|(.+)$", text, re.MULTILINE)
        assert str(parameters.rows_per_batch) in row
        if parameters.batch_timeout_micros:
            assert f"{parameters.batch_timeout_micros // 1000} ms" in row


def test_the_page_of_counts_is_where_prometheus_looks():
    jobs = yaml.safe_load((compose.ROOT / "deploy" / "monitoring" / "prometheus.yml").read_text(encoding="utf-8"))
    (path,) = (job["metrics_path"] for job in jobs["scrape_configs"] if "metrics_path" in job)
    assert read_page_path(MODELS / "monitoring.config") == path
