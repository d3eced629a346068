"""Plots of the metrics of each epoch, from the CSV log of a run."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from train.report.plots import Axis, Line, chart

Rows = Sequence[Mapping[str, str]]


def read_log(log: Path) -> Rows:
    """Return the rows of a log, one for each epoch; none if the file does not exist."""
    if not log.exists():
        return []
    with log.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def epoch_line(rows: Rows, column: str, name: str, style: str) -> Line:
    """Return the line of a column of the log, of which each row has a value."""
    return Line(name, [(epoch, float(row[column])) for epoch, row in enumerate(rows, start=1)], style, dots=True)


def learning_curve(metric: str, lines: Sequence[Line]) -> str:
    """Draw lines of a metric, `loss` or a ratio, over the epochs."""
    values = [value for line in lines for _, value in line.points]
    low, high = (0.0, max(values)) if metric == "loss" else (min(values), 1.0)
    y = Axis(metric, low, high if high > low else low + 1.0, percent=metric != "loss")
    return chart(metric, Axis("epoch", 0, max(len(line.points) for line in lines), percent=False), y, lines)
