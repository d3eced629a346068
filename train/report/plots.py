"""Plots as SVG, to stand inside a page: colours and fonts are the page's, by the classes named here."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 420, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 24, 30, 44
"""Margins around the plotting area, for axes."""
CELL = 34
MOST_CLASSES = 30
"""A confusion matrix of more cannot be read."""

Points: TypeAlias = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Axis:
    """What one direction of a plot means.

    Attributes:
        title: What is measured.
        low: Value at the left or bottom.
        high: Value at the right or top, above `low`.
        percent: Whether 1 is written as 100 %.
    """

    title: str
    low: float = 0.0
    high: float = 1.0
    percent: bool = True

    def place(self, value: float) -> float:
        """Tell where a value lies, 0 at `low` and 1 at `high`; outside is brought to the edge."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def ticks(self) -> list[tuple[float, str]]:
        """Return round values from low to high, five to ten of them, and how each is written."""
        step = _round_step((self.high - self.low) / 5)
        first = int(np.ceil(self.low / step - 1e-9))
        last = int(np.floor(self.high / step + 1e-9))
        return [(number * step, self.written(number * step)) for number in range(first, last + 1)]

    def written(self, value: float) -> str:
        """Write a value."""
        return f"{100 * value:.4g} %" if self.percent else f"{value:.4g}"


@dataclass(frozen=True, slots=True)
class Line:
    """Points joined by a line.

    Attributes:
        name: For the legend.
        points: In the order in which they are joined; at least one.
        style: Class of the page's style sheet: `one`, `two` or `faint`.
        dots: Whether each point is marked, with its values to be read under the pointer.
    """

    name: str
    points: Points
    style: str = "one"
    dots: bool = False


def chart(title: str, x: Axis, y: Axis, lines: Sequence[Line], marks: Points = ()) -> str:
    """Draw lines over two axes.

    Args:
        title: For those who do not see it.
        x: The axis to the right.
        y: The axis upwards.
        lines: Drawn in this order.
        marks: Points to stand out.
    """
    parts = [*_grid(x, y)]
    for line in lines:
        places = [_place(x, y, point) for point in line.points]
        joined = " ".join(f"{across:.1f},{down:.1f}" for across, down in places)
        parts.append(f'<polyline class="line {line.style}" points="{joined}"/>')
        if line.dots:
            parts += [_dot(line, x, y, point) for point in line.points]
    parts += [_circle(_place(x, y, mark), 5, "mark", "") for mark in marks]
    parts += _legend(lines)
    return _svg(WIDTH, HEIGHT, title, parts)


def confusion_matrix(confusion: npt.NDArray[np.int64], labels: Sequence[str]) -> str:
    """Draw how images of each class (rows) were answered (columns), each row coloured by its shares.

    Args:
        confusion: int64[K, K], K at most `MOST_CLASSES`.
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
        turned = f'transform="translate({middle},{margin - 8}) rotate(-60)"'
        parts.append(f'<text class="label" {turned}>{name}</text>')
        parts += [_cell(margin, row, column, confusion, shares, labels) for column in range(len(labels))]
    return _svg(margin + size + CELL, margin + size, "Confusion matrix", parts)


def _cell(  # noqa: PLR0913, PLR0917  # a place, and what is to be shown there
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
    told = f"{labels[row]} answered as {labels[column]}: {count} ({share:.1%})"
    shade = share**0.5  # errors are few: their square root can be told apart
    box = f'<rect class="cell {kind}" x="{x}" y="{y}" width="{CELL - 2}" height="{CELL - 2}"'
    number = f'<text class="count" x="{x + CELL / 2 - 1}" y="{y + CELL / 2}">{count or ""}</text>'
    return f'<g>{box} fill-opacity="{shade:.3f}"/>{number}<title>{html.escape(told)}</title></g>'


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    opening = f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img"'
    return f'{opening} aria-label="{html.escape(title)}">{"".join(parts)}</svg>'


def _place(x: Axis, y: Axis, point: tuple[float, float]) -> tuple[float, float]:
    across = LEFT + x.place(point[0]) * (WIDTH - LEFT - RIGHT)
    down = TOP + (1 - y.place(point[1])) * (HEIGHT - TOP - BOTTOM)
    return across, down


def _grid(x: Axis, y: Axis) -> list[str]:
    parts = []
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    for value, written in x.ticks():
        across = _place(x, y, (value, y.low))[0]
        parts.append(f'<path class="grid" d="M{across:.1f} {TOP}V{bottom}"/>')
        parts.append(f'<text class="tick" x="{across:.1f}" y="{bottom + 14}">{written}</text>')
    for value, written in y.ticks():
        down = _place(x, y, (x.low, value))[1]
        parts.append(f'<path class="grid" d="M{LEFT} {down:.1f}H{right}"/>')
        parts.append(f'<text class="tick end" x="{LEFT - 6}" y="{down:.1f}">{written}</text>')
    middle = (TOP + bottom) / 2
    parts.append(f'<text class="axis" x="{(LEFT + right) / 2}" y="{HEIGHT - 8}">{html.escape(x.title)}</text>')
    turned = f'transform="translate(10,{middle}) rotate(-90)"'
    parts.append(f'<text class="axis" {turned}>{html.escape(y.title)}</text>')
    return parts


def _dot(line: Line, x: Axis, y: Axis, point: tuple[float, float]) -> str:
    told = f"{line.name}: {x.written(point[0])}, {y.written(point[1])}"
    return _circle(_place(x, y, point), 3, f"dot {line.style}", told)


def _circle(place: tuple[float, float], radius: int, style: str, told: str) -> str:
    title = f"<title>{html.escape(told)}</title>" if told else ""
    return f'<circle class="{style}" cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="{radius}">{title}</circle>'


def _legend(lines: Sequence[Line]) -> list[str]:
    named = [line for line in lines if line.name]
    step = (WIDTH - LEFT) / max(len(named), 1)
    parts = []
    for index, line in enumerate(named):
        x, y = LEFT + step * index, TOP - 16
        parts.append(f'<path class="line {line.style}" d="M{x:.1f} {y}h18"/>')
        parts.append(f'<text x="{x + 24:.1f}" y="{y}">{html.escape(line.name)}</text>')
    return parts


def _round_step(least: float) -> float:
    """Return the smallest of 1, 2 and 5, times a power of ten, that is at least `least`."""
    power = 10.0 ** np.floor(np.log10(least))
    return float(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9)))
