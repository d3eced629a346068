"""The model server accepts every flag and file that a deployment passes to it."""

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


def test_compose_uses_known_flags():
    command = compose.load(compose.BASE)["services"]["model-server"]["command"][0]
    assert options.parse(flags(command)).unknown == ()


def test_the_gpu_override_uses_known_flags_and_an_existing_file():
    service = compose.load(compose.ROOT / "docker-compose.gpu.yml")["services"]["model-server"]
    command_line = options.parse(flags(service["environment"]["MODEL_SERVER_FLAGS"]))
    assert command_line.unknown == ()
    assert (compose.ROOT / command_line.options.batching_parameters_file.removeprefix("/")).is_file()


def test_the_preset_of_the_variable_is_used():
    variables = {"BATCHING_CONFIG": "batching/latency.config"}
    command = compose.load(compose.BASE, variables)["services"]["model-server"]["command"][0]
    assert options.parse(flags(command)).options.batching_parameters_file == "/serving_models/batching/latency.config"


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("folder", deployment.kustomizations(), ids=lambda folder: folder.name)
def test_kubernetes_uses_known_flags(folder):
    arguments = []
    for resource in deployment.render(folder):
        if resource["kind"] == "InferenceService":
            arguments += resource["spec"]["predictor"]["model"]["args"]
        if resource["kind"] == "Deployment":
            for container in resource["spec"]["template"]["spec"]["containers"]:
                arguments += flags(" ".join(container.get("args", []))) if container["name"] == "model-server" else []
                variables = {item["name"]: item.get("value", "") for item in container.get("env", [])}
                arguments += flags(variables.get("MODEL_SERVER_FLAGS", ""))
    assert arguments
    assert options.parse(arguments).unknown == ()


@pytest.mark.parametrize("file", PRESETS, ids=lambda file: file.name)
def test_presets_are_valid_and_accept_the_gateways_batches(file):
    parameters = read_parameters(file)
    parameters.check()
    assert parameters.max_batch_size >= Settings().max_batch_size


def test_presets_have_different_timeouts():
    waits = [
        read_parameters(MODELS / "batching" / f"{name}.config").batch_timeout_micros
        for name in ("latency", "balanced", "throughput")
    ]
    assert waits == sorted(set(waits))


def test_the_documentation_describes_the_presets():
    text = (compose.ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    for name in ("latency", "balanced", "throughput", "gpu"):
        parameters = read_parameters(MODELS / "batching" / f"{name}.config")
        (row,) = re.findall(rf"^\| `{name}` \|(.+)$", text, re.MULTILINE)
        assert str(parameters.rows_per_batch) in row
        if parameters.batch_timeout_micros:
            assert f"{parameters.batch_timeout_micros // 1000} ms" in row


def test_prometheus_scrapes_the_configured_path():
    jobs = yaml.safe_load((compose.ROOT / "deploy" / "monitoring" / "prometheus.yml").read_text(encoding="utf-8"))
    (path,) = (job["metrics_path"] for job in jobs["scrape_configs"] if "metrics_path" in job)
    assert read_page_path(MODELS / "monitoring.config") == path
