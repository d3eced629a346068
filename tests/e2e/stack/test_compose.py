"""docker-compose.yml without containers: its commands, environments and health checks, run as local processes.

Only the containers' paths `/serving_models` and `/tmp` and their addresses are replaced by those of this machine.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.support.processes import suspend
from tests.support.stack import answers, free_ports
from tests.support.waiting import until
from tools import compose, nginx
from tools.committed_models import golden_images

ROOT = compose.ROOT
GOLDEN = golden_images("digits")
PATIENCE_S = 90
pytestmark = [
    pytest.mark.in_order,  # the last test stops the services
    pytest.mark.timeout(240),
    pytest.mark.skipif(nginx.find() is None or shutil.which("curl") is None, reason="nginx or curl is not installed"),
]


class Containers:
    """The services of docker-compose.yml as processes."""

    def __init__(self, folder):
        self.services = compose.load(compose.BASE)["services"]
        self.folder = folder
        self.ports = free_ports()
        self.url = f"http://127.0.0.1:{self.ports.front}"
        self.running = {}
        # The programs that the images have on PATH.
        programs = folder / "bin"
        programs.mkdir()
        server = programs / "tensorflow_model_server"
        server.write_text(f'#!/bin/sh\ncd {ROOT} && exec {sys.executable} -m model_server "$@"\n', encoding="utf-8")
        server.chmod(0o755)
        python = Path(sys.executable).parent
        self.path = os.pathsep.join(map(str, (programs, python, os.environ["PATH"], Path(nginx.find()).parent)))

    def localize(self, text, service):
        """Replace a container's paths and addresses by those of this machine."""
        replacements = {
            "/serving_models": str(ROOT / "serving_models"),
            "/tmp": str(self.folder / service),  # noqa: S108  # the container's
            "model-server:8500": f"127.0.0.1:{self.ports.grpc}",
            "gateway:8000": f"127.0.0.1:{self.ports.gateway}",
            "8500": str(self.ports.grpc),
            "8501": str(self.ports.rest),
            "8000": str(self.ports.gateway),
            "8080": str(self.ports.front),
        }
        # Only the absolute path, not the `serving_models/` of models.config.
        pattern = "|".join(f"(?<![\\w.]){re.escape(name)}" for name in replacements)
        return re.sub(pattern, lambda match: replacements[match[0]], text)

    def start(self, service, command):
        (self.folder / service).mkdir()
        variables = compose.environment(self.services[service])
        environment = {name: self.localize(value, service) for name, value in variables.items()}
        self.prepare(service, environment)
        with (self.folder / f"{service}.log").open("wb") as log:
            self.running[service] = subprocess.Popen(
                [self.localize(part, service) for part in command],
                cwd=ROOT,
                env={**environment, "PATH": self.path},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until(lambda: self.healthy(service), PATIENCE_S, f"{service} healthy: {self.log(service)}")

    def prepare(self, service, environment):
        """Render nginx's template as its image does at the start: substitute the variables that match the filter."""
        if service == "nginx":
            name_filter = re.compile(environment["NGINX_ENVSUBST_FILTER"])
            text = nginx.TEMPLATE.read_text(encoding="utf-8")
            for name, value in environment.items():
                if name_filter.search(name):
                    text = text.replace(f"${{{name}}}", value).replace(f"${name};", f"{value};")
            output = Path(environment["NGINX_ENVSUBST_OUTPUT_DIR"]) / "nginx.conf"
            output.write_text(text, encoding="utf-8")

    def healthy(self, service):
        assert self.running[service].poll() is None, self.log(service)
        kind, *check = self.services[service]["healthcheck"]["test"]
        assert kind == "CMD"
        command = [self.localize(part, service) for part in check]
        return subprocess.run(command, env={"PATH": self.path}, capture_output=True, check=False).returncode == 0

    def log(self, service):
        return (self.folder / f"{service}.log").read_text(encoding="utf-8")[-2000:]

    def stop(self, service):
        """Stop a service as Compose does: send the signal, wait for the grace period, kill; return the status."""
        process = self.running.pop(service)
        seconds = float(self.services[service]["stop_grace_period"].removesuffix("s"))
        process.send_signal(signal.SIGQUIT if service == "nginx" else signal.SIGTERM)
        try:
            return process.wait(seconds)
        finally:
            process.kill()
            process.wait()


def gateway_command():
    """Return the command of gateway/Dockerfile."""
    return json.loads(re.findall(r"^CMD (\[.+\])$", (ROOT / "gateway" / "Dockerfile").read_text(), re.MULTILINE)[-1])


@pytest.fixture(scope="module")
def containers(tmp_path_factory):
    containers = Containers(tmp_path_factory.mktemp("compose"))
    server, front = containers.services["model-server"], containers.services["nginx"]
    # Started by root, nginx's workers would run as a user without access to the test's folder. A container has no root.
    user_options = nginx.command("nginx", containers.folder / "nginx.conf")[7:]
    with ExitStack() as stack:
        stack.callback(lambda: [containers.stop(service) for service in list(reversed(containers.running))])
        containers.start("model-server", [*server["entrypoint"], *server["command"]])
        containers.start("gateway", gateway_command())
        containers.start("nginx", [*front["command"], *user_options])
        yield containers


def predict(containers, **options):
    with (GOLDEN / "07.png").open("rb") as image:
        files = [("image", image.read())] * 3
    return requests.post(f"{containers.url}/api/v1/models/digits/predict", files=files, timeout=30, **options)


def test_a_batch_is_answered_through_all_three_services(containers):
    response = predict(containers)

    assert response.status_code == 200, response.text
    assert [result["class"] for result in response.json()["results"]] == ["7"] * 3


def test_every_configured_model_is_listed(containers):
    models = requests.get(f"{containers.url}/api/v1/models", timeout=30).json()["models"]

    assert {model["name"] for model in models} == {"cifar10", "digits", "imagenet"}


def test_every_flag_of_the_model_server_is_known_and_has_an_effect(containers):
    log = (containers.folder / "model-server.log").read_text(encoding="utf-8").lower()

    assert log
    assert "unknown" not in log
    assert "without effect" not in log


def test_every_variable_of_nginxs_template_is_substituted(containers):
    text = (containers.folder / "nginx" / "nginx.conf").read_text(encoding="utf-8")

    assert text
    assert "${" not in text.replace("${...}", "")


def test_an_address_that_a_client_claims_is_not_believed(containers):
    predict(containers, headers={"X-Forwarded-For": "198.51.100.7", "X-Request-ID": "whose"})

    until(lambda: '"whose"' in containers.log("gateway"), PATIENCE_S, "request logged")
    assert "198.51.100.7" not in containers.log("gateway")


def test_a_health_check_fails_while_its_service_is_unavailable(containers):
    server = containers.running["model-server"]

    suspend(server.pid)
    try:
        until(lambda: not answers(f"{containers.url}/readyz"), PATIENCE_S, "not ready")
        assert not containers.healthy("gateway")
        assert containers.healthy("nginx")
    finally:
        server.send_signal(signal.SIGCONT)

    until(lambda: containers.healthy("gateway"), PATIENCE_S, "ready again")


def test_every_service_stops_within_its_grace_period(containers):
    for service in ("nginx", "gateway", "model-server"):
        assert containers.stop(service) == 0, containers.log(service)
