"""Running programs whose CPU time and memory are measured, and the whole stack of a checkout."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from tools import ports, processes
from tools.local_stack import UNLIMITED_RATE, status, wait_until_steady
from tools.programs import ROOT
from tools.stack import Program, Stack

PYTHON = (sys.executable, "-m")
START_S = 300.0
POLL_S = 0.02
DEADLINES = ("GATEWAY_MAX_WAIT_S", "GATEWAY_MODEL_DEADLINE_S", "GATEWAY_REQUEST_DEADLINE_S", "GATEWAY_WORKER_TIMEOUT_S")
PATIENCE = {**dict.fromkeys(DEADLINES, "30"), "NGINX_CLIENT_RATE": UNLIMITED_RATE}
"""Settings with which no request is rejected, even on a slow machine: the cost of answers is measured."""
NGINX, GATEWAY, MODEL_SERVER = "nginx", "gateway", "model server"
_WORDS = {NGINX: "nginx:", GATEWAY: "gunicorn", MODEL_SERVER: "model_server"}
"""A word of the command line of each program of the stack."""


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
class WholeStack:
    """nginx, gateway and model server, as `make run` starts them.

    Attributes:
        nginx: The proxy, which takes the requests.
        gateway: The gateway, with one worker per processor.
        model_server: The model server.
        models: Folder of the models served.
    """

    nginx: Service
    gateway: Service
    model_server: Service
    models: Path

    @property
    def services(self) -> tuple[Service, ...]:
        """All of them."""
        return self.nginx, self.gateway, self.model_server


def make_program(name: str, command: tuple[str, ...], environment: Mapping[str, str] | None = None) -> Program:
    """Return a program that runs in the repository's root, with variables on top of this process's own."""
    return Program(name, command, ROOT, {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})})


def start_service(stack: Stack, program: Program, ready_url: str, *, name: str, address: str) -> Service:
    """Start a program and wait until a URL answers 200.

    Raises:
        ProgramEndedError: A program of the stack ended by itself.
        TimeoutError: The URL did not answer 200 in time.
    """
    stack.start(program)
    stack.wait_until(lambda: status(ready_url) == HTTPStatus.OK, START_S, poll_s=POLL_S)
    return Service(name, stack.pids()[program.name], address)


def start_whole_stack(  # noqa: PLR0913  # independent properties of a stack, by keyword
    stack: Stack, name: str, models: Path, *, folder: Path, checkout: Path = ROOT, batching_config: Path | None = None
) -> WholeStack:
    """Start nginx, gateway and model server of a checkout by its own `tools.run`, and wait until all workers answer.

    Args:
        stack: Stops them in the end.
        name: Short name in lower case with hyphens.
        models: Folder with models.config.
        folder: Folder for logs.
        checkout: Working tree with its own environment.
        batching_config: The model server's BatchingParameters; None to compute each call separately.

    Raises:
        ProgramEndedError: A program of the stack ended by itself.
        TimeoutError: The stack was not ready in time.
    """
    port, gateway_port, grpc_port, rest_port = ports.find(4)
    command = (
        *(str(checkout / ".venv/bin/python"), "-m", "tools.run", f"--port={port}", f"--gateway-port={gateway_port}"),
        *(f"--grpc-port={grpc_port}", f"--rest-port={rest_port}", f"--models-config={models / 'models.config'}"),
        *(f"--run-dir={folder / name}", f"--ready-timeout={START_S}"),
        *([f"--batching-config={batching_config}"] if batching_config else []),
    )
    stack.start(Program(name, command, checkout, {**os.environ, **PATIENCE}))
    url = f"http://127.0.0.1:{port}"
    wait_until_steady(stack, lambda: status(f"{url}/readyz") == HTTPStatus.OK, START_S)
    pid = stack.pids()[name]
    return WholeStack(
        Service(NGINX, _find_child(pid, _WORDS[NGINX]), url),
        Service(GATEWAY, _find_child(pid, _WORDS[GATEWAY]), f"http://127.0.0.1:{gateway_port}"),
        Service(MODEL_SERVER, _find_child(pid, _WORDS[MODEL_SERVER]), f"127.0.0.1:{grpc_port}"),
        models,
    )


def _find_child(pid: int, word: str) -> int:
    """Return the child process whose command line has a word.

    Raises:
        LookupError: There is none.
    """
    for child in processes.children(pid):
        if word in Path(f"/proc/{child}/cmdline").read_text(encoding="utf-8").replace("\0", " ").split():
            return child
    raise LookupError(f"process {pid} has not started {word}")
