"""docker-compose.yml without containers: its commands, environments and checks, run as processes of this machine.

What a container sees at `/serving_models`, `/tmp` and its ports is put where this machine has it; no more is changed.
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

from tests.support.stack import answers, free_ports
from tests.support.waiting import until
from tools import compose, nginx

ROOT = compose.ROOT
GOLDEN = ROOT / "serving_models" / "digits" / "1" / "assets.extra" / "golden"
PATIENCE_S = 90
pytestmark = [
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
        # What the images have on PATH.
        programs = folder / "bin"
        programs.mkdir()
        server = programs / "tensorflow_model_server"
        server.write_text(f'#!/bin/sh\ncd {ROOT} && exec {sys.executable} -m model_server "$@"\n', encoding="utf-8")
        server.chmod(0o755)
        python = Path(sys.executable).parent
        self.path = os.pathsep.join(map(str, (programs, python, os.environ["PATH"], Path(nginx.find()).parent)))

    def here(self, text, service):
        """Put what a container sees where this machine has it."""
        places = {
            "/serving_models": str(ROOT / "serving_models"),
            "/tmp": str(self.folder / service),  # noqa: S108  # the container's
            "model-server:8500": f"127.0.0.1:{self.ports.grpc}",
            "gateway:8000": f"127.0.0.1:{self.ports.gateway}",
            "8500": str(self.ports.grpc),
            "8501": str(self.ports.rest),
            "8000": str(self.ports.gateway),
            "8080": str(self.ports.front),
        }
        # Not `serving_models/` as models.config has it, only the absolute path.
        return re.sub("|".join(f"(?<![\\w.]){re.escape(place)}" for place in places), lambda m: places[m[0]], text)

    def start(self, service, command):
        (self.folder / service).mkdir()
        given = compose.environment(self.services[service])
        environment = {name: self.here(value, service) for name, value in given.items()}
        self.prepare(service, environment)
        with (self.folder / f"{service}.log").open("wb") as log:
            self.running[service] = subprocess.Popen(
                [self.here(part, service) for part in command],
                cwd=ROOT,
                env={**environment, "PATH": self.path},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until(lambda: self.healthy(service), PATIENCE_S, f"{service} healthy: {self.log(service)}")

    def prepare(self, service, environment):
        """Do what nginx's image does at its start: fill in the names that the filter lets through."""
        if service == "nginx":
            wanted = re.compile(environment["NGINX_ENVSUBST_FILTER"])
            text = nginx.TEMPLATE.read_text(encoding="utf-8")
            for name, value in environment.items():
                if wanted.search(name):
                    text = text.replace(f"${{{name}}}", value).replace(f"${name};", f"{value};")
            output = Path(environment["NGINX_ENVSUBST_OUTPUT_DIR"]) / "nginx.conf"
            output.write_text(text, encoding="utf-8")

    def healthy(self, service):
        assert self.running[service].poll() is None, self.log(service)
        kind, *check = self.services[service]["healthcheck"]["test"]
        assert kind == "CMD"
        command = [self.here(part, service) for part in check]
        return subprocess.run(command, env={"PATH": self.path}, capture_output=True, check=False).returncode == 0

    def log(self, service):
        return (self.folder / f"{service}.log").read_text(encoding="utf-8")[-2000:]

    def stop(self, service):
        """Stop as Compose does: the signal, the time it gives, and then no more."""
        process = self.running.pop(service)
        seconds = float(self.services[service]["stop_grace_period"].removesuffix("s"))
        process.send_signal(signal.SIGQUIT if service == "nginx" else signal.SIGTERM)
        try:
            return process.wait(seconds)
        finally:
            process.kill()
            process.wait()


def gateway_command():
    """What gateway/Dockerfile ends with."""
    return json.loads(re.findall(r"^CMD (\[.+\])$", (ROOT / "gateway" / "Dockerfile").read_text(), re.MULTILINE)[-1])


@pytest.fixture(scope="module")
def containers(tmp_path_factory):
    made = Containers(tmp_path_factory.mktemp("compose"))
    server, front = made.services["model-server"], made.services["nginx"]
    # As root nginx would let its workers run as a user that may not enter the test's folder; a container has no root.
    as_here = nginx.command("nginx", made.folder / "nginx.conf")[7:]
    with ExitStack() as stack:
        stack.callback(lambda: [made.stop(service) for service in list(reversed(made.running))])
        made.start("model-server", [*server["entrypoint"], *server["command"]])
        made.start("gateway", gateway_command())
        made.start("nginx", [*front["command"], *as_here])
        yield made


def predict(containers, **options):
    with (GOLDEN / "07.png").open("rb") as image:
        files = [("image", image.read())] * 3
    return requests.post(f"{containers.url}/api/v1/models/digits/predict", files=files, timeout=30, **options)


def test_a_batch_is_answered_through_all_three(containers):
    answer = predict(containers)
    assert answer.status_code == 200, answer.text
    assert [result["class"] for result in answer.json()["results"]] == ["7"] * 3


def test_every_model_of_the_configuration_is_offered(containers):
    models = requests.get(f"{containers.url}/api/v1/models", timeout=30).json()["models"]
    assert {model["name"] for model in models} == {"cifar10", "digits"}


def test_the_model_server_takes_every_flag(containers):
    """Those that this one does not know, or knows to be without effect, it tells."""
    log = (containers.folder / "model-server.log").read_text(encoding="utf-8")
    assert "unknown" not in log.lower()
    assert "without effect" not in log.lower()


def test_nginx_finds_no_name_that_was_not_filled_in(containers):
    text = (containers.folder / "nginx" / "nginx.conf").read_text(encoding="utf-8")
    assert "${" not in text.replace("${...}", "")


def test_the_gateway_sees_the_clients_address_behind_nginx(containers):
    predict(containers, headers={"X-Forwarded-For": "198.51.100.7", "X-Request-ID": "whose"})
    until(lambda: '"whose"' in containers.log("gateway"), PATIENCE_S, "logged")
    assert "198.51.100.7" not in containers.log("gateway")


def test_a_check_says_no_when_its_service_is_gone_and_yes_when_it_is_back(containers):
    server = containers.running["model-server"]
    server.send_signal(signal.SIGSTOP)
    try:
        until(lambda: not answers(f"{containers.url}/readyz"), PATIENCE_S, "not ready")
        assert not containers.healthy("gateway")
        assert containers.healthy("nginx")
    finally:
        server.send_signal(signal.SIGCONT)
    until(lambda: containers.healthy("gateway"), PATIENCE_S, "ready again")


def test_each_stops_by_itself_within_its_time(containers):
    for service in ("nginx", "gateway", "model-server"):
        assert containers.stop(service) == 0, containers.log(service)
