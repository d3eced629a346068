"""The benchmark compares medians over rounds with its targets; ratios are within a round."""

import pytest

from bench import targets
from bench.external_load import Throughput
from bench.measure import Sample, cell_name
from bench.targets import AFTER, AFTER_FLOAT32, ALTERNATIVES, BEFORE, LARGE, LARGE_LOOP, LOOP, OURS, PHOTO, PHOTO_32

OURS_ALONE = (targets.BATCH_OF_PHOTOS,)
WHOLE = (PHOTO, PHOTO_32, LARGE, targets.DIGITS, targets.CIFAR10)
BY_SERVICE = {"gateway": 0.1, "nginx": 0.02, "model server": 0.28}


def make_sample(name: str, cpu_s: dict[str, float], p99_ms: float = 9.0, memory_bytes: int = 0) -> Sample:
    """Return a sample of 100 images."""
    return Sample(name, 100, Throughput(100, 1.0, 3.0, p99_ms), cpu_s, memory_bytes)


def make_round(cpu_s: dict[str, float] | None = None, **alternatives: Sample) -> targets.Round:
    """Return a round in which the stack used so many CPU seconds by service, and every alternative one second."""
    ours = {
        cell_name(OURS, workload): make_sample(workload, cpu_s or BY_SERVICE)
        for workload in (PHOTO, PHOTO_32, LARGE, *OURS_ALONE)
    }
    others = {
        cell_name(system, workload): make_sample(workload, {system: 1.0})
        for system in ALTERNATIVES
        for workload in (PHOTO, PHOTO_32, LARGE)
    }
    loops = {name: make_sample(name, {"loop": 0.1}) for name in (LOOP, LARGE_LOOP)}
    return ours | others | loops | alternatives


def evaluate(rounds: list[targets.Round], name: str, table: tuple[targets.Target, ...] = targets.TARGETS):
    """Return the outcome of one target."""
    (outcome,) = [outcome for outcome in targets.evaluate(table, rounds) if outcome.target.name == name]
    return outcome


def test_the_median_of_the_rounds_is_compared_with_the_limit():
    rounds = [make_round(BY_SERVICE | {"gateway": seconds}) for seconds in (0.1, 0.2, 0.9)]

    outcome = evaluate(rounds, "photo: CPU of the gateway / bare loop")

    assert outcome.values == pytest.approx([1, 2, 9])
    assert outcome.median == pytest.approx(2)
    assert outcome.met
    assert not evaluate(rounds[1:], "photo: CPU of the gateway / bare loop").met


def test_the_stack_is_compared_with_the_cheapest_alternative():
    cheapest = cell_name(targets.ONNXRUNTIME, PHOTO)
    rounds = [make_round() | {cheapest: make_sample(cheapest, {"service": 0.2})}]

    assert evaluate(rounds, "photo, 8 connections: CPU / cheapest alternative in float32").median == pytest.approx(2)
    assert evaluate(rounds, "photo, 8 connections: CPU / FastAPI + OpenVINO int8").median == pytest.approx(0.4)


def test_an_alternative_that_was_not_sent_a_workload_does_not_count():
    batched = cell_name(targets.OPENVINO + targets.BATCHED, LARGE)
    samples = {name: sample for name, sample in make_round().items() if name != batched}

    assert evaluate([samples], "12 MP, 8 connections: CPU / cheapest alternative").median == pytest.approx(0.4)


def test_latencies_are_compared_with_the_lowest_one():
    lowest = cell_name(targets.TUTORIAL, PHOTO)
    rounds = [make_round() | {lowest: make_sample(lowest, {"service": 9.0}, p99_ms=6.0)}]

    outcome = evaluate(rounds, "photo, 8 connections: p99 / lowest of the alternatives")

    assert outcome.median == pytest.approx(1.5)
    assert not outcome.met


def test_a_checkout_is_compared_with_the_earlier_one():
    factors = {BEFORE: 1.0, AFTER: 0.4, AFTER_FLOAT32: 0.6}
    samples = {
        cell_name(system, workload): make_sample(
            workload, {name: seconds * factor for name, seconds in BY_SERVICE.items()}, memory_bytes=int(1000 * factor)
        )
        for system, factor in factors.items()
        for workload in WHOLE
    }

    outcomes = {outcome.target.name: outcome for outcome in targets.evaluate(targets.CHECKOUT_TARGETS, [samples])}

    assert outcomes["photo, 8 connections: CPU / before"].values == pytest.approx([0.4])
    assert outcomes["photo, 8 connections, float32: CPU / before"].values == pytest.approx([0.6])
    assert outcomes["memory / before"].values == pytest.approx([0.4])
    assert outcomes["digits, 8 connections: CPU"].values == pytest.approx([1.6])
    assert [name for name, outcome in outcomes.items() if not outcome.met] == [
        "photo, 8 connections, float32: CPU / before",
        "photo, 32 connections, float32: CPU / before",
    ]


def test_scenarios_are_compared_by_the_smallest_share_and_by_medians():
    swaps = [{"swap_p99_ms": latency_ms, "steady_p99_ms": 10.0} for latency_ms in (10.0, 20.0, 90.0)]
    starts = [{"ready_s": 0.8, "worker_mb": 101.0}]

    outcomes = targets.evaluate_scenarios({1: 0.99, 4: 0.89}, swaps, starts)

    assert [outcome.median for outcome in outcomes] == [0.89, 2.0, 0.8, 101.0]
    assert [outcome.met for outcome in outcomes] == [False, True, True, False]
