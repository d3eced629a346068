"""Pieces of an HTML page."""

import pytest

from train.report.html import bar, cell, number, percent, table


@pytest.mark.parametrize(("ratio", "text"), [(0.12345, "12.35 %"), (1.0, "100.00 %"), (None, "-")])
def test_a_percentage_has_two_decimals(ratio: float | None, text: str):
    assert percent(ratio) == text


def test_a_percentage_without_decimals_has_no_point():
    assert percent(0.5, 0) == "50 %"


def test_a_number_has_three_decimals_and_none_is_a_dash():
    assert (number(0.5), number(None)) == ("0.500", "-")


def test_a_bar_is_as_long_as_its_ratio_and_absent_for_none():
    assert bar(0.25) == '<td class="bar" style="--share:25.0%">0.250</td>'
    assert bar(None) == cell("-")


def test_a_table_has_a_heading_row_and_all_rows():
    html = table(["a", "b"], [[cell("1"), bar(1.0)], [cell("2"), bar(0.0)]])

    assert html.count("<tr>") == 3
    assert html.count("<td") == 4
