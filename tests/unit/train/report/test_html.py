"""Pieces of a page."""

import pytest

from train.report.html import bar, cell, number, percent, table


@pytest.mark.parametrize(("ratio", "written"), [(0.12345, "12.35 %"), (1.0, "100.00 %"), (None, "-")])
def test_ratios_in_hundredths(ratio: float | None, written: str):
    assert percent(ratio) == written


def test_ratios_as_they_are():
    assert (number(0.5), number(None), percent(0.5, 0)) == ("0.500", "-", "50 %")


def test_a_bar_is_as_long_as_its_ratio_and_nothing_has_none():
    assert bar(0.25) == '<td class="bar" style="--share:25.0%">0.250</td>'
    assert bar(None) == cell("-")


def test_a_table_has_a_row_for_each():
    made = table(["a", "b"], [[cell("1"), bar(1.0)], [cell("2"), bar(0.0)]])
    assert made.count("<tr>") == 3
    assert made.count("<td") == 4
