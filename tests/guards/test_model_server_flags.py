"""The model server accepts every flag and file that a deployment passes to it."""

import re
import shutil

import pytest
import yaml

from gateway.settings import Settings
from model_server import options
from model_server.batching.parameters import read_parameters
from model_server.monitoring import read_page_path
from tests.support import server_command
from tools import compose, deployment, programs, run, serverless

MODELS = compose.ROOT / "serving_models"
PRESETS = sorted([MODELS / "batching.config", *(MODELS / "batching").glob("*.config")])


def compose_arguments(override=None, **variables):
    """Return the model server's arguments with docker-compose.yml and one further file."""
    service = compose.load(compose.BASE, variables)["services"]["model-server"]
    environment = compose.environment(service)
    if override:
        environment |= compose.environment(compose.load(compose.ROOT / override, variables)["services"]["model-server"])
    return server_command.arguments(service["command"][0], environment)


def kubernetes_arguments(folder):
    """Return the arguments of each model server of a kustomization."""
    for resource in deployment.render(folder):
        if resource["kind"] == "InferenceService":
            yield resource["spec"]["predictor"]["model"]["args"]
        if resource["kind"] == "Deployment":
            for container in resource["spec"]["template"]["spec"]["containers"]:
                if container["name"] == "model-server":
                    environment = {item["name"]: item["value"] for item in container["env"]}
                    yield server_command.arguments(container["args"][0], environment)


def prefers_tflite(arguments):
    return [argument for argument in arguments if argument.startswith("--prefer_tflite_model=")]


def test_compose_uses_known_flags_and_serves_tflite_without_batching():
    arguments = compose_arguments()

    assert options.parse(arguments).unknown == ()
    assert prefers_tflite(arguments) == ["--prefer_tflite_model=true"]
    assert not any("batching" in argument for argument in arguments)


def test_further_flags_are_added():
    arguments = compose_arguments(MODEL_SERVER_FLAGS="--num_load_threads=2 --max_num_load_retries=1")

    assert arguments[-2:] == ["--num_load_threads=2", "--max_num_load_retries=1"]


def test_the_gpu_override_serves_saved_models_in_batches():
    arguments = compose_arguments("docker-compose.gpu.yml")
    command_line = options.parse(arguments)

    assert command_line.unknown == ()
    assert prefers_tflite(arguments) == ["--prefer_tflite_model=false"]
    assert command_line.options.enable_batching
    assert (compose.ROOT / command_line.options.batching_parameters_file.removeprefix("/")).is_file()


@pytest.mark.parametrize("override", [None, "docker-compose.gpu.yml"])
def test_the_preset_of_the_variable_turns_batching_on(override):
    arguments = compose_arguments(override, BATCHING_CONFIG="batching/latency.config")
    server_options = options.parse(arguments).options

    assert server_options.enable_batching
    assert server_options.batching_parameters_file == "/serving_models/batching/latency.config"


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("folder", deployment.kustomizations(), ids=lambda folder: folder.name)
def test_kubernetes_uses_known_flags_and_batches_only_on_gpus(folder):
    servers = list(kubernetes_arguments(folder))

    is_gpu = folder.name == "gpu"
    assert servers
    for arguments in servers:
        command_line = options.parse(arguments)
        assert command_line.unknown == ()
        assert prefers_tflite(arguments) == [f"--prefer_tflite_model={'false' if is_gpu else 'true'}"]
        assert command_line.options.enable_batching == is_gpu


def test_make_run_and_the_serverless_container_serve_tflite(tmp_path):
    local = programs.model_server(run.parse([]), Settings())
    container, _ = serverless.programs(tmp_path / "models.config", tmp_path, {})

    assert prefers_tflite(local.command) == prefers_tflite(container.command) == ["--prefer_tflite_model=true"]


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
    text = (compose.ROOT / "docs" / "guides" / "batching.md").read_text(encoding="utf-8")
    for name in ("latency", "balanced", "throughput", "gpu"):
        parameters = read_parameters(MODELS / "batching" / f"{name}.config")
        (row,) = re.findall(rf"^\| `{name}` \|(.+)$", text, re.MULTILINE)
        assert str(parameters.rows_per_batch) in row
        if parameters.batch_timeout_micros:
            assert f"{parameters.batch_timeout_micros // 1000} ms" in row


def test_prometheus_scrapes_the_configured_path():
    jobs = yaml.safe_load((compose.ROOT / "deploy" / "monitoring" / "prometheus.yml").read_text(encoding="utf-8"))
    (path,) = (job["metrics_path"] for job in jobs["scrape_configs"] if job["job_name"] == "model-server")
    assert read_page_path(MODELS / "monitoring.config") == path
