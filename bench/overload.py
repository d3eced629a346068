"""Four times as many requests as can be answered, for half a minute: what is answered, how soon, and how soon refused.

    python -m bench.overload [--seconds 30] [--times 4] [--users 400]

Capacity is measured before and after, by as many users as the gateway has places. Users of the overload each ask so
many times a second. They have processors of their own, and the service, nginx among it, has the others: else what is
missing in the overload would be what the users take.
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import requests

from bench.parts import MODEL, Parts, status

OK = 200
REFUSED = 503
US_PER_S = 1_000_000
PROBE_PAUSE_S = 0.2
CAPACITY_USERS = 16


@dataclass(frozen=True, slots=True)
class Load:
    """What users were told: seconds to the answer of each request, by status."""

    seconds: float
    answers_s: dict[int, list[float]]

    def rate(self, code: int = 0) -> float:
        """Give the answers of a status, or of all, per second."""
        return sum(len(times) for told, times in self.answers_s.items() if code in {0, told}) / self.seconds

    def percentile_s(self, code: int, percent: int) -> float:
        """Give the time within which so many per cent of the answers of a status came; 0 where there is none."""
        times = self.answers_s.get(code, [])
        return statistics.quantiles(times, n=100)[percent - 1] if len(times) > 1 else 0.0


@dataclass(slots=True)
class Probes:
    """Asks /livez and /readyz through nginx now and then, in a thread of its own, while the context lasts."""

    url: str
    told: Counter[tuple[str, int]] = field(default_factory=Counter)
    slowest_s: float = 0.0
    _done: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Begin."""
        self._thread = threading.Thread(target=self._keep_asking)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def _keep_asking(self) -> None:
        while not self._done.wait(PROBE_PAUSE_S):
            for path in ("/livez", "/readyz"):
                started_s = time.monotonic()
                self.told[path, status(self.url + path)] += 1
                self.slowest_s = max(self.slowest_s, time.monotonic() - started_s)


@contextlib.contextmanager
def apart() -> Iterator[Collection[int]]:
    """Leave a quarter of the processors, at least one, to the users while the context lasts, and give their numbers.

    What is started meanwhile runs on the others. Of a single processor nothing can be left.
    """
    available = sorted(os.sched_getaffinity(0))
    users = available[-max(1, len(available) // 4) :]
    os.sched_setaffinity(0, set(available) - set(users) or users)
    try:
        yield users
    finally:
        os.sched_setaffinity(0, available)


@dataclass(frozen=True, slots=True)
class Crowd:
    """Many users of one service, all with the same picture.

    Attributes:
        url: What they ask.
        picture: The file that they send.
        processors: Numbers of those that they run on; on any, where none are given.
    """

    url: str
    picture: Path
    processors: Collection[int] = ()

    def ask(self, *, seconds: int, users: int, rate: float | None = None) -> Load:
        """Ask for some time, each user as fast as it is answered, or all together at a rate per second.

        Raises:
            RuntimeError: h2load is not installed, or failed.
        """
        h2load = shutil.which("h2load")
        if h2load is None:
            raise RuntimeError("h2load is not installed; Debian has it in the package nghttp2-client")
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log"
            command = [
                *(["taskset", "--cpu-list", ",".join(map(str, self.processors))] if self.processors else []),
                *(h2load, "--h1", f"--clients={users}", f"--duration={seconds}"),
                *(f"--data={self.picture}", "--header=content-type: image/png", f"--log-file={log}"),
                *([f"--rps={rate / users:.3f}"] if rate else []),
                self.url,
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # as given above
            if done.returncode != 0:
                raise RuntimeError(f"h2load failed: {done.stdout}{done.stderr}")
            answers_s: dict[int, list[float]] = {}
            for line in log.read_text(encoding="ascii").splitlines():
                _, code, spent_us = line.split("\t")[:3]
                answers_s.setdefault(int(code), []).append(int(spent_us) / US_PER_S)
        return Load(seconds, answers_s)


def measure(parts: Parts, *, seconds: int, times: float, users: int, processors: Collection[int]) -> list[str]:
    """Measure, with the users on these processors, and give the rows of the table."""
    picture = parts.base / "1" / "assets.extra" / "golden" / "00.png"
    requests.post(parts.predict_url, data=picture.read_bytes(), timeout=60)
    crowd = Crowd(parts.predict_url, picture, processors)
    before = crowd.ask(seconds=seconds // 2, users=CAPACITY_USERS)
    capacity = before.rate(OK)
    with Probes(parts.url) as probes:
        load = crowd.ask(seconds=seconds, users=users, rate=times * capacity)
    after = crowd.ask(seconds=seconds // 2, users=CAPACITY_USERS)
    mean = statistics.mean([capacity, after.rate(OK)])
    healthy = sum(count for (_, code), count in probes.told.items() if code == OK)
    others = sum(len(told) for code, told in load.answers_s.items() if code not in {OK, REFUSED})
    return [
        "| | |",
        "|---|--:|",
        f"| capacity before and after, requests/s | {capacity:.0f}, {after.rate(OK):.0f} |",
        f"| asked in the overload, requests/s | {load.rate():.0f} |",
        f"| answered, requests/s | {load.rate(OK):.0f} |",
        f"| of the capacity | {load.rate(OK) / mean:.0%} |",
        f"| answered within, median and 99th percentile | {_ms(load, OK)} |",
        f"| refused with 503 within, median and 99th percentile | {_ms(load, REFUSED)} |",
        f"| anything else, requests | {others} |",
        f"| health checks answered 200 | {healthy} of {probes.told.total()} |",
        f"| slowest health check | {probes.slowest_s * 1000:.0f} ms |",
    ]


def run(*, seconds: int, times: float, users: int) -> list[str]:
    """Start a stack, measure, and give the rows of the table."""
    with (
        apart() as processors,
        tempfile.TemporaryDirectory(prefix="overload-") as folder,
        Parts(Path(folder)) as parts,
    ):
        return measure(parts.start(), seconds=seconds, times=times, users=users, processors=processors)


def _ms(load: Load, code: int) -> str:
    return ", ".join(f"{load.percentile_s(code, percent) * 1000:.0f} ms" for percent in (50, 99))


def main(arguments: Sequence[str]) -> None:
    """Start a stack, measure, print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=30, help="length of the overload (%(default)s)")
    parser.add_argument("--times", type=float, default=4, help="the capacity (%(default)s)")
    parser.add_argument("--users", type=int, default=400, help="connections of the overload (%(default)s)")
    given = parser.parse_args(arguments)
    rows = run(seconds=given.seconds, times=given.times, users=given.users)
    print(f"Overload, model {MODEL}:", "", *rows, sep="\n")  # noqa: T201  # the result


if __name__ == "__main__":
    main(sys.argv[1:])
