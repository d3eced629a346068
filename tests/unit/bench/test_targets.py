"""The benchmark compares medians over rounds with its targets; ratios are within a round."""

from xml.etree import ElementTree as ET

import pytest

from bench import report, targets
from bench.external_load import Throughput
from bench.measure import Sample

CELLS = [
    targets.LOOP,
    targets.LARGE_LOOP,
    *(f"{what}, {number}" for what in ("photo, multipart", "direct gRPC") for number in (1, 8, 32)),
    targets.BATCH,
    targets.LARGE,
    "digits, raw, 8",
    *(f"{other}, photo, 32" for other in (targets.FLASK, targets.FASTAPI, targets.TUTORIAL)),
    f"{targets.FLASK}, 12 MP, 8",
]


def make_round(gateway_s: float, loop_s: float = 0.1) -> targets.Round:
    """Return a round of 100 images per measurement in which the gateway used so many seconds of CPU time."""
    cpu_s = {"gateway": gateway_s, "nginx": 0.02, "model server": 0.5}
    samples = {cell: Sample(cell, 100, Throughput(100, 1.0, 3.0, 9.0), cpu_s) for cell in CELLS}
    return samples | {targets.LOOP: Sample(targets.LOOP, 100, Throughput(100, 1.0), {"loop": loop_s})}


def evaluate(rounds: list[targets.Round], name: str) -> targets.Outcome:
    """Return the outcome of one target."""
    (outcome,) = [outcome for outcome in targets.evaluate_rounds(rounds) if outcome.target.name == name]
    return outcome


def test_the_median_of_the_rounds_is_compared_with_the_limit():
    outcome = evaluate([make_round(seconds) for seconds in (0.1, 0.15, 0.9)], "photo: CPU of the gateway")

    assert outcome.median == pytest.approx(1.5)
    assert outcome.met
    assert not evaluate([make_round(0.17)], "photo: CPU of the gateway").met


def test_ratios_are_within_a_round():
    outcome = evaluate([make_round(0.2, 0.1), make_round(0.4, 0.2)], "photo: CPU of the gateway / bare loop")

    assert outcome.values == pytest.approx([2, 2])


def test_some_limits_are_minimums():
    assert not evaluate([make_round(0.1)], "12 MP: throughput / Flask + Keras").met
    assert evaluate([make_round(0.1)], "photo, 32 at once: throughput / FastAPI + Keras").met


def test_scenarios_are_compared_by_the_smallest_share_and_by_medians():
    swaps = [{"swap_p99_ms": latency_ms, "steady_p99_ms": 10.0} for latency_ms in (10.0, 20.0, 90.0)]
    starts = [{"ready_s": 0.8, "worker_mb": 101.0}]

    outcomes = targets.evaluate_scenarios({1: 0.99, 4: 0.89}, swaps, starts)

    assert [outcome.median for outcome in outcomes] == [0.89, 2.0, 0.8, 101.0]
    assert [outcome.met for outcome in outcomes] == [False, True, True, False]


def test_tables_and_plot_contain_every_measurement():
    rounds = [make_round(0.1), make_round(0.2)]

    table = report.targets_table(targets.evaluate_rounds(rounds))
    assert "| photo: CPU of the gateway | ≤ 1.6 ms | 1.50 ms | 1.00 to 2.00 | yes |" in table
    assert table.count("\n") == len(targets.TARGETS) + 1

    cells = report.cells_table(rounds)
    assert [cell for cell in CELLS if f"| {cell} |" not in cells] == []

    plot = ET.fromstring(report.plot(rounds))  # noqa: S314  # our own
    texts = [element.text for element in plot.iter("{http://www.w3.org/2000/svg}text")]
    assert set(CELLS) <= set(texts)
