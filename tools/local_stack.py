"""A whole stack on free ports for tests and measurements; each of its programs can be stopped and started by itself."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from signal import Signals
from typing import Self

import requests

from gateway.settings import Settings
from tools import nginx, ports, processes, programs
from tools.programs import ROOT, STEADY_S, Options
from tools.stack import Stack, Supervisor

START_S = 120.0
UNLIMITED_RATE = "1000000"
"""Requests per second: here, one address sends what many clients would."""
COMMITTED_MODELS = ROOT / "serving_models" / "models.config"


@dataclass(frozen=True, slots=True)
class Host:
    """A place where a model server runs.

    Attributes:
        address: Its IPv4 address.
        command_prefix: Words in front of a command that make it run there, such as in a network namespace.
    """

    address: str = "127.0.0.1"
    command_prefix: tuple[str, ...] = ()


LOCALHOST = Host()


class LocalStack:
    """Model servers, a gateway and nginx on free ports of this machine; leaving the context kills what still runs.

    The programs are called `model-server` (further ones `model-server-1`, …), `gateway` and `nginx`, and with jobs
    `jobs-worker`.

    Args:
        folder: Folder for logs, configuration and metrics.
        models_config: What the model servers serve.
        environment: Settings of the gateway and of nginx.
        hosts: Where the model servers run that the gateway uses in turn.
        spares: How many further model servers there are, on this machine, that the gateway does not know.
        batching_config: The model servers' BatchingParameters; None to compute each call separately.
        supervised: Whether signals end a wait; see `Supervisor`.
    """

    model_server_flags: Sequence[str] = ()
    gateway_prefix: Sequence[str] = ()

    def __init__(  # noqa: PLR0913  # independent properties of a stack, by keyword
        self,
        folder: Path,
        *,
        models_config: Path = COMMITTED_MODELS,
        environment: Mapping[str, str] | None = None,
        hosts: Sequence[Host] = (LOCALHOST,),
        spares: int = 0,
        batching_config: Path | None = None,
        supervised: bool = False,
    ) -> None:
        self._nginx = nginx.find()
        self.hosts = (*hosts, *(LOCALHOST,) * spares)
        port, gateway_port, *server_ports = ports.find(2 + 2 * len(self.hosts))
        self.servers = [
            Options(
                host="127.0.0.1",
                port=port,
                gateway_port=gateway_port,
                grpc_port=grpc_port,
                rest_port=rest_port,
                models_config=models_config,
                run_dir=folder,
                ready_timeout_s=START_S,
                use_nginx=self._nginx is not None,
                batching_config=batching_config,
                model_server_host=host.address,
            )
            for host, grpc_port, rest_port in zip(self.hosts, server_ports[::2], server_ports[1::2], strict=True)
        ]
        self.options = self.servers[0]
        self.options.logs.mkdir(parents=True)
        self._used_servers = len(hosts)
        self._environment = {"NGINX_CLIENT_RATE": UNLIMITED_RATE, **self._target(), **(environment or {})}
        self.settings = Settings.from_env({**programs.gateway_environment(self.options), **self._environment})
        self._stack = (Supervisor if supervised else Stack)(self.options.logs)
        self.gateway_url = f"http://127.0.0.1:{gateway_port}"
        self.url = self.gateway_url if self._nginx is None else f"http://127.0.0.1:{port}"
        self.predict_url = f"{self.url}/api/v1/predict"

    def __enter__(self) -> Self:
        """Return this stack; `start` starts the programs."""
        self._stack.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Kill all programs."""
        self._stack.kill()
        self._stack.__exit__()

    def start(self) -> Self:
        """Start all programs, nginx only if it is installed, and wait until every gateway worker answers.

        Raises:
            ProgramEndedError: A program ended by itself.
            TimeoutError: The stack was not ready in time.
        """
        for number in range(self._used_servers):
            self.start_model_server(number)
        self.start_gateway()
        if self.settings.jobs != "off":
            self.start_jobs_worker()
        if self._nginx is not None:
            self.start_nginx()
        self.wait_until_steady()
        return self

    def start_model_server(self, number: int = 0, *, log: Path | None = None) -> None:
        """Start a model server; `log` takes its output instead of the file in the folder."""
        program = programs.model_server(self.servers[number], self.settings)
        command = (*self.hosts[number].command_prefix, *program.command, *self.model_server_flags)
        self._stack.start(replace(program, name=model_server_name(number), command=command), log=log)

    def start_gateway(self, settings: Mapping[str, str] | None = None) -> None:
        """Start the gateway, with further settings."""
        program = programs.gateway(self.options, self.settings, self.options.run_dir, direct=False)
        command = (*self.gateway_prefix, *program.command)
        environment = {**program.environment, **self._environment, **(settings or {})}
        self._stack.start(replace(program, command=command, environment=environment))

    def start_jobs_worker(self) -> None:
        """Start the worker of jobs."""
        program = programs.jobs_worker(self.options, self.settings)
        self._stack.start(replace(program, environment={**program.environment, **self._environment}))

    def start_nginx(self) -> None:
        """Start nginx.

        Raises:
            FileNotFoundError: nginx is not installed.
        """
        if self._nginx is None:
            raise FileNotFoundError("nginx is not installed; install it with: apt-get install nginx-light")
        folder = self.options.run_dir
        self._stack.start(programs.nginx_proxy(self.options, self.settings, folder, self._nginx, self._environment))

    def wait_until_steady(self) -> None:
        """Wait until /readyz has answered 200 for `STEADY_S` without interruption.

        Raises:
            ProgramEndedError: A program ended by itself.
            TimeoutError: The stack was not ready in time.
        """
        wait_until_steady(self._stack, self.is_ready, START_S)

    def is_ready(self) -> bool:
        """Return whether /readyz, through nginx, answers 200."""
        return status(f"{self.url}/readyz") == HTTPStatus.OK

    def rest_url(self, number: int = 0) -> str:
        """Return the URL of a model server's REST API."""
        return f"http://{self.hosts[number].address}:{self.servers[number].rest_port}"

    def log(self, name: str) -> Path:
        """Return the log file of a program."""
        return self.options.logs / f"{name}.log"

    def pid(self, name: str) -> int:
        """Return the process id of a program."""
        return self._stack.pids()[name]

    def programs(self) -> list[str]:
        """List the names of the running programs, in the order of their start."""
        return list(self._stack.pids())

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU seconds that each program and its child processes have used so far, by name."""
        return {name: processes.cpu_s(pid) for name, pid in self._stack.pids().items()}

    def workers(self) -> list[int]:
        """List the process ids of the gateway's workers."""
        return processes.children(self.pid("gateway"))

    def send_signal(self, name: str, number: Signals) -> None:
        """Send a signal to a program."""
        self._stack.send_signal(name, number)

    def end(self, name: str, number: Signals) -> int:
        """End a program by a signal and return its exit status."""
        return self._stack.end(name, number)

    def _target(self) -> Mapping[str, str]:
        """Return the setting that lists several model servers; a single one needs no setting."""
        if self._used_servers == 1:
            return {}
        pairs = zip(self.hosts[: self._used_servers], self.servers, strict=False)
        addresses = ",".join(f"{host.address}:{server.grpc_port}" for host, server in pairs)
        return {"GATEWAY_TFS_TARGET": f"ipv4:{addresses}"}


def wait_until_steady(stack: Stack, is_ready: Callable[[], bool], timeout_s: float) -> None:
    """Wait until a condition has held for `STEADY_S` without interruption.

    Raises:
        ProgramEndedError: A program of the stack ended by itself.
        TimeoutError: It did not hold in time.
    """
    ready_since_s = math.inf

    def is_steady() -> bool:
        nonlocal ready_since_s
        is_ready_now, now_s = is_ready(), time.monotonic()  # a gateway that starts may take a second to answer
        ready_since_s = min(ready_since_s, now_s) if is_ready_now else math.inf
        return now_s - ready_since_s >= STEADY_S

    stack.wait_until(is_steady, timeout_s)


def model_server_name(number: int) -> str:
    """Return the name of a model server."""
    return f"model-server-{number}" if number else "model-server"


def status(url: str) -> int:
    """Return the HTTP status of a URL, 0 without a response."""
    try:
        return requests.get(url, timeout=5).status_code
    except requests.RequestException:
        return 0
