"""Gateway and model server in one container: `deploy/serverless/Dockerfile`."""

import os
import signal
import socket
import subprocess

import pytest
import requests

from gateway.settings import Settings
from tests.support.listeners import listeners
from tests.support.processes import is_running
from tests.support.scores import SCORE_TOLERANCE
from tests.support.stack import processes_of
from tests.support.waiting import until
from tools.committed_models import newest_version
from tools.processes import descendants

pytestmark = pytest.mark.timeout(240)
PATIENCE_S = 90
PNG = {"Content-Type": "image/png"}


def test_the_variables_of_the_image_are_valid_settings(serverless_image):
    settings = Settings.from_env(serverless_image.environment)

    assert settings.workers == 1
    assert settings.start_wait_s > 0
    assert settings.graceful_timeout_s < 10  # Cloud Run and Docker send SIGKILL 10 s after SIGTERM
    assert not settings.sagemaker


def test_the_first_request_waits_for_the_model(start_container, golden):
    png, label, probabilities = golden[0]
    with start_container() as container:
        until(container.is_open, PATIENCE_S, "listening")

        response = requests.post(f"{container.url}/api/v1/predict", data=png, headers=PNG, timeout=PATIENCE_S)

    assert (response.status_code, response.json()["class"]) == (200, label)
    assert response.json()["score"] == pytest.approx(max(probabilities), abs=SCORE_TOLERANCE)
    assert response.json()["model"] == {"name": "digits", "version": int(newest_version("digits").name)}


def test_the_image_has_no_tensorflow(serverless_image):
    code = "import importlib.util, ai_edge_litert; print(importlib.util.find_spec('tensorflow'))"

    found = subprocess.run(
        ["python", "-c", code], env=serverless_image.environment, capture_output=True, text=True, check=True
    )

    assert found.stdout == "None\n"


def test_only_the_configured_port_is_open(container):
    assert {port for _, port in listeners(container.process.pid)} == {container.port}


def test_the_output_of_both_programs_is_printed(container):
    until(lambda: "Running gRPC ModelServer" in container.output(), PATIENCE_S)
    until(lambda: '"event": "Listening at: ' in container.output(), PATIENCE_S)


def test_sagemaker_can_ping_and_invoke(container, golden):
    png, label, _ = golden[1]

    ping = requests.get(f"{container.url}/ping", timeout=PATIENCE_S)
    response = requests.post(f"{container.url}/invocations", data=png, headers=PNG, timeout=PATIENCE_S)

    assert ping.status_code == 200
    assert (response.status_code, response.json()["class"]) == (200, label)


def test_a_request_in_progress_is_answered_after_sigterm(start_container, golden):
    png, label, _ = golden[2]
    with start_container() as container:
        until(container.is_open, PATIENCE_S, "listening")
        assert requests.get(f"{container.url}/readyz", timeout=PATIENCE_S).status_code == 200
        processes = list(descendants(container.process.pid))
        head = (
            f"POST /api/v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(png)}\r\n\r\n"
        )

        with socket.create_connection(("127.0.0.1", container.port), timeout=PATIENCE_S) as client:
            client.sendall(head.encode() + png[:100])
            # Connections are accepted in order: once a later request is answered, this one was accepted.
            assert requests.get(f"{container.url}/livez", timeout=PATIENCE_S).status_code == 200
            container.process.send_signal(signal.SIGTERM)
            until(lambda: "Handling signal: term" in container.output(), PATIENCE_S)
            client.sendall(png[100:])
            response = client.makefile("rb").read()

        assert response.startswith(b"HTTP/1.1 200")
        assert f'"class":"{label}"'.encode() in response
        assert container.process.wait(PATIENCE_S) == 0
        assert not any(is_running(pid) for pid in processes)


@pytest.mark.parametrize(
    ("program", "message"),
    [("model_server", "model-server ended by SIGKILL"), ("gunicorn", "gateway ended by SIGKILL")],
    ids=["model server", "gateway"],
)
def test_the_container_ends_when_one_of_its_programs_ends(start_container, program, message):
    with start_container() as container:
        until(container.is_open, PATIENCE_S, "listening")
        processes = list(descendants(container.process.pid))

        os.kill(processes_of(container.process, program)[0], signal.SIGKILL)

        assert container.process.wait(PATIENCE_S) == 1
        assert f"serverless: {message}" in container.output()
        until(lambda: not any(is_running(pid) for pid in processes), PATIENCE_S, "all processes ended")


def test_a_stop_during_the_start_does_not_wait_for_the_model(start_container, tmp_path):
    empty = tmp_path / "models.config"
    entry = f'config {{ name: "none" base_path: "{tmp_path}/none" model_platform: "tensorflow" }}'
    empty.write_text(f"model_config_list {{ {entry} }}")
    with start_container(f"--models-config={empty}", GATEWAY_START_WAIT_S="600") as container:
        until(container.is_open, PATIENCE_S, "listening")
        until(lambda: '"event": "model_unusable"' in container.output(), PATIENCE_S, "waiting for the model")

        container.process.send_signal(signal.SIGTERM)

        assert container.process.wait(PATIENCE_S) == 0


def test_an_invalid_setting_ends_the_start_and_is_named(start_container):
    with start_container(GATEWAY_THREADS="many") as container:
        assert container.process.wait(PATIENCE_S) == 1
        assert "GATEWAY_THREADS='many'" in container.output()
