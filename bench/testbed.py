"""Start everything that `python -m bench` measures side by side: the stack and the alternatives to it."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from bench import network
from tools import nginx, ports, processes
from tools.local_stack import UNLIMITED_RATE, status
from tools.programs import ROOT
from tools.stack import Program, Stack

BATCHING = ROOT / "serving_models" / "batching.config"
COMMITTED = ("cifar10", "digits")
DEADLINES = ("GATEWAY_MAX_WAIT_S", "GATEWAY_MODEL_DEADLINE_S", "GATEWAY_REQUEST_DEADLINE_S", "GATEWAY_WORKER_TIMEOUT_S")
DEADLINE_S = "30"
START_S = 300.0
POLL_S = 0.02
PYTHON = (sys.executable, "-m")
MAX_BODY_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Service:
    """A running program.

    Attributes:
        name: Its name in the tables.
        pid: Its first process.
        address: Its URL; host:port for the model server, which is called by gRPC.
    """

    name: str
    pid: int
    address: str

    def cpu_s(self) -> float:
        """Return the CPU seconds that it and its child processes have used so far."""
        return processes.cpu_s(self.pid)


@dataclass(frozen=True, slots=True)
class Testbed:
    """The running programs.

    Attributes:
        stack: Starts and stops them.
        folder: Folder for logs and other files.
        models: Folder of the models served; the committed ones are copies that may be changed.
        model_server: The model server, with batching.
        gateway: A gateway of two workers.
        nginx: The proxy in front of that gateway.
        single: A gateway of one worker without a proxy.
        alternatives: The alternatives to the stack, by name.
    """

    stack: Stack
    folder: Path
    models: Path
    model_server: Service
    gateway: Service
    nginx: Service
    single: Service
    alternatives: Mapping[str, Service]

    @contextlib.contextmanager
    def run_gateway(
        self, *, target: str | None = None, settings: Mapping[str, str] | None = None, workers: int = 1
    ) -> Iterator[Service]:
        """Run one more gateway while the context lasts, in front of this or another model server."""
        name = f"gateway-{ports.find(1)[0]}"
        service = _start_gateway(
            self.stack, target or self.model_server.address, self.models, workers=workers, settings=settings, name=name
        )
        yield service
        self.stack.stop(name)


def prepare(folder: Path, weights: str | None) -> Path:
    """Write the models to serve, unless an earlier run has written them, and return their folder."""
    models = folder / "models"
    if not (models / network.NAME / "1").is_dir():
        log = folder / "prepare.log"
        _run_module(log, "bench.network", folder, *([weights] if weights else []))
        keras_file, card, images = folder / "network.keras", folder / "card.json", folder / "pictures"
        options = ("--card", card, "--pictures", images, "--models", models)
        _run_module(log, "train", "import-keras", keras_file, *options)
    for name in COMMITTED:  # copies, since versions are added to one of them
        shutil.rmtree(models / name, ignore_errors=True)
        shutil.copytree(ROOT / "serving_models" / name, models / name)
    configs = "".join(
        f'  config {{ name: "{name}" base_path: "{models / name}" model_platform: "tensorflow" }}\n'
        for name in (*COMMITTED, network.NAME)
    )
    (models / "models.config").write_text(f"model_config_list {{\n{configs}}}\n", encoding="utf-8")
    return models


@contextlib.contextmanager
def start_testbed(folder: Path, weights: str | None) -> Iterator[Testbed]:
    """Start everything while the context lasts.

    Args:
        folder: Folder for models, logs and other files.
        weights: File with weights of MobileNetV2; None for random ones.

    Raises:
        FileNotFoundError: nginx is not installed.
        ProgramEndedError: A program ended by itself.
        TimeoutError: A program was not ready in time.
    """
    models = prepare(folder, weights)
    with Stack(folder) as stack:
        server = _start_model_server(stack, models)
        gateway = _start_gateway(stack, server.address, models, workers=2)
        single = _start_gateway(stack, server.address, models, workers=1, name="gateway-single")
        proxy = _start_nginx(stack, folder, gateway.address)
        alternatives = _start_alternatives(stack, folder, server.address)
        yield Testbed(stack, folder, models, server, gateway, proxy, single, alternatives)


def start_service(stack: Stack, program: Program, ready_url: str, *, name: str, address: str) -> Service:
    """Start a program and wait until a URL answers 200.

    Raises:
        ProgramEndedError: A program of the stack ended by itself.
        TimeoutError: The URL did not answer 200 in time.
    """
    stack.start(program)
    stack.wait_until(lambda: status(ready_url) == HTTPStatus.OK, START_S, poll_s=POLL_S)
    return Service(name, stack.pids()[program.name], address)


def make_program(name: str, command: tuple[str, ...], environment: Mapping[str, str] | None = None) -> Program:
    """Return a program that runs in the repository's root, with variables on top of this process's own."""
    return Program(name, command, ROOT, {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})})


def add_version(models: Path, model: str) -> int:
    """Publish a copy of a model's last version as its next one; the model server loads it by itself."""
    versions = sorted(int(path.name) for path in (models / model).iterdir() if path.name.isdecimal())
    number = versions[-1] + 1
    copy = models / model / f".{number}"
    shutil.copytree(models / model / str(versions[-1]), copy)
    copy.rename(models / model / str(number))
    return number


