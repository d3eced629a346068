"""Compare the gateways of two checkouts: `python -m bench.checkouts BEFORE AFTER`.

With `--whole`, see `bench.whole_checkouts`, the whole stacks are compared.

Both gateways run in front of the same model server that computes nothing, and get the same images in turn. A round
sends each image to both, so that a slow moment of the machine slows both down. The table has the CPU time of the
gateway's processes for each request, as medians over the rounds, and the ratio within a round with its minimum and
maximum.

Each checkout needs its own environment (`make .venv/.dev-ready`).
"""

import argparse
import contextlib
import http.client
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from bench import images, latency_server, whole_checkouts
from tools import ports, processes
from tools.programs import ROOT
from tools.stack import Program, Stack
from tools.waiting import wait_until

START_S = 60.0
MS_PER_S = 1000
IMAGES: Mapping[str, Callable[[], bytes]] = {
    "photo, JPEG 500 x 375": lambda: images.photo(500, 375),
    "photo, JPEG 4000 x 3000": lambda: images.photo(4000, 3000),
    "digit, PNG 28 x 28": lambda: images.golden("digits"),
    "photo, PNG 500 x 375": lambda: _recoded(".png"),
    "photo, WebP 500 x 375": lambda: _recoded(".webp"),
    "photo, TIFF 500 x 375": lambda: _recoded(".tiff"),
    "photo, AVIF 500 x 375": lambda: _recoded(".avif"),
}


def main(arguments: Sequence[str]) -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.checkouts", description=__doc__.split("\n", 1)[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=200, help="requests for one image in a round")
    parser.add_argument("--only", default="", help="measure only images whose name contains this")
    parser.add_argument("--whole", action="store_true", help="compare nginx, gateway and model server together")
    parser.add_argument("--seconds", type=int, default=3, help="duration of each measurement, with --whole")
    parser.add_argument("--run-dir", type=Path, default=Path(".run/checkouts"), help="folder for results, with --whole")
    parser.add_argument("--document", type=Path, help="file to write the tables to, with --whole")
    options = parser.parse_args(arguments)
    if options.whole:
        whole_checkouts.compare(options)
    else:
        _compare_gateways(options)


def _compare_gateways(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Stack(Path(folder)) as stack:
        (model_server,) = ports.find(1)
        command = (sys.executable, "-m", "bench.latency_server", str(model_server), "0")
        stack.start(Program("model-server", command, ROOT, dict(os.environ)))
        gateways = [
            Gateway(stack, name, checkout.resolve(), model_server)
            for name, checkout in (("before", options.before), ("after", options.after))
        ]
        print("| image | before | after | ratio |", "|---|--:|--:|--:|", sep="\n")  # noqa: T201  # the result
        for name, image in IMAGES.items():
            if options.only not in name:
                continue
            print(_row(name, gateways, image(), options.rounds, options.requests), flush=True)  # noqa: T201


def _recoded(extension: str) -> bytes:
    image = cv2.imdecode(np.frombuffer(images.photo(500, 375), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None  # noqa: S101  # drawn above
    return cv2.imencode(extension, image)[1].tobytes()


def _row(name: str, gateways: Sequence["Gateway"], image: bytes, rounds: int, requests: int) -> str:
    figures = [[gateway.measure_ms(image, requests) for gateway in gateways] for _ in range(rounds + 1)][1:]
    before, after = (statistics.median(column) for column in zip(*figures, strict=True))
    ratios = sorted(after_ms / before_ms for before_ms, after_ms in figures)
    spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    return f"| {name} | {before:.2f} ms | {after:.2f} ms | {spread} |"


class Gateway:
    """The gateway of one checkout, with one worker."""

    def __init__(self, stack: Stack, name: str, checkout: Path, model_server: int) -> None:
        (self._port,) = ports.find(1)
        environment = dict(os.environ) | {
            "GATEWAY_BIND": f"127.0.0.1:{self._port}",
            "GATEWAY_TFS_TARGET": f"127.0.0.1:{model_server}",
            "GATEWAY_MODELS": latency_server.MODEL,
            "GATEWAY_WORKERS": "1",
            "GATEWAY_LOG_LEVEL": "warning",
        }
        python = str(checkout / ".venv/bin/python")
        command = (python, "-m", "gunicorn", "-c", "gateway/gunicorn_conf.py", "gateway.wsgi:app")
        stack.start(Program(name, command, checkout, environment))
        self._pid = stack.pids()[name]
        wait_until(self._answers, START_S, f"answers from {name}")

    def measure_ms(self, image: bytes, requests: int) -> float:
        """Return the CPU milliseconds of the gateway for each request."""
        with self._connection() as connection:
            started_s = processes.cpu_s(self._pid)
            for _ in range(requests):
                self._send(connection, image)
            return (processes.cpu_s(self._pid) - started_s) / requests * MS_PER_S

    def _answers(self) -> bool:
        with contextlib.suppress(OSError, RuntimeError), self._connection() as connection:
            self._send(connection, images.golden("digits"))
            return True
        return False

    @contextlib.contextmanager
    def _connection(self) -> Iterator[http.client.HTTPConnection]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=START_S)) as connection:
            yield connection

    @staticmethod
    def _send(connection: http.client.HTTPConnection, image: bytes) -> None:
        content_type, body = images.multipart([image])
        connection.request("POST", "/api/v1/predict", body, {"Content-Type": content_type})
        response = connection.getresponse()
        answer = response.read()
        if response.status != http.client.OK:
            raise RuntimeError(f"{response.status}: {answer.decode()}")


if __name__ == "__main__":
    main(sys.argv[1:])
