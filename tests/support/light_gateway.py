"""A gateway in a real gunicorn with one worker, by default without a model server: to test processes, not images."""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.support.waiting import until
from tools.ports import find
from tools.processes import descendants

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class LightGateway:
    """A running gateway."""

    process: subprocess.Popen[bytes]
    port: int
    metrics_dir: Path

    @property
    def workers(self) -> list[int]:
        """The process ids of its workers."""
        return list(descendants(self.process.pid))

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        """Return status and body of a response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read()

    def send(self, content: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        """Send bytes over a connection of their own, and return the response and its body."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S) as connection:
            connection.sendall(content)
            response = http.client.HTTPResponse(connection)
            response.begin()
            return response, response.read()

    def answers(self) -> bool:
        """Return whether /livez answers 200."""
        try:
            return self.get("/livez")[0] == http.HTTPStatus.OK
        except OSError:
            return False

    def replace_worker(self, number: int) -> None:
        """End the worker with a signal, and wait until another one answers."""
        (worker,) = self.workers
        os.kill(worker, number)
        until(lambda: self.workers not in ([], [worker]) and self.answers(), TIMEOUT_S, "a new worker")


@contextlib.contextmanager
def light_gateway(
    folder: Path, stderr: IO[bytes] | int, environment: Mapping[str, str] | None = None
) -> Iterator[LightGateway]:
    """Run a gateway whose log goes to `stderr`."""
    (port,) = find(1)
    variables = {
        **os.environ,
        "GATEWAY_BIND": f"127.0.0.1:{port}",
        "GATEWAY_WORKERS": "1",
        "GATEWAY_MODELS": "pets",
        "GATEWAY_TFS_TARGET": "127.0.0.1:1",
        "GATEWAY_START_WAIT_S": "0",
        "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics"),
        **(environment or {}),
    }
    command = [sys.executable, "-m", "gunicorn", "-c", "gateway/gunicorn_conf.py", "gateway.wsgi:app"]
    with subprocess.Popen(command, cwd=ROOT, env=variables, stderr=stderr) as process:
        try:
            gateway = LightGateway(process, port, folder / "metrics")
            until(gateway.answers, TIMEOUT_S, "an answer of the gateway")
            yield gateway
        finally:
            process.terminate()
