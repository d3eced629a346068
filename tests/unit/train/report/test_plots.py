"""Plots are well-formed SVG, position values correctly, and escape labels."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from train.report.plots import HEIGHT, WIDTH, Axis, Line, chart, confusion_matrix

ODD = 'a<b & "c"'


def find_elements(svg: str, tag: str, style: str) -> list[ET.Element]:
    """The elements of a tag with a class."""
    root = ET.fromstring(svg)  # noqa: S314  # drawn by the project
    return [element for element in root.iter(tag) if style in element.get("class", "").split()]


@pytest.mark.parametrize(
    ("axis", "first", "last"),
    [
        (Axis("x"), "0 %", "100 %"),
        (Axis("x", 0.93, 1.0), "94 %", "100 %"),
        (Axis("x", 0, 12, percent=False), "0", "10"),
        (Axis("x", 0, 2.4, percent=False), "0", "2"),
        (Axis("x", 0, 0.003, percent=False), "0", "0.003"),
    ],
)
def test_an_axis_has_a_few_round_ticks(axis: Axis, first: str, last: str):
    labels = [label for _, label in axis.ticks()]

    assert (labels[0], labels[-1]) == (first, last)
    assert 3 <= len(labels) <= 8
    assert all(axis.low <= value + 1e-9 and value - 1e-9 <= axis.high for value, _ in axis.ticks())


def test_values_outside_an_axis_are_clipped():
    axis = Axis("x", 1.0, 3.0)

    assert [axis.scale(value) for value in (0, 1, 2, 3, 9)] == [0, 0, 0.5, 1, 1]


def test_a_line_goes_from_corner_to_corner_of_its_axes():
    svg = chart("t", Axis("x"), Axis("y"), [Line("all", [(0, 0), (1, 1)])])

    (line,) = find_elements(svg, "polyline", "line")
    (left, bottom), (right, top) = (map(float, point.split(",")) for point in line.attrib["points"].split())
    assert 0 < left < right < WIDTH
    assert 0 < top < bottom < HEIGHT


def test_dots_have_their_values_as_tooltips_and_marks_are_drawn():
    svg = chart("t", Axis("x"), Axis("y", 0, 2, percent=False), [Line(ODD, [(0.25, 1.5)], dots=True)], [(1, 1)])

    (dot,) = find_elements(svg, "circle", "dot")
    assert dot.findtext("title") == f"{ODD}: 25 %, 1.5"
    assert len(find_elements(svg, "circle", "mark")) == 1


def test_only_lines_with_a_name_are_in_the_legend():
    svg = chart("t", Axis("x"), Axis("y"), [Line("", [(0, 0)]), Line(ODD, [(0, 0)])])

    texts = [element.text for element in ET.fromstring(svg).iter("text")]  # noqa: S314  # drawn by the project
    assert texts.count(ODD) == 1


def test_a_confusion_matrix_has_a_cell_for_each_pair():
    svg = confusion_matrix(np.array([[9, 1], [0, 0]]), ("cat", ODD))

    root = ET.fromstring(svg)  # noqa: S314  # drawn by the project
    assert [element.findtext("title") for element in root.iter("g")] == [
        "cat classified as cat: 9 (90.0%)",
        f"cat classified as {ODD}: 1 (10.0%)",
        f"{ODD} classified as cat: 0 (0.0%)",
        f"{ODD} classified as {ODD}: 0 (0.0%)",
    ]
    shades = [float(cell.attrib["fill-opacity"]) for cell in find_elements(svg, "rect", "cell")]
    assert shades == pytest.approx([0.9**0.5, 0.1**0.5, 0, 0], abs=1e-3)
    assert [cell.get("class") for cell in find_elements(svg, "rect", "cell")] == [
        "cell right",
        "cell wrong",
        "cell wrong",
        "cell right",
    ]
