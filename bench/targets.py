"""The targets of the benchmark: figures of one round, so that both parts of a ratio were measured side by side."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from bench.measure import Sample

Round: TypeAlias = Mapping[str, Sample]
Figure: TypeAlias = Callable[[Round], float]
GATEWAY = "gateway"
LOOP = "bare loop, photo"
LARGE_LOOP = "bare loop, 12 MP"


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


def _cpu(cell: str, *services: str) -> Figure:
    return lambda samples: samples[cell].cpu_ms(*services)


def _cpu_ratio(cell: str, services: tuple[str, ...], other: str, others: tuple[str, ...] = ()) -> Figure:
    return lambda samples: samples[cell].cpu_ms(*services) / samples[other].cpu_ms(*others)


def _rate_ratio(cell: str, other: str) -> Figure:
    return lambda samples: samples[cell].rate / samples[other].rate


PHOTO, LARGE, BATCH = "photo, multipart, 8", "12 MP, multipart, 8", "batch of 32 photos, 2"
FLASK, FASTAPI, TUTORIAL = "Flask + Keras", "FastAPI + Keras", "tutorial's gateway"
ALL: tuple[str, ...] = ()
TARGETS = (
    Target("photo: CPU of the gateway", _cpu(PHOTO, GATEWAY), 1.6, unit=" ms"),
    Target("photo: CPU of the gateway / bare loop", _cpu_ratio(PHOTO, (GATEWAY,), LOOP), 2.2),
    Target(
        "photo: CPU of gateway and nginx / gateway",
        _cpu_ratio(PHOTO, (GATEWAY, "nginx"), PHOTO, (GATEWAY,)),
        1.25,
    ),
    *(
        Target(
            f"photo, {number} at once: CPU of the stack / direct gRPC",
            _cpu_ratio(f"photo, multipart, {number}", ALL, f"direct gRPC, {number}"),
            1.2,
        )
        for number in (8, 32)
    ),
    *(
        Target(
            f"photo, {number} at once: throughput / direct gRPC",
            _rate_ratio(f"photo, multipart, {number}", f"direct gRPC, {number}"),
            0.85,
            at_least=True,
        )
        for number in (8, 32)
    ),
    Target("12 MP: CPU of the gateway / bare loop", _cpu_ratio(LARGE, (GATEWAY,), LARGE_LOOP), 0.45),
    Target("digits: CPU of the gateway", _cpu("digits, raw, 8", GATEWAY), 1.1, unit=" ms"),
    Target("batch of 32: CPU per photo / one by one", _cpu_ratio(BATCH, ALL, PHOTO), 0.75),
    Target(
        "batch of 32: CPU of gateway and nginx per photo / one by one",
        _cpu_ratio(BATCH, (GATEWAY, "nginx"), PHOTO, (GATEWAY, "nginx")),
        0.75,
    ),
    Target(
        "photo, 32 at once: throughput / Flask + Keras",
        _rate_ratio("photo, multipart, 32", f"{FLASK}, photo, 32"),
        1.3,
        at_least=True,
    ),
    Target(
        "photo, 32 at once: throughput / FastAPI + Keras",
        _rate_ratio("photo, multipart, 32", f"{FASTAPI}, photo, 32"),
        1.0,
        at_least=True,
    ),
    Target(
        "photo, 32 at once: throughput / tutorial's gateway",
        _rate_ratio("photo, multipart, 32", f"{TUTORIAL}, photo, 32"),
        3,
        at_least=True,
    ),
    Target("12 MP: throughput / Flask + Keras", _rate_ratio(LARGE, f"{FLASK}, 12 MP, 8"), 3, at_least=True),
    Target("photo, 32 at once: CPU of the stack", _cpu("photo, multipart, 32"), 10.8, unit=" ms"),
    Target("12 MP: CPU of the stack", _cpu(LARGE), 33, unit=" ms"),
)


def evaluate_rounds(rounds: Sequence[Round]) -> list[Outcome]:
    """Return the outcome of every target over the rounds."""
    return [Outcome(target, [target.figure(samples) for samples in rounds]) for target in TARGETS]


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
