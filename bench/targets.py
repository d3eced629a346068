"""The targets of the benchmark: figures of one round, so that both parts of a ratio were measured side by side."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from bench.measure import Sample, cell_name
from bench.services import GATEWAY, NGINX
from bench.testbed import (
    BATCHED,
    FASTAPI_KERAS,
    FLASK_KERAS,
    ONNXRUNTIME,
    OPENVINO,
    OPENVINO_INT8,
    OURS,
    TUTORIAL,
)

Round: TypeAlias = Mapping[str, Sample]
"""The measurements of one round by name."""
Figure: TypeAlias = Callable[[Round], float]
Services: TypeAlias = tuple[str, ...]
ALL: Services = ()
BYTES_PER_MB = 1e6
LOOP, LARGE_LOOP = "bare loop: photo", "bare loop: 12 MP"
PHOTO, PHOTO_32, LARGE, BATCH_OF_PHOTOS = "photo, 8", "photo, 32", "12 MP, 8", "batch of 32 photos, 2"
DIGITS, CIFAR10 = "digits, 8", "cifar10, 8"
BEFORE, AFTER, AFTER_FLOAT32 = "before", "after", "after, float32"


@dataclass(frozen=True, slots=True)
class Target:
    """A figure and its limit.

    Attributes:
        name: Its name in the table.
        figure: Computes it for a round.
        limit: The largest permitted value, or with `at_least` the smallest.
        at_least: Whether larger values are better.
        unit: Unit with a leading space; empty for a ratio.
    """

    name: str
    figure: Figure
    limit: float
    at_least: bool = False
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The measured figures of a target.

    Attributes:
        target: The target.
        values: The figure of each round.
    """

    target: Target
    values: Sequence[float]

    @property
    def median(self) -> float:
        """Median of the rounds, which is compared with the limit."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool:
        """Whether the median is within the limit."""
        return self.median >= self.target.limit if self.target.at_least else self.median <= self.target.limit


def _cpu_ratio(cell: str, services: Services, other: str, others: Services = ALL) -> Figure:
    return lambda samples: samples[cell].cpu_ms(*services) / samples[other].cpu_ms(*others)


def _memory_ratio(cell: str, other: str) -> Figure:
    return lambda samples: samples[cell].memory_bytes / samples[other].memory_bytes


def _over_best(workload: str, systems: Sequence[str], figure: Callable[[Sample], float]) -> Figure:
    """Return a figure of the stack over the smallest one of several alternatives."""
    return lambda samples: (
        figure(samples[cell_name(OURS, workload)])
        / min(figure(samples[name]) for name in (cell_name(system, workload) for system in systems) if name in samples)
    )


def _p99_ms(sample: Sample) -> float:
    assert sample.load.p99_ms is not None  # noqa: S101  # wrk measures it
    return sample.load.p99_ms


FLOAT32_ALTERNATIVES = (OPENVINO, OPENVINO + BATCHED, ONNXRUNTIME, ONNXRUNTIME + BATCHED, FASTAPI_KERAS)
INT8_ALTERNATIVES = (OPENVINO_INT8, OPENVINO_INT8 + BATCHED)
ALTERNATIVES = (*INT8_ALTERNATIVES, *FLOAT32_ALTERNATIVES, FLASK_KERAS, TUTORIAL)
_PHOTO, _LARGE = cell_name(OURS, PHOTO), cell_name(OURS, LARGE)
_BATCH = cell_name(OURS, BATCH_OF_PHOTOS)
TARGETS = (
    *(
        target
        for workload in (PHOTO, PHOTO_32)
        for target in (
            Target(
                f"{workload} connections: CPU / cheapest alternative in float32",
                _over_best(workload, FLOAT32_ALTERNATIVES, Sample.cpu_ms),
                1.0,
            ),
            Target(
                f"{workload} connections: CPU / FastAPI + OpenVINO int8",
                _over_best(workload, INT8_ALTERNATIVES, Sample.cpu_ms),
                1.05,
            ),
        )
    ),
    Target(f"{PHOTO} connections: p99 / lowest of the alternatives", _over_best(PHOTO, ALTERNATIVES, _p99_ms), 1.0),
    Target(f"{LARGE} connections: CPU / cheapest alternative", _over_best(LARGE, ALTERNATIVES, Sample.cpu_ms), 1.0),
    Target("photo: CPU of the gateway / bare loop", _cpu_ratio(_PHOTO, (GATEWAY,), LOOP), 2.2),
    Target("photo: CPU of gateway and nginx / gateway", _cpu_ratio(_PHOTO, (GATEWAY, NGINX), _PHOTO, (GATEWAY,)), 1.25),
    Target("12 MP: CPU of the gateway / bare loop", _cpu_ratio(_LARGE, (GATEWAY,), LARGE_LOOP), 0.45),
    Target("batch of 32: CPU per photo / one by one", _cpu_ratio(_BATCH, ALL, _PHOTO), 0.75),
    Target(
        "batch of 32: CPU of gateway and nginx per photo / one by one",
        _cpu_ratio(_BATCH, (GATEWAY, NGINX), _PHOTO, (GATEWAY, NGINX)),
        0.75,
    ),
)


def _since(workload: str, limit: float, *, after: str = AFTER, services: Services = ALL, of: str = "") -> Target:
    """Return a target for the CPU time of a checkout over that of the earlier one."""
    figure = _cpu_ratio(cell_name(after, workload), services, cell_name(BEFORE, workload), services)
    return Target(f"{workload} connections{of}: CPU / before", figure, limit)


CHECKOUT_TARGETS = (
    _since(PHOTO, 0.45),
    _since(PHOTO_32, 0.45),
    _since(PHOTO, 0.55, after=AFTER_FLOAT32, of=", float32"),
    _since(PHOTO_32, 0.55, after=AFTER_FLOAT32, of=", float32"),
    _since(LARGE, 0.75),
    _since(CIFAR10, 0.5),
    _since(DIGITS, 0.65),
    Target(f"{DIGITS} connections: CPU", lambda samples: samples[cell_name(AFTER, DIGITS)].cpu_ms(), 1.9, unit=" ms"),
    _since(PHOTO, 0.65, services=(GATEWAY, NGINX), of=", gateway and nginx"),
    _since(DIGITS, 0.65, services=(GATEWAY, NGINX), of=", gateway and nginx"),
    Target("memory", lambda samples: samples[cell_name(AFTER, PHOTO)].memory_bytes / BYTES_PER_MB, 406, unit=" MB"),
    Target("memory / before", _memory_ratio(cell_name(AFTER, PHOTO), cell_name(BEFORE, PHOTO)), 0.5),
)
"""The targets of `python -m bench.checkouts --whole`."""


def evaluate(targets: Sequence[Target], rounds: Sequence[Round]) -> list[Outcome]:
    """Return the outcome of each target over the rounds."""
    return [Outcome(target, [target.figure(samples) for samples in rounds]) for target in targets]


def evaluate_scenarios(
    servers: Mapping[int, float], swaps: Sequence[Mapping[str, float]], starts: Sequence[Mapping[str, float]]
) -> list[Outcome]:
    """Return the outcomes of the measurements in `bench.scenarios`."""
    least = Target("1 to 4 model servers of 50 ms: least share of their capacity", _no_figure, 0.9, at_least=True)
    slowest = Target("swap: 99th percentile / steady", _no_figure, 2)
    ready = Target("gateway of one worker: exec to first 200", _no_figure, 1.0, unit=" s")
    memory = Target("gateway's worker: memory", _no_figure, 100, unit=" MB")
    return [
        Outcome(least, [min(servers.values())]),
        Outcome(slowest, [swap["swap_p99_ms"] / swap["steady_p99_ms"] for swap in swaps]),
        Outcome(ready, [start["ready_s"] for start in starts]),
        Outcome(memory, [start["worker_mb"] for start in starts]),
    ]


def _no_figure(_: Round) -> float:
    raise NotImplementedError
