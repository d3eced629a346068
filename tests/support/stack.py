"""Start the whole stack as a user does, on free ports, and look at its processes."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from gateway.settings import Settings
from tests.support.waiting import until
from tools import nginx, programs
from tools.ports import find
from tools.programs import Options
from tools.stack import Program

ROOT = Path(__file__).parents[2]
NGINX = nginx.find() or ""
START_S = 90
SAID_WHEN_READY = "Ctrl-C"


@dataclass(frozen=True, slots=True)
class Ports:
    front: int
    gateway: int
    grpc: int
    rest: int


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack."""

    process: subprocess.Popen[bytes]
    ports: Ports
    run_dir: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports.front}"

    @property
    def predict_url(self) -> str:
        return f"{self.url}/api/v1/predict"

    def log(self, name: str) -> str:
        return (self.run_dir / "logs" / f"{name}.log").read_text(encoding="utf-8")


def free_ports() -> Ports:
    """Find four ports that nothing listens on now."""
    return Ports(*find(4))


def answers(url: str) -> bool:
    """Tell whether a URL answers 200."""
    try:
        return requests.get(url, timeout=2).status_code == requests.codes.ok
    except requests.RequestException:
        return False


def listens(port: int) -> bool:
    """Tell whether something on loopback takes connections at a port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def running(
    run_dir: Path, *, models_config: Path | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Stack]:
    """Run `python -m tools.run`, as `make run` does, until it says that it is ready; stop it in the end.

    One answer of /readyz would not do: each worker of the gateway connects to the model server by itself.
    """
    if not NGINX:
        pytest.skip("nginx is not installed")
    ports = free_ports()
    command = [sys.executable, "-m", "tools.run", f"--run-dir={run_dir}"]
    command += [f"--port={ports.front}", f"--gateway-port={ports.gateway}"]
    command += [f"--grpc-port={ports.grpc}", f"--rest-port={ports.rest}"]
    command += [f"--models-config={models_config}"] if models_config else []
    said = run_dir.with_name(f"{run_dir.name}.out")
    with said.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **(environment or {})}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        until(lambda: process.poll() is not None or SAID_WHEN_READY in said.read_text(), START_S, "stack ready")
        assert process.poll() is None, said.read_text()
        yield Stack(process, ports, run_dir)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)


def children(pid: int) -> list[int]:
    """List the processes that a process has started, and theirs."""
    direct = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    return [*direct, *(grandchild for child in direct for grandchild in children(child))]


def command_line(pid: int) -> str:
    """Give a process' command line."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


class Apart:
    """The programs of a stack, each started and killed by itself."""

    def __init__(self, run_dir: Path) -> None:
        ports = free_ports()
        self.options = Options(
            host="127.0.0.1",
            port=ports.front,
            gateway_port=ports.gateway,
            grpc_port=ports.grpc,
            rest_port=ports.rest,
            models_config=ROOT / "serving_models" / "models.config",
            run_dir=run_dir,
            ready_timeout_s=START_S,
            use_nginx=True,
        )
        self.url = f"http://127.0.0.1:{ports.front}"
        self.settings = Settings.from_env({})
        self.options.logs.mkdir(parents=True)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start_model_server(self) -> None:
        self.start(programs.model_server(self.options, self.settings))

    def start_gateway(self) -> None:
        self.start(programs.gateway(self.options, self.settings, self.options.run_dir, direct=False))

    def start_nginx(self) -> None:
        self.start(programs.front(self.options, self.settings, self.options.run_dir, NGINX))

    def start(self, program: Program) -> None:
        with (self.options.logs / f"{program.name}.log").open("ab") as log:
            self._running[program.name] = subprocess.Popen(
                program.command,
                cwd=program.directory,
                env=program.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a program a signal that ends it, and wait for its end."""
        process = self._running.pop(name)
        process.send_signal(number)
        process.wait(timeout=30)

    def stop(self) -> None:
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            process.wait(timeout=30)
