"""What is aimed at, each as a figure that one round gives, so that a ratio's parts were measured side by side."""

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
    """One figure and its limit.

    Attributes:
        what: What it is.
        figure: Computes it for a round.
        limit: The most, or with `at_least` the least, that it may be.
        at_least: Whether more is better.
        unit: Printed behind it; none for a ratio.
    """

    what: str
    figure: Figure
    limit: float
    at_least: bool = False
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A target, and what came of it.

    Attributes:
        target: What was aimed at.
        values: The figure of each round.
    """

    target: Target
    values: Sequence[float]

    @property
    def median(self) -> float:
        """The figure that counts."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool:
        """Whether it is within the limit."""
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


def judge(rounds: Sequence[Round]) -> list[Outcome]:
    """Compute every figure of every round."""
    return [Outcome(target, [target.figure(samples) for samples in rounds]) for target in TARGETS]


def judge_episodes(
    servers: Mapping[int, float], swaps: Sequence[Mapping[str, float]], starts: Sequence[Mapping[str, float]]
) -> list[Outcome]:
    """Hold what does not repeat in rounds against its targets."""
    least = Target("1 to 4 model servers of 50 ms: least share of their capacity", _none, 0.9, at_least=True)
    slowest = Target("swap: 99th percentile / steady", _none, 2)
    ready = Target("gateway of one worker: exec to first 200", _none, 1.0, unit=" s")
    memory = Target("gateway's worker: memory", _none, 100, unit=" MB")
    return [
        Outcome(least, [min(servers.values())]),
        Outcome(slowest, [swap["swap_p99_ms"] / swap["steady_p99_ms"] for swap in swaps]),
        Outcome(ready, [start["ready_s"] for start in starts]),
        Outcome(memory, [start["worker_mb"] for start in starts]),
    ]


def _none(_: Round) -> float:
    raise NotImplementedError
