"""One server with its other services: configuration by file and by call, health, TLS, metrics."""

import shutil
import subprocess

import grpc
import numpy as np
import pytest

from tfs_api.protos import model_management_pb2, predict_pb2
from tfs_api.services import model_service_pb2_grpc, prediction_service_pb2_grpc
from tfs_api.tensors import to_tensor_proto


def config_of(**base_paths):
    models = [
        f'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" }}'
        for name, path in base_paths.items()
    ]
    return f"model_config_list {{ {' '.join(models)} }}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make a folder with key, certificate and configuration files."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("side_services")
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(folder / "key"), "-out", str(folder / "cert")]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    key, certificate = ((folder / name).read_text().replace("\n", "\\n") for name in ("key", "cert"))
    (folder / "ssl.config").write_text(f'server_key: "{key}" server_cert: "{certificate}"')
    (folder / "monitoring.config").write_text(
        'prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }'
    )
    return folder


@pytest.fixture(scope="module")
def server(start_server, folder, saved_model):
    (folder / "models.config").write_text(config_of(half=saved_model))
    return start_server(
        f"--model_config_file={folder}/models.config",
        "--model_config_file_poll_wait_seconds=1",
        f"--monitoring_config_file={folder}/monitoring.config",
        f"--ssl_config_file={folder}/ssl.config",
        "--enable_grpc_healthcheck_service",
    ).wait_until_serving()


@pytest.fixture(scope="module")
def channel(server, folder):
    credentials = grpc.ssl_channel_credentials((folder / "cert").read_bytes())
    with grpc.secure_channel(f"localhost:{server.grpc_port}", credentials) as channel:
        yield channel


def count(server, line):
    status, page = server.rest("GET", "/monitoring/prometheus/metrics")
    assert status == 200
    return int(next((text.rpartition(" ")[2] for text in page.splitlines() if text.startswith(line)), "0"))


def test_calls_are_encrypted_and_counted(server, channel, saved_model):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half"
    request.inputs["x"].CopyFrom(to_tensor_proto(np.float32([1])))
    before = count(server, ':tensorflow:serving:request_count{model_name="half",status="OK"}')
    response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
    assert list(response.outputs["y"].float_val) == [2.5]
    assert server.rest("POST", "/v1/models/half:predict", {"instances": [1.0]})[0] == 200
    assert count(server, ':tensorflow:serving:request_count{model_name="half",status="OK"}') == before + 2
    loads = f':tensorflow:cc:saved_model:load_attempt_count{{model_path="{saved_model}/1",status="success"}}'
    assert count(server, loads) >= 1
    with pytest.raises(grpc.RpcError):  # without TLS
        server.predict("half", x=np.float32([1]), timeout_s=5)


def test_health(channel):
    assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=30) == b"\x08\x01"


def test_the_configuration_file_and_a_reload_call_change_the_models(server, channel, folder, saved_model, wait_for):
    def served(name):
        return server.rest("POST", f"/v1/models/{name}:predict", {"instances": [1.0]})[0] == 200

    (folder / "models.config").write_text(config_of(half=saved_model, added=saved_model))
    wait_for(lambda: served("added"))
    (folder / "models.config").write_text("broken")
    wait_for(lambda: "Invalid protobuf file" in server.log.read_text())
    assert served("added")
    request = model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.config.add(name="half", base_path=str(saved_model), model_platform="tensorflow")
    request.config.model_config_list.config.add(name="called", base_path=str(saved_model), model_platform="tensorflow")
    reply = model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest(request, timeout=60)
    assert reply.HasField("status")
    assert served("called")
    wait_for(lambda: not served("added"))
