"""The benchmark judges by medians over rounds, and of ratios within each round."""

from xml.etree import ElementTree as ET

import pytest

from bench import report, targets
from bench.clients import Load
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


def measured(gateway_s: float, loop_s: float = 0.1) -> targets.Round:
    """Make a round of 100 pictures a cell, in which the gateway took so many seconds of CPU."""
    cpu_s = {"gateway": gateway_s, "nginx": 0.02, "model server": 0.5}
    found = {cell: Sample(cell, 100, Load(100, 1.0, 3.0, 9.0), cpu_s) for cell in CELLS}
    return found | {targets.LOOP: Sample(targets.LOOP, 100, Load(100, 1.0), {"loop": loop_s})}


def outcome(rounds: list[targets.Round], what: str) -> targets.Outcome:
    (found,) = [item for item in targets.judge(rounds) if item.target.what == what]
    return found


def test_the_median_of_the_rounds_counts():
    found = outcome([measured(seconds) for seconds in (0.1, 0.15, 0.9)], "photo: CPU of the gateway")
    assert found.median == pytest.approx(1.5)
    assert found.met
    assert not outcome([measured(0.17)], "photo: CPU of the gateway").met


def test_ratios_are_of_the_same_round():
    found = outcome([measured(0.2, 0.1), measured(0.4, 0.2)], "photo: CPU of the gateway / bare loop")
    assert found.values == pytest.approx([2, 2])


def test_more_is_better_where_it_is_said():
    assert not outcome([measured(0.1)], "12 MP: throughput / Flask + Keras").met
    assert outcome([measured(0.1)], "photo, 32 at once: throughput / FastAPI + Keras").met


def test_the_worst_number_of_servers_and_the_middle_of_the_others_count():
    swaps = [{"swap_p99_ms": number, "steady_p99_ms": 10.0} for number in (10.0, 20.0, 90.0)]
    starts = [{"ready_s": 0.8, "worker_mb": 101.0}]
    found = targets.judge_episodes({1: 0.99, 4: 0.89}, swaps, starts)
    assert [item.median for item in found] == [0.89, 2.0, 0.8, 101.0]
    assert [item.met for item in found] == [False, True, True, False]


def test_tables_and_plot_hold_everything():
    rounds = [measured(0.1), measured(0.2)]
    table = report.targets_table(targets.judge(rounds))
    assert "| photo: CPU of the gateway | ≤ 1.6 ms | 1.50 ms | 1.00 to 2.00 | yes |" in table
    assert table.count("\n") == len(targets.TARGETS) + 1
    cells = report.cells_table(rounds)
    assert all(f"| {cell} |" in cells for cell in CELLS)
    drawn = ET.fromstring(report.plot(rounds))  # noqa: S314  # our own
    texts = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert set(CELLS) <= set(texts)
