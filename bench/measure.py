"""Measure the CPU time, the memory and the latency of services under load."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from bench import network
from bench.external_load import HttpRequest, NoAnswerError, Throughput, run_wrk
from bench.services import Service
from tools import processes
from tools.programs import ROOT

WARM_UP_S = 1.0
IDLE_TIMEOUT_S, IDLE_STEP_S, IDLE_SHARE = 30.0, 0.25, 0.1


@dataclass(frozen=True, slots=True)
class Cell:
    """One measurement that is repeated in every round.

    Attributes:
        system: What is measured.
        workload: What it is sent, and the number of connections.
        services: The services whose CPU time is counted, each separately.
        load: Generates load for a number of seconds.
        images: Number of images in each request.
    """

    system: str
    workload: str
    services: Sequence[Service]
    load: Callable[[float], Throughput]
    images: int = 1

    @property
    def name(self) -> str:
        """Its name in the tables."""
        return cell_name(self.system, self.workload)


def cell_name(system: str, workload: str) -> str:
    """Return the name of a measurement."""
    return f"{system}: {workload}"


@dataclass(frozen=True, slots=True)
class Sample:
    """The result of one measurement.

    Attributes:
        cell: Name of what was measured.
        images: Number of images, all answered correctly.
        load: The figures of the load.
        cpu_s: CPU seconds by service.
        memory_bytes: Memory of all services after the load, each page that they share counted once; 0 if not measured.
    """

    cell: str
    images: int
    load: Throughput
    cpu_s: Mapping[str, float]
    memory_bytes: int = 0

    def cpu_ms(self, *services: str) -> float:
        """Return the CPU milliseconds per image of the named services, or of all."""
        return sum(self.cpu_s[name] for name in services or self.cpu_s) / self.images * 1e3

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.load.wall_s


Measurement: TypeAlias = Callable[[float], Sample]
"""Measures for a number of seconds."""


def measure_rounds(measurements: Mapping[str, Measurement], number: int, seconds: float) -> list[Mapping[str, Sample]]:
    """Measure everything `number` times, after a short round that does not count.

    Args:
        measurements: What to measure, by name.
        number: Number of rounds.
        seconds: Duration of each measurement.

    Returns:
        The samples by name, for each round.
    """
    rounds: list[Mapping[str, Sample]] = []
    for index in range(number + 1):
        samples: dict[str, Sample] = {}
        for name, measurement in measurements.items():
            samples[name] = measurement(seconds if index else WARM_UP_S)
            print(f"round {index} of {number}: {name:50} {samples[name].cpu_ms():7.2f} CPU ms per image", flush=True)  # noqa: T201  # progress
        rounds.append(samples)
    return rounds[1:]


def measure(cell: Cell, seconds: float) -> Sample:
    """Measure once, for up to 16 times as long if no answer arrives; all services are idle afterwards.

    Raises:
        NoAnswerError: No answer arrived even in the longest time.
    """
    for factor in (1, 4, 16):
        with contextlib.suppress(NoAnswerError):
            return _measure(cell, seconds * factor)
    raise NoAnswerError(cell.name)


def _measure(cell: Cell, seconds: float) -> Sample:
    try:
        before = {service.name: service.cpu_s() for service in cell.services}
        load = cell.load(seconds)
        after = {service.name: service.cpu_s() for service in cell.services}
    finally:
        _wait_until_idle(cell.services)
    cpu_s = {name: after[name] - before[name] for name in after}
    memory_bytes = processes.group_bytes(service.pid for service in cell.services)
    return Sample(cell.name, load.requests * cell.images, load, cpu_s, memory_bytes)


def _wait_until_idle(services: Sequence[Service]) -> None:
    """Wait until the services have finished the last requests, for which the client did not wait."""
    deadline_s = time.monotonic() + IDLE_TIMEOUT_S
    before_s = sum(service.cpu_s() for service in services)
    while time.monotonic() < deadline_s:
        time.sleep(IDLE_STEP_S)
        now_s = sum(service.cpu_s() for service in services)
        if now_s - before_s <= IDLE_SHARE * IDLE_STEP_S:
            return
        before_s = now_s


def measure_bare_loop(name: str, image: bytes, folder: Path, seconds: float) -> Sample:
    """Measure decoding and resizing in a loop without any service."""
    path = folder / "image"
    path.write_bytes(image)
    command = [sys.executable, "-m", "bench.floor", str(path), str(network.SIDE), str(seconds)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    number, cpu_s = result.stdout.split()
    return Sample(name, int(number), Throughput(int(number), seconds), {"loop": float(cpu_s)})


def http_cell(  # noqa: PLR0913  # what a measurement consists of
    system: str, workload: str, services: Sequence[Service], request: HttpRequest, *, connections: int, folder: Path
) -> Cell:
    """Return the measurement of a request that is repeated over several connections; `folder` is for wrk's files."""
    return Cell(
        system,
        workload,
        services,
        lambda seconds: run_wrk(request, folder, connections=connections, seconds=seconds),
        request.images,
    )
