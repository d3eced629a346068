"""Measure the cost of Predict on the stand-in model server: `python -m bench.model_server`.

Each round measures all ways of calling one model, one after the other, so that other work on the machine affects all of
them; ratios are within a round. The table has medians over the rounds with the minimum and the maximum.
"""

import argparse
import contextlib
import multiprocessing
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bench import network
from bench.model_calls import Sample, Workload, compute_answers, measure_function, measure_server, measure_session
from tools import ports
from tools.programs import ROOT
from tools.stack import Program, Stack

_BATCHING = "max_batch_size { value: 32 }\nbatch_timeout_micros { value: 1000 }\nnum_batch_threads { value: 2 }\n"
_IMAGES = 8
_SESSION, _FUNCTION, _PLAIN, _BATCHED = ("session", "function", "server", "server, batching")


@dataclass(frozen=True, slots=True)
class Model:
    """A model of version 1."""

    name: str
    base: Path
    """Directory of its versions."""
    shape: tuple[int, int, int]

    @property
    def version(self) -> Path:
        """Directory of the version."""
        return self.base / "1"

    def images(self) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """Return uint8[N, H, W, C], noise of different strengths, so that the answers differ."""
        noise = np.random.default_rng(1).integers(0, 256, (_IMAGES, *self.shape))
        strength = np.linspace(0.2, 1, _IMAGES).reshape(-1, 1, 1, 1)
        return (noise * strength).astype(np.uint8)


def main(arguments: Sequence[str]) -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.model_server", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5, help="duration of each measurement")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 32])
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Stack(Path(folder)) as stack:
        base = Path(folder) / "mobilenet_v2"
        with _worker() as exporter:
            exporter.submit(network.export_frozen, base / "1").result()
        models = (
            Model("digits", ROOT / "serving_models/digits", (28, 28, 1)),
            Model("mobilenet_v2", base, (224, 224, 3)),
        )
        servers = {way: _start_server(stack, Path(folder), models, way) for way in (_PLAIN, _BATCHED)}
        rows = list(_rows(models, servers, options))
    print(_HEAD, *rows, sep="\n")  # noqa: T201  # the result


_HEAD = """\
| model | calls at once | session | function | server | over function | with batching | over function \
| calls/s: function | server | with batching |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"""


def _rows(models: Sequence[Model], servers: Mapping[str, "_Server"], options: argparse.Namespace) -> Iterator[str]:
    with contextlib.ExitStack() as workers:
        session, function, client = (workers.enter_context(_worker()) for _ in range(3))
        for model in models:
            images = model.images()
            expected = session.submit(compute_answers, model.version, images).result()
            for concurrency in options.concurrency:
                workload = Workload(images, expected, concurrency, options.seconds)
                ways = {
                    _SESSION: partial(session.submit, measure_session, model.version, workload),
                    _FUNCTION: partial(function.submit, measure_function, model.version, workload),
                    **{
                        way: partial(client.submit, measure_server, server.address, model.name, server.pid, workload)
                        for way, server in servers.items()
                    },
                }
                rounds = [{way: measure().result() for way, measure in ways.items()} for _ in range(options.rounds)]
                yield _row(model.name, concurrency, rounds)


def _row(name: str, concurrency: int, rounds: Sequence[Mapping[str, Sample]]) -> str:
    def cpu(way: str) -> str:
        return f"{statistics.median(samples[way].cpu_ms for samples in rounds):.2f} ms"

    def over_function(way: str) -> str:
        differences = [samples[way].cpu_ms - samples[_FUNCTION].cpu_ms for samples in rounds]
        return f"{statistics.median(differences):+.2f} ms ({min(differences):+.2f} to {max(differences):+.2f})"

    def rate(way: str) -> str:
        ratios = [samples[way].rate / samples[_FUNCTION].rate for samples in rounds]
        return f"{statistics.median(ratios):.0%} ({min(ratios):.0%} to {max(ratios):.0%})"

    direct = f"{statistics.median(samples[_FUNCTION].rate for samples in rounds):.0f}"
    cells = [name, str(concurrency), cpu(_SESSION), cpu(_FUNCTION), cpu(_PLAIN), over_function(_PLAIN), cpu(_BATCHED)]
    cells += [over_function(_BATCHED), direct, rate(_PLAIN), rate(_BATCHED)]
    return f"| {' | '.join(cells)} |"


def _worker() -> ProcessPoolExecutor:
    """Start a process that keeps its loaded models from one task to the next."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


@dataclass(frozen=True, slots=True)
class _Server:
    address: str
    pid: int


def _start_server(stack: Stack, folder: Path, models: Sequence[Model], way: str) -> _Server:
    """Start a server with or without batching; its clients wait until it accepts connections."""
    entries = (f"config {{ name: '{m.name}' base_path: '{m.base}' model_platform: 'tensorflow' }}" for m in models)
    config, batching = folder / "models.config", folder / "batching.config"
    config.write_text(f"model_config_list {{ {' '.join(entries)} }}", encoding="utf-8")
    batching.write_text(_BATCHING, encoding="utf-8")
    (port,) = ports.find(1)
    command = (
        *(sys.executable, "-m", "model_server", "--host=127.0.0.1", f"--port={port}", "--rest_api_port=0"),
        *(f"--model_config_file={config}", "--grpc_max_threads=64"),  # the default allows fewer than 32 calls at once
        *(("--enable_batching", f"--batching_parameters_file={batching}") if way == _BATCHED else ()),
    )
    name = way.replace(", ", "-")
    stack.start(Program(name, command, ROOT, os.environ))
    return _Server(f"127.0.0.1:{port}", stack.pids()[name])


if __name__ == "__main__":
    main(sys.argv[1:])
