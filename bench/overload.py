"""Send four times as many requests as the stack can answer, for half a minute; measure answers and rejections.

    python -m bench.overload [--seconds 30] [--times 4] [--users 400]

The capacity is measured before and after, with as many users as the gateway has threads. During the overload all users
together send requests at a fixed rate. They run on processors of their own, and the whole stack runs on the others;
otherwise the load itself would reduce the number of answers.
"""

import argparse
import contextlib
import math
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Self

import requests

from bench.drill_stack import MODEL, DrillStack
from bench.external_load import HttpUsers
from tools.load_generator import OK, LoadResult
from tools.local_stack import status

REJECTED = "503"
PROBE_PAUSE_S = 0.2
CAPACITY_USERS = 16


@dataclass(slots=True)
class HealthProbes:
    """Health checks of a service, one of each path and then a pause, from a thread while the context lasts."""

    url: str
    paths: Sequence[str] = ("/livez", "/readyz")
    pause_s: float = PROBE_PAUSE_S
    statuses: Counter[int] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread = threading.Thread(target=self._probe)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def failures(self) -> int:
        """Number of checks that were not answered 200."""
        return self.statuses.total() - self.statuses[HTTPStatus.OK]

    @property
    def slowest_s(self) -> float:
        """The slowest answer; 0 if there was none yet."""
        return max(self.latencies_s, default=0.0)

    def _probe(self) -> None:
        while not self._stop.wait(self.pause_s):
            for path in self.paths:
                started_s = time.monotonic()
                self.statuses[status(self.url + path)] += 1
                self.latencies_s.append(time.monotonic() - started_s)


@contextlib.contextmanager
def reserved_processors() -> Iterator[Collection[int]]:
    """Reserve a quarter of the processors, at least one, for the users, and yield their numbers.

    Programs started within the context run on the others. A single processor is shared.
    """
    available = sorted(os.sched_getaffinity(0))
    reserved = available[-max(1, len(available) // 4) :]
    os.sched_setaffinity(0, set(available) - set(reserved) or reserved)
    try:
        yield reserved
    finally:
        os.sched_setaffinity(0, available)


def measure(stack: DrillStack, *, seconds: int, times: float, users: int, processors: Collection[int]) -> list[str]:
    """Measure with the users on the given processors, and return the rows of the table."""
    image = stack.golden / "00.png"
    requests.post(stack.predict_url, data=image.read_bytes(), timeout=60)
    load = HttpUsers(stack.predict_url, image, processors)
    capacity_before = load.run(seconds=seconds // 2, users=CAPACITY_USERS).rate()
    with HealthProbes(stack.url) as probes:
        overload = load.run(seconds=seconds, users=users, rate=times * capacity_before)
    capacity_after = load.run(seconds=seconds // 2, users=CAPACITY_USERS).rate()
    mean = statistics.mean([capacity_before, capacity_after])
    others = sum(count for outcome, count in overload.counts.items() if outcome not in {OK, REJECTED})
    return [
        "| | |",
        "|---|--:|",
        f"| capacity before and after, requests/s | {capacity_before:.0f}, {capacity_after:.0f} |",
        f"| sent during the overload, requests/s | {overload.rate(None):.0f} |",
        f"| answered, requests/s | {overload.rate():.0f} |",
        f"| share of the capacity | {overload.rate() / mean:.0%} |",
        f"| latency of answers, median and 99th percentile | {_latencies(overload, OK)} |",
        f"| latency of rejections with 503, median and 99th percentile | {_latencies(overload, REJECTED)} |",
        f"| requests with any other outcome | {others} |",
        f"| health checks answered 200 | {probes.statuses[200]} of {probes.statuses.total()} |",
        f"| slowest health check | {probes.slowest_s * 1000:.0f} ms |",
    ]


def run(*, seconds: int, times: float, users: int) -> list[str]:
    """Start a stack, measure, and return the rows of the table."""
    with (
        reserved_processors() as processors,
        tempfile.TemporaryDirectory(prefix="overload-") as folder,
        DrillStack(Path(folder)) as stack,
    ):
        return measure(stack.start(), seconds=seconds, times=times, users=users, processors=processors)


def _latencies(load: LoadResult, outcome: str) -> str:
    latencies_ms = [load.percentile_ms(percent, outcome) for percent in (50, 99)]
    return ", ".join("none" if math.isinf(latency_ms) else f"{latency_ms:.0f} ms" for latency_ms in latencies_ms)


def main(arguments: Sequence[str]) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=30, help="duration of the overload (%(default)s)")
    parser.add_argument("--times", type=float, default=4, help="load as a multiple of the capacity (%(default)s)")
    parser.add_argument("--users", type=int, default=400, help="connections during the overload (%(default)s)")
    options = parser.parse_args(arguments)
    rows = run(seconds=options.seconds, times=options.times, users=options.users)
    print(f"Overload, model {MODEL}:", "", *rows, sep="\n")  # noqa: T201  # the result


if __name__ == "__main__":
    main(sys.argv[1:])
