"""How long a container takes from its start to its first answer: `python -m bench.cold_start`.

Started are the processes of deploy/serverless/Dockerfile with one model, then the gateway alone beside a model server
that runs already. As in the images, Python's bytecode is compiled beforehand (a first start, not counted, does that),
and the files are in the page cache. A request is sent as soon as the port is open; what is printed are medians over the
rounds with the least and the most.
"""

import argparse
import contextlib
import http.client
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from tools import ports

_ROOT = Path(__file__).parents[1]
_MODELS = _ROOT / "serving_models"
_CONFIG = 'model_config_list {{ config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" }} }}'
_GATEWAY = (sys.executable, "-m", "gunicorn", "-c", "gateway/gunicorn_conf.py", "gateway.wsgi:app")
_START_S = 60.0
_STOP_S = 30.0
_CONNECT_POLL_S = 0.002
_WARM_REQUESTS = 50
_KIB_PER_MB = 1000**2 / 1024


@dataclass(frozen=True, slots=True)
class Sample:
    """One start."""

    first_s: float
    """From the start of the process to the end of the first answer."""
    warm_s: float
    """Median of the requests after it."""
    memory_mb: float
    """Of all its processes, memory that they share counted once (proc_pid_smaps(5), Pss)."""


def main(arguments: Sequence[str]) -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.cold_start", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=["digits", "cifar10"])
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        rows = [row for name in options.models for row in _rows(name, options.rounds, Path(folder))]
    print("| started | first answer | further ones | memory |", "|---|--:|--:|--:|", *rows, sep="\n")  # noqa: T201  # the result


def _rows(name: str, rounds: int, folder: Path) -> Iterator[str]:
    config = folder / f"{name}.config"
    config.write_text(_CONFIG.format(name=name, path=_MODELS / name), encoding="utf-8")
    picture = min((_MODELS / name).glob("*/assets.extra/golden/*.png")).read_bytes()
    environment = _environment(config, folder)
    container = [sys.executable, "-m", "tools.serverless", f"--models-config={config}"]
    yield _row(f"both, {name}", [_measured(container, environment, picture) for _ in range(rounds + 1)][1:])

    target = f"unix:{folder / name}.sock"
    with _model_server(config, target, environment):
        beside = environment | {"GATEWAY_TFS_TARGET": target}
        yield _row(f"the gateway, {name}", [_measured(_GATEWAY, beside, picture) for _ in range(rounds + 1)][1:])


def _environment(config: Path, folder: Path) -> dict[str, str]:
    """Return what the image sets, and where bytecode goes."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return inherited | {
        "GATEWAY_CARDS_DIR": str(_MODELS),
        "GATEWAY_MODELS_CONFIG": str(config),
        "GATEWAY_START_WAIT_S": f"{_START_S:g}",
        "GATEWAY_WORKERS": "1",
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
    }


def _measured(command: Sequence[str], environment: Mapping[str, str], picture: bytes) -> Sample:
    """Start, ask, and stop a command that listens on a port of this machine."""
    (port,) = ports.find(1)
    own = {**environment, "PORT": str(port), "GATEWAY_BIND": f"127.0.0.1:{port}"}
    with tempfile.TemporaryFile() as log:
        started_s = time.monotonic()
        process = subprocess.Popen(command, cwd=_ROOT, env=own, stderr=log)  # noqa: S603  # the project's own programs
        try:
            _wait_until_open(port, process)
            _ask(port, picture)
            first_s = time.monotonic() - started_s
            warm_s = statistics.median(_ask(port, picture) for _ in range(_WARM_REQUESTS))
            return Sample(first_s, warm_s, _memory_mb(process.pid))
        finally:
            process.terminate()
            process.wait(_STOP_S)


def _wait_until_open(port: int, process: subprocess.Popen[bytes]) -> None:
    give_up_s = time.monotonic() + _START_S
    while time.monotonic() < give_up_s and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(_CONNECT_POLL_S)
    raise RuntimeError(f"It did not open its port within {_START_S:g} s, or ended.")


def _ask(port: int, picture: bytes) -> float:
    """Classify a picture over a connection of its own, and return the seconds that took."""
    started_s = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_START_S)
    with contextlib.closing(connection):
        connection.request("POST", "/api/v1/predict", picture, {"Content-Type": "image/png"})
        response = connection.getresponse()
        body = response.read()
    if response.status != HTTPStatus.OK:
        raise RuntimeError(f"status {response.status}: {body.decode()}")
    return time.monotonic() - started_s


@contextlib.contextmanager
def _model_server(config: Path, target: str, environment: Mapping[str, str]) -> Iterator[None]:
    command = [sys.executable, "-m", "model_server", "--port=0", f"--model_config_file={config}"]
    path = Path(target.removeprefix("unix:"))
    command.append(f"--grpc_socket_path={path}")
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=_ROOT, env=environment, stderr=log)  # noqa: S603  # the project's own program
        try:
            give_up_s = time.monotonic() + _START_S
            while not path.exists():
                if process.poll() is not None or time.monotonic() > give_up_s:
                    raise RuntimeError("The model server did not start.")
                time.sleep(_CONNECT_POLL_S)
            yield
        finally:
            process.terminate()
            process.wait(_STOP_S)


def _memory_mb(pid: int) -> float:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    (own_kib,) = (int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return own_kib / _KIB_PER_MB + sum(_memory_mb(int(child)) for child in children)


def _row(started: str, samples: Sequence[Sample]) -> str:
    first = [sample.first_s for sample in samples]
    warm_ms = statistics.median(sample.warm_s for sample in samples) * 1e3
    memory_mb = statistics.median(sample.memory_mb for sample in samples)
    told = f"{statistics.median(first):.2f} s ({min(first):.2f} to {max(first):.2f})"
    return f"| {started} | {told} | {warm_ms:.0f} ms | {memory_mb:.0f} MB |"


if __name__ == "__main__":
    main(sys.argv[1:])
