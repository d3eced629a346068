"""The results of the benchmark are tables in Markdown, a plot, and a part of a document."""

import json
from xml.etree import ElementTree as ET

import pytest

from bench import report
from bench.external_load import Throughput
from bench.measure import Sample
from bench.targets import Outcome, Target

NAMES = ("bare loop: photo", "ours: photo, 8", "ours: photo, 32", "other: photo, 8")


def make_round(seconds: float) -> dict[str, Sample]:
    """Return a round of 100 images per measurement; `other` takes half of the CPU time."""
    return {
        name: Sample(
            name,
            100,
            Throughput(100, 1.0, 3.0, None if name.startswith("bare") else 9.0),
            {"gateway": seconds / (2 if name.startswith("other") else 1)},
            7_000_000,
        )
        for name in NAMES
    }


ROUNDS = [make_round(seconds) for seconds in (0.1, 0.2, 0.9)]


def test_targets_have_a_row_with_median_and_spread():
    target = Target("cost", lambda _: 0.0, 1.6, unit=" ms")

    table = report.targets_table([Outcome(target, [1.0, 1.5, 2.0])])

    assert "| cost | yes | ≤ 1.6 ms | 1.50 ms | 1.00 to 2.00 |" in table


def test_systems_are_compared_by_the_photo_and_the_cheapest_is_first():
    rows = report.systems_table(ROUNDS).splitlines()[2:]

    assert rows == [
        "| other | 1.00 | 100 | 9 |  |  | 7 |",
        "| ours | 2.00 | 100 | 9 | 2.00 |  | 7 |",
    ]


def test_every_measurement_has_a_row_and_a_bar():
    rows = report.cells_table(ROUNDS).splitlines()[2:]
    plot = ET.fromstring(report.plot(ROUNDS))  # noqa: S314  # our own

    assert [row.split(" | ")[0] for row in rows] == [f"| {name}" for name in NAMES]
    assert "| ours: photo, 8 | gateway 2.00 | 2.00 | 100 | 9 | 7 |" in rows
    assert set(NAMES) <= {element.text for element in plot.iter("{http://www.w3.org/2000/svg}text")}


def test_the_part_of_a_document_is_replaced(tmp_path):
    document = tmp_path / "benchmarks.md"
    document.write_text("head\n<!-- begin bench -->\nold\n<!-- end bench -->\ntail\n", encoding="utf-8")

    report.write(tmp_path, "bench", ["one", "two"], ROUNDS, document)

    text = document.read_text(encoding="utf-8")
    assert text == "head\n<!-- begin bench -->\n\none\n\ntwo\n\n<!-- end bench -->\ntail\n"
    assert (tmp_path / "results.md").read_text(encoding="utf-8") == "one\n\ntwo\n"
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert results[2][1]["cpu_s"] == {"gateway": 0.9}


def test_a_document_without_the_part_is_refused():
    with pytest.raises(ValueError, match="<!-- begin checkouts -->"):
        report.replace_block("<!-- begin bench --><!-- end bench -->", "checkouts", "tables")