def _start_gateway(  # noqa: PLR0913  # independent properties of a gateway, by keyword
    stack: Stack,
    target: str,
    models: Path,
    *,
    workers: int,
    settings: Mapping[str, str] | None = None,
    name: str = "gateway",
) -> Service:
    address = f"127.0.0.1:{ports.find(1)[0]}"
    environment = {
        "GATEWAY_BIND": address,
        "GATEWAY_WORKERS": str(workers),
        "GATEWAY_TFS_TARGET": target,
        "GATEWAY_MODELS_CONFIG": str(models / "models.config"),
        "GATEWAY_DEFAULT_MODEL": "digits",
        # The cost of answers is measured, so no request may be rejected, even on a slow machine.
        **dict.fromkeys(DEADLINES, DEADLINE_S),
        **(settings or {}),
    }
    command = (*PYTHON, "gunicorn", "-c", "gateway/gunicorn_conf.py", "gateway.wsgi:app")
    url = f"http://{address}"
    return start_service(stack, make_program(name, command, environment), f"{url}/readyz", name="gateway", address=url)


def _start_model_server(stack: Stack, models: Path) -> Service:
    grpc_port, rest_port = ports.find(2)
    command = (
        *(*PYTHON, "model_server", "--host=127.0.0.1", f"--port={grpc_port}", f"--rest_api_port={rest_port}"),
        f"--model_config_file={models / 'models.config'}",
        *("--enable_batching", f"--batching_parameters_file={BATCHING}", "--grpc_max_threads=64"),
        "--tensorflow_intra_op_parallelism=1",
    )
    ready_url = f"http://127.0.0.1:{rest_port}/v1/models/{network.NAME}"
    address = f"127.0.0.1:{grpc_port}"
    return start_service(stack, make_program("model-server", command), ready_url, name="model server", address=address)


def _start_nginx(stack: Stack, folder: Path, upstream: str) -> Service:
    executable = nginx.find()
    if executable is None:
        raise FileNotFoundError("nginx is not installed; install it with: apt-get install nginx-light")
    address = f"127.0.0.1:{ports.find(1)[0]}"
    values = {
        "NGINX_LISTEN": address,
        "NGINX_UPSTREAM": upstream.removeprefix("http://"),
        "NGINX_CLIENT_RATE": UNLIMITED_RATE,
        "GATEWAY_MAX_BODY_BYTES": str(MAX_BODY_BYTES),
    }
    configuration = folder / "nginx.conf"
    configuration.write_text(nginx.render(values), encoding="utf-8")
    command = nginx.command(executable, configuration)
    return start_service(
        stack, make_program("nginx", command), f"http://{address}/readyz", name="nginx", address=f"http://{address}"
    )


def _start_alternatives(stack: Stack, folder: Path, target: str) -> Mapping[str, Service]:
    flask, fastapi, tutorial = ports.find(3)
    # One process: TensorFlow uses all processors by itself, and a second copy would only compete for them.
    gthread = ("--worker-class=gthread", "--threads=8", "--no-control-socket", f"--bind=127.0.0.1:{flask}")
    environment = {"BENCH_NETWORK": str(folder / "network.keras"), "BENCH_TARGET": target}
    alternatives = {
        "Flask + Keras": (flask, ("gunicorn", *gthread, "bench.alternatives.flask_keras:app"), {}),
        "FastAPI + Keras": (
            fastapi,
            ("uvicorn", "--no-access-log", f"--port={fastapi}", "bench.alternatives.fastapi_keras:app"),
            {"TF_NUM_INTRAOP_THREADS": "1"},  # as the stack's model server
        ),
        "tutorial's gateway": (tutorial, ("bench.alternatives.tutorial_gateway", str(tutorial)), {}),
    }
    services = {}
    for name, (port, arguments, variables) in alternatives.items():
        url = f"http://127.0.0.1:{port}"
        alternative = make_program(name, (*PYTHON, *arguments), environment | variables)
        services[name] = start_service(stack, alternative, f"{url}/ready", name=name, address=url)
    return services


def _run_module(log: Path, module: str, *arguments: str | Path) -> None:
    """Run a module of the project to its end.

    Raises:
        RuntimeError: It failed.
    """
    command = [*PYTHON, module, *map(str, arguments)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with log.open("ab") as output:
        result = subprocess.run(command, cwd=ROOT, env=environment, stdout=output, stderr=output, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with exit status {result.returncode}; see {log}")
