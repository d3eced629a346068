"""The HTML page that compares two runs: their figures, what differs in their configurations, and their curves."""

import html
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from train.config.training_config import TrainingConfig
from train.evaluation.comparison import Comparison, Difference
from train.report.html import cell, figure, note, plots, section, table
from train.report.learning_curves import Rows, epoch_line, learning_curve
from train.report.page import render_page

METRICS = {
    "images": "images",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "micro_f1": "micro F1",
    "macro_f1": "macro F1",
    "log_loss": "log loss",
    "calibration_error": "calibration error",
    "temperature": "temperature",
}
"""Members of a summary, with their names in the table."""
CURVES = (("loss", "val_loss"), ("accuracy", "val_accuracy"), ("loss", "loss"), ("accuracy", "accuracy"))
"""The metric of each plot, and its column in the log."""


@dataclass(frozen=True, slots=True)
class EvaluatedRun:
    """One of the runs that are compared.

    Attributes:
        name: What the user calls it.
        config: Its configuration.
        summary: Its `evaluation.json`.
        log: The rows of its log.
    """

    name: str
    config: TrainingConfig
    summary: Mapping[str, Any]
    log: Rows


class Row(NamedTuple):
    """One row of a table.

    Attributes:
        name: What is compared.
        first: Value of the first run.
        second: Value of the second run.
        verdict: What their difference says.
    """

    name: str
    first: str
    second: str
    verdict: str = ""


def metric_rows(first: EvaluatedRun, second: EvaluatedRun, comparison: Comparison | None) -> list[Row]:
    """Return the metrics of both runs on their own test images, then those on the images that both have."""
    rows = [
        Row(name, _format_metric(first.summary, key), _format_metric(second.summary, key))
        for key, name in METRICS.items()
        if any(key in run.summary for run in (first, second))
    ]
    if comparison is None:
        return [*rows, Row("images in both", "0", "0", "no test image is in both, so they cannot be compared")]
    count = f"{comparison.images} images in both"
    names = (first.name, second.name)
    return [
        *rows,
        _difference_row(f"accuracy of {count}", comparison.accuracy, names),
        _difference_row(f"log loss of {count}", comparison.log_loss, names),
    ]


def configuration_rows(first: EvaluatedRun, second: EvaluatedRun) -> list[Row]:
    """Return the keys in which the configurations differ."""
    before, after = (dict(_flatten(run.config.model_dump(mode="json"))) for run in (first, second))
    rows = (Row(key, _show(before.get(key)), _show(after.get(key))) for key in sorted(before.keys() | after.keys()))
    return [row for row in rows if row.first != row.second]


def render_comparison(first: EvaluatedRun, second: EvaluatedRun, comparison: Comparison | None) -> str:
    """Return the page."""
    configuration = configuration_rows(first, second)
    explanation = note(
        "± is the standard error of the difference on the same images. Accuracy is judged by McNemar's exact test, the"
        " log loss by its mean difference; at p = 0.05 or more, no difference can be shown."
    )
    columns = {column for run in (first, second) for row in run.log for column in row}
    sections = [
        section("Metrics", explanation + _table(metric_rows(first, second, comparison), first, second)),
        section("Configuration", _table(configuration, first, second) if configuration else note("No difference.")),
        section("Training", plots(_curve(*curve, first, second) for curve in CURVES if curve[1] in columns)),
    ]
    return render_page(
        f"{first.name} and {second.name}",
        "comparison",
        "Two training runs, compared.",
        "The figures are those of evaluation.json and predictions.csv in each run.",
        sections=filter(None, sections),
    )


def _curve(metric: str, column: str, first: EvaluatedRun, second: EvaluatedRun) -> str:
    lines = [
        epoch_line(rows, column, run.name, style)
        for run, style in ((first, "one"), (second, "two"))
        if (rows := [row for row in run.log if row.get(column)])
    ]
    part = "Validation images" if column.startswith("val_") else "Training images"
    return figure(learning_curve(metric, lines), f"{metric.capitalize()}. {part}.")


def _table(rows: Sequence[Row], first: EvaluatedRun, second: EvaluatedRun) -> str:
    headings = ["", html.escape(first.name), html.escape(second.name), ""]
    return table(headings, ([cell(html.escape(text)) for text in row] for row in rows))


def _difference_row(name: str, difference: Difference, runs: tuple[str, str]) -> Row:
    verdict = f"{runs[difference.better - 1]} is better" if difference.better else "no difference can be shown"
    change = f"{difference.second - difference.first:+.4f} ± {difference.standard_error:.4f}"
    judgement = f"{change}: {verdict} (p = {difference.p_value:.2g})"
    return Row(name, _format(difference.first), _format(difference.second), judgement)


def _format_metric(summary: Mapping[str, Any], key: str) -> str:
    """Format a metric, an accuracy with its standard error."""
    text, value = _format(summary.get(key)), summary.get(key)
    return f"{text} ± {math.sqrt(value * (1 - value) / summary['images']):.4f}" if key == "accuracy" and value else text


def _flatten(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, member in value.items():
            yield from _flatten(member, f"{key}.{name}" if key else name)
    else:
        yield key, value


def _show(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _format(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
