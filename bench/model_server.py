"""What a Predict costs on the stand-in for the model server: `python -m bench.model_server`.

Each round measures all ways of calling one model, one after the other, so that whatever else the machine does
meets them alike; ratios are of the same round. Printed are medians over the rounds with the least and the most.
"""

import argparse
import contextlib
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bench import mobilenet
from bench.load import Sample, Work, answers, by_function, by_server, by_session
from tools import ports

_ROOT = Path(__file__).parents[1]
_BATCHING = "max_batch_size { value: 32 }\nbatch_timeout_micros { value: 1000 }\nnum_batch_threads { value: 2 }\n"
_IMAGES = 8
_SESSION, _FUNCTION, _PLAIN, _BATCHED = ("session", "function", "server", "server, batching")


@dataclass(frozen=True, slots=True)
class Model:
    """A model to measure with."""

    name: str
    base: Path
    """Its directory, with version 1."""
    shape: tuple[int, int, int]

    @property
    def version(self) -> Path:
        """The version's directory."""
        return self.base / "1"

    def images(self) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """Return uint8[N, H, W, C], noise of different strengths: answers that differ tell images apart."""
        noise = np.random.default_rng(1).integers(0, 256, (_IMAGES, *self.shape))
        strength = np.linspace(0.2, 1, _IMAGES).reshape(-1, 1, 1, 1)
        return (noise * strength).astype(np.uint8)


def main(arguments: Sequence[str]) -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.model_server", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5, help="for each measurement")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 32])
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        base = Path(folder) / "mobilenet_v2"
        with _worker() as exporter:
            exporter.submit(mobilenet.export, base / "1").result()
        models = (
            Model("digits", _ROOT / "serving_models/digits", (28, 28, 1)),
            Model("mobilenet_v2", base, (224, 224, 3)),
        )
        rows = list(_rows(models, Path(folder), options))
    print(_HEAD, *rows, sep="\n")  # noqa: T201  # the result


_HEAD = """\
| model | calls at once | session | function | server | over function | with batching | over function \
| calls/s: function | server | with batching |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"""


def _rows(models: Sequence[Model], folder: Path, options: argparse.Namespace) -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        session, function, client = (stack.enter_context(_worker()) for _ in range(3))
        plain = stack.enter_context(_server(models, folder / "plain"))
        batched = stack.enter_context(_server(models, folder / "batched", _BATCHING))
        for model in models:
            images = model.images()
            expected = session.submit(answers, model.version, images).result()
            for concurrency in options.concurrency:
                work = Work(images, expected, concurrency, options.seconds)
                ways = {
                    _SESSION: partial(session.submit, by_session, model.version, work),
                    _FUNCTION: partial(function.submit, by_function, model.version, work),
                    _PLAIN: partial(client.submit, by_server, plain.address, model.name, plain.pid, work),
                    _BATCHED: partial(client.submit, by_server, batched.address, model.name, batched.pid, work),
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
    """Start a process that keeps the model it has loaded, and what else it knows, from one task to the next."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


@dataclass(frozen=True, slots=True)
class _Server:
    address: str
    pid: int


@contextlib.contextmanager
def _server(models: Sequence[Model], folder: Path, batching: str = "") -> Iterator[_Server]:
    """Run a server; its log is in `folder`."""
    folder.mkdir()
    config = folder / "models.config"
    entries = (f"config {{ name: '{m.name}' base_path: '{m.base}' model_platform: 'tensorflow' }}" for m in models)
    config.write_text(f"model_config_list {{ {' '.join(entries)} }}", encoding="utf-8")
    address = f"127.0.0.1:{ports.find(1)[0]}"
    command = [sys.executable, "-m", "model_server", f"--port={address.split(':')[1]}", "--rest_api_port=0"]
    command += [f"--model_config_file={config}", "--grpc_max_threads=64"]  # by default fewer calls than 32 at once
    if batching:
        (folder / "batching.config").write_text(batching, encoding="utf-8")
        command += ["--enable_batching", f"--batching_parameters_file={folder / 'batching.config'}"]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, cwd=_ROOT, stderr=log) as process:  # noqa: S603  # the project's own program
        try:
            yield _Server(address, process.pid)
        finally:
            process.terminate()


if __name__ == "__main__":
    main(sys.argv[1:])
