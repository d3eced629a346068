"""Draw plots as SVG for a page, whose style sheet sets colours and fonts for the classes used here."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 420, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 24, 30, 44
"""Margins around the plotting area, for the axes."""
CELL = 34
MAX_CONFUSION_CLASSES = 30
"""A larger confusion matrix is illegible."""

Points: TypeAlias = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a plot.

    Attributes:
        title: Name of the quantity.
        low: Value at the left or bottom.
        high: Value at the right or top, above `low`.
        percent: Whether values are ratios, formatted as percentages.
    """

    title: str
    low: float = 0.0
    high: float = 1.0
    percent: bool = True

    def scale(self, value: float) -> float:
        """Return the position of a value, 0 at `low` and 1 at `high`; values outside are clipped."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def ticks(self) -> list[tuple[float, str]]:
        """Return five to ten round values from low to high, each with its label."""
        step = _round_step((self.high - self.low) / 5)
        first = int(np.ceil(self.low / step - 1e-9))
        last = int(np.floor(self.high / step + 1e-9))
        return [(number * step, self.format(number * step)) for number in range(first, last + 1)]

    def format(self, value: float) -> str:
        """Format a value of the axis."""
        return f"{100 * value:.4g} %" if self.percent else f"{value:.4g}"


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points.

    Attributes:
        name: Name in the legend; lines without a name are omitted there.
        points: At least one, in the order of the line.
        style: Class in the page's style sheet: `one`, `two` or `faint`.
        dots: Whether each point is marked, with its values as a tooltip.
    """

    name: str
    points: Points
    style: str = "one"
    dots: bool = False


def chart(title: str, x: Axis, y: Axis, lines: Sequence[Line], marks: Points = ()) -> str:
    """Draw lines over two axes.

    Args:
        title: Text for screen readers.
        x: The horizontal axis.
        y: The vertical axis.
        lines: Drawn in this order.
        marks: Points to highlight.
    """
    parts = [*_grid(x, y)]
    for line in lines:
        positions = [_position(x, y, point) for point in line.points]
        points = " ".join(f"{left:.1f},{top:.1f}" for left, top in positions)
        parts.append(f'<polyline class="line {line.style}" points="{points}"/>')
        if line.dots:
            parts += [_dot(line, x, y, point) for point in line.points]
    parts += [_circle(_position(x, y, mark), 5, "mark", "") for mark in marks]
    parts += _legend(lines)
    return _svg(WIDTH, HEIGHT, title, parts)


def confusion_matrix(confusion: npt.NDArray[np.int64], labels: Sequence[str]) -> str:
    """Draw how images of each class (rows) were classified (columns), shaded by the share of the row.

    Args:
        confusion: int64[K, K], K at most `MAX_CONFUSION_CLASSES`.
        labels: K labels.
    """
    margin = 24 + 7 * max(len(label) for label in labels)
    size = CELL * len(labels)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    parts = []
    for row, label in enumerate(labels):
        middle = margin + CELL * (row + 0.5)
        name = html.escape(label)
        parts.append(f'<text class="label end" x="{margin - 8}" y="{middle}">{name}</text>')
        rotation = f'transform="translate({middle},{margin - 8}) rotate(-60)"'
        parts.append(f'<text class="label" {rotation}>{name}</text>')
        parts += [_cell(margin, row, column, confusion, shares, labels) for column in range(len(labels))]
    return _svg(margin + size + CELL, margin + size, "Confusion matrix", parts)


def _cell(  # noqa: PLR0913, PLR0917  # a position, and the data of the matrix
    margin: int,
    row: int,
    column: int,
    confusion: npt.NDArray[np.int64],
    shares: npt.NDArray[np.float64],
    labels: Sequence[str],
) -> str:
    count, share = int(confusion[row, column]), float(shares[row, column])
    kind = "right" if row == column else "wrong"
    x, y = margin + CELL * column, margin + CELL * row
    tooltip = f"{labels[row]} classified as {labels[column]}: {count} ({share:.1%})"
    shade = share**0.5  # errors are rare; the square root keeps small shares distinguishable
    box = f'<rect class="cell {kind}" x="{x}" y="{y}" width="{CELL - 2}" height="{CELL - 2}"'
    number = f'<text class="count" x="{x + CELL / 2 - 1}" y="{y + CELL / 2}">{count or ""}</text>'
    return f'<g>{box} fill-opacity="{shade:.3f}"/>{number}<title>{html.escape(tooltip)}</title></g>'


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    opening = f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img"'
    return f'{opening} aria-label="{html.escape(title)}">{"".join(parts)}</svg>'


def _position(x: Axis, y: Axis, point: tuple[float, float]) -> tuple[float, float]:
    """Return the distances of a point from the left and the top of the plot."""
    left = LEFT + x.scale(point[0]) * (WIDTH - LEFT - RIGHT)
    top = TOP + (1 - y.scale(point[1])) * (HEIGHT - TOP - BOTTOM)
    return left, top


def _grid(x: Axis, y: Axis) -> list[str]:
    parts = []
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    for value, label in x.ticks():
        left = _position(x, y, (value, y.low))[0]
        parts.append(f'<path class="grid" d="M{left:.1f} {TOP}V{bottom}"/>')
        parts.append(f'<text class="tick" x="{left:.1f}" y="{bottom + 14}">{label}</text>')
    for value, label in y.ticks():
        top = _position(x, y, (x.low, value))[1]
        parts.append(f'<path class="grid" d="M{LEFT} {top:.1f}H{right}"/>')
        parts.append(f'<text class="tick end" x="{LEFT - 6}" y="{top:.1f}">{label}</text>')
    middle = (TOP + bottom) / 2
    parts.append(f'<text class="axis" x="{(LEFT + right) / 2}" y="{HEIGHT - 8}">{html.escape(x.title)}</text>')
    rotation = f'transform="translate(10,{middle}) rotate(-90)"'
    parts.append(f'<text class="axis" {rotation}>{html.escape(y.title)}</text>')
    return parts


def _dot(line: Line, x: Axis, y: Axis, point: tuple[float, float]) -> str:
    tooltip = f"{line.name}: {x.format(point[0])}, {y.format(point[1])}"
    return _circle(_position(x, y, point), 3, f"dot {line.style}", tooltip)


def _circle(center: tuple[float, float], radius: int, style: str, tooltip: str) -> str:
    title = f"<title>{html.escape(tooltip)}</title>" if tooltip else ""
    return f'<circle class="{style}" cx="{center[0]:.1f}" cy="{center[1]:.1f}" r="{radius}">{title}</circle>'


def _legend(lines: Sequence[Line]) -> list[str]:
    entries = [line for line in lines if line.name]
    step = (WIDTH - LEFT) / max(len(entries), 1)
    parts = []
    for index, line in enumerate(entries):
        x, y = LEFT + step * index, TOP - 16
        parts.append(f'<path class="line {line.style}" d="M{x:.1f} {y}h18"/>')
        parts.append(f'<text x="{x + 24:.1f}" y="{y}">{html.escape(line.name)}</text>')
    return parts


def _round_step(minimum: float) -> float:
    """Return the smallest number of at least `minimum` that is 1, 2 or 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(minimum))
    return float(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= minimum * (1 - 1e-9)))
