"""Start the whole stack with `python -m tools.run`, as a user does, on free ports, and inspect its processes."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import pytest

from tests.support.processes import command_line
from tests.support.waiting import until
from tools import nginx
from tools.local_stack import status
from tools.ports import find
from tools.processes import descendants

ROOT = Path(__file__).parents[2]
NGINX = nginx.find() or ""
START_S = 90
READY_TEXT = "Ctrl-C"


@dataclass(frozen=True, slots=True)
class Ports:
    front: int
    gateway: int
    grpc: int
    rest: int


@dataclass(frozen=True, slots=True)
class RunningStack:
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
    """Return four free ports."""
    return Ports(*find(4))


def answers(url: str) -> bool:
    """Return whether a URL answers 200."""
    return status(url) == HTTPStatus.OK


def listens(port: int) -> bool:
    """Return whether a program on loopback accepts connections on a port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def running(
    run_dir: Path,
    *,
    models_config: Path | None = None,
    environment: Mapping[str, str] | None = None,
    python: str = sys.executable,
) -> Iterator[RunningStack]:
    """Run `python -m tools.run`, as `make run` does, wait until it prints that it is ready, and stop it in the end.

    A single 200 of /readyz is not enough: each worker of the gateway connects to the model server by itself.
    """
    if not NGINX:
        pytest.skip("nginx is not installed")
    ports = free_ports()
    command = [python, "-m", "tools.run", f"--run-dir={run_dir}"]
    command += [f"--port={ports.front}", f"--gateway-port={ports.gateway}"]
    command += [f"--grpc-port={ports.grpc}", f"--rest-port={ports.rest}"]
    command += [f"--models-config={models_config}"] if models_config else []
    printed = run_dir.with_name(f"{run_dir.name}.out")
    with printed.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **(environment or {})}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        until(lambda: process.poll() is not None or READY_TEXT in printed.read_text(), START_S, "stack ready")
        assert process.poll() is None, printed.read_text()
        yield RunningStack(process, ports, run_dir)
        assert process.poll() is None, f"it ended by itself:\n{printed.read_text()}"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)


def processes_of(process: subprocess.Popen[bytes], program: str) -> list[int]:
    """Return the ids of a program's processes below `process`: its main process first, then its workers."""
    return [pid for pid in descendants(process.pid) if program in command_line(pid)]
