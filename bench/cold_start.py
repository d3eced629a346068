"""Measure the time from the start of a container to its first answer: `python -m bench.cold_start`.

It starts the processes of deploy/serverless/Dockerfile with one model, then the gateway by itself in front of a running
model server. As in the images, Python's bytecode is compiled beforehand, by a first start that does not count, and the
files are in the page cache. A request is sent as soon as the port is open. The table has medians over the rounds with
the minimum and the maximum.
"""

import argparse
import contextlib
import http.client
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from tools import ports, processes
from tools.committed_models import first_golden_image
from tools.programs import ROOT
from tools.stack import Program, Stack

_MODELS = ROOT / "serving_models"
_CONFIG = 'model_config_list {{ config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" }} }}'
_GATEWAY = (sys.executable, "-m", "gunicorn", "-c", "gateway/gunicorn_conf.py", "gateway.wsgi:app")
_START_S = 60.0
_STOP_S = 30.0
_POLL_S = 0.002
_WARM_REQUESTS = 50
_BYTES_PER_MB = 1000**2


@dataclass(frozen=True, slots=True)
class Sample:
    """The result of one start."""

    first_s: float
    """Seconds from the start of the process to the end of the first answer."""
    warm_s: float
    """Median latency of the requests after it."""
    memory_mb: float
    """Memory of all its processes, each shared page counted once."""


def main(arguments: Sequence[str]) -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.cold_start", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=["digits", "cifar10", "imagenet"])
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        rows = [row for name in options.models for row in _rows(name, options.rounds, Path(folder))]
    print("| started | first answer | further ones | memory |", "|---|--:|--:|--:|", *rows, sep="\n")  # noqa: T201  # the result


def _rows(model: str, rounds: int, folder: Path) -> Iterator[str]:
    config = folder / f"{model}.config"
    config.write_text(_CONFIG.format(name=model, path=_MODELS / model), encoding="utf-8")
    image = first_golden_image(model).read_bytes()
    environment = _environment(config, folder)
    container = (sys.executable, "-m", "tools.serverless", f"--models-config={config}")
    yield _row(f"both, {model}", _measure_starts(container, environment, image, folder, rounds))

    server_socket = folder / f"{model}.sock"
    command = (sys.executable, "-m", "model_server", "--port=0", f"--model_config_file={config}")
    with Stack(folder) as stack:
        server = (*command, "--prefer_tflite_model", f"--grpc_socket_path={server_socket}")
        stack.start(Program("model-server", server, ROOT, environment, stop_timeout_s=_STOP_S))
        stack.wait_until(server_socket.exists, _START_S)
        gateway_environment = environment | {"GATEWAY_TFS_TARGET": f"unix:{server_socket}"}
        yield _row(f"the gateway, {model}", _measure_starts(_GATEWAY, gateway_environment, image, folder, rounds))


def _environment(config: Path, folder: Path) -> dict[str, str]:
    """Return the variables that the image sets, and the folder for bytecode."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return inherited | {
        "GATEWAY_CARDS_DIR": str(_MODELS),
        "GATEWAY_MODELS_CONFIG": str(config),
        "GATEWAY_START_WAIT_S": f"{_START_S:g}",
        "GATEWAY_WORKERS": "1",
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
    }


def _measure_starts(
    command: tuple[str, ...], environment: Mapping[str, str], image: bytes, folder: Path, rounds: int
) -> list[Sample]:
    """Measure several starts, after one that compiles the bytecode."""
    return [_measure_start(command, environment, image, folder) for _ in range(rounds + 1)][1:]


def _measure_start(command: tuple[str, ...], environment: Mapping[str, str], image: bytes, folder: Path) -> Sample:
    """Start a command that listens on a port of this machine, send requests, and stop it."""
    (port,) = ports.find(1)
    own = {**environment, "PORT": str(port), "GATEWAY_BIND": f"127.0.0.1:{port}"}
    with Stack(folder) as stack:
        started_s = time.monotonic()
        stack.start(Program("measured", command, ROOT, own, stop_timeout_s=_STOP_S))
        stack.wait_until(lambda: _is_open(port), _START_S, poll_s=_POLL_S)
        _classify(port, image)
        first_s = time.monotonic() - started_s
        warm_s = statistics.median(_classify(port, image) for _ in range(_WARM_REQUESTS))
        return Sample(first_s, warm_s, processes.proportional_bytes(stack.pids()["measured"]) / _BYTES_PER_MB)


def _is_open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _classify(port: int, image: bytes) -> float:
    """Classify an image over a new connection, and return the latency in seconds.

    Raises:
        RuntimeError: The status of the answer is not 200.
    """
    started_s = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_START_S)
    with contextlib.closing(connection):
        connection.request("POST", "/api/v1/predict", image, {"Content-Type": "application/octet-stream"})
        response = connection.getresponse()
        body = response.read()
    if response.status != HTTPStatus.OK:
        raise RuntimeError(f"status {response.status}: {body.decode()}")
    return time.monotonic() - started_s


def _row(name: str, samples: Sequence[Sample]) -> str:
    first = [sample.first_s for sample in samples]
    warm_ms = statistics.median(sample.warm_s for sample in samples) * 1e3
    memory_mb = statistics.median(sample.memory_mb for sample in samples)
    spread = f"{statistics.median(first):.2f} s ({min(first):.2f} to {max(first):.2f})"
    return f"| {name} | {spread} | {warm_ms:.0f} ms | {memory_mb:.0f} MB |"


if __name__ == "__main__":
    main(sys.argv[1:])
