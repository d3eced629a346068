"""The sections of a report; each function returns HTML, or nothing where it has nothing to show."""

import csv
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train.data.examples import TEST, Example
from train.evaluation.assessment import Assessment, answered
from train.evaluation.curves import Bin, interval, rank
from train.report.contact_sheet import Mistake, tile_corner
from train.report.html import bar, cell, figure, note, number, percent, plots, section, table, tile
from train.report.plots import MOST_CLASSES, Axis, Line, chart, confusion_matrix

SHOWN_CONFUSIONS = 10
SHOWN_CURVES = 12
DIAGONAL = Line("", [(0, 0), (1, 1)], "faint")

Values = Mapping[str, Any]
"""What `train.evaluation.assessment.summary` returns."""


def headline(assessment: Assessment, measured: Values) -> str:
    """Tell the figures that matter most."""
    low, high = interval(measured["accuracy"], measured["images"])
    likely = f"of {measured['images']:,} images; {percent(low)} to {percent(high)} with 95 % confidence"
    if assessment.test.thresholds is None:
        tiles = [tile(percent(measured["accuracy"]), "right", likely)]
        if "top_5_accuracy" in measured:
            tiles.append(tile(percent(measured["top_5_accuracy"]), "among the five likeliest"))
    else:
        tiles = [
            tile(percent(measured["binary_accuracy"]), "of all decisions right", "one per image and class"),
            tile(number(measured["micro_f1"]), "micro F1", "over all decisions"),
            tile(number(measured["macro_f1"]), "macro F1", "mean of the classes"),
            tile(percent(measured["accuracy"]), "of images wholly right", likely),
        ]
    before = f"{percent(measured['calibration_error_before'])} before dividing scores by {measured['temperature']:.3g}"
    tiles.append(tile(percent(measured["calibration_error"]), "calibration error", before))
    if "answered" in measured:
        told = measured["answered"]
        right = (
            f"at a probability of {measured['abstain_below']:.4g} or more; {percent(told['accuracy'])} of them right"
        )
        tiles.append(tile(percent(told["share"]), "sure enough to answer", right))
    return "".join(tiles)


def further_sets(measured: Values) -> str:
    """Compare the test images with the data set's further ones."""
    further = measured.get("further_tests")
    if not further:
        return ""
    names = [name for name in ("accuracy", "top_5_accuracy", "micro_f1", "calibration_error") if name in measured]
    rows = [
        [cell(html.escape(name)), cell(f"{values['images']:,}"), *(cell(percent(values[key])) for key in names)]
        for name, values in ((TEST, measured), *further.items())
    ]
    return section("Sets of test images", table(["set", "images", *(name.replace("_", " ") for name in names)], rows))


def training(log: Path) -> str:
    """Show how the run went, from its CSV of one line an epoch; it need not exist."""
    if not log.exists():
        return ""
    with log.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in ("loss", "accuracy") if rows and {name, f"val_{name}"} <= rows[0].keys()]
    return section("Training", plots(_learning(rows, name) for name in names)) if names else ""


def _learning(rows: Sequence[Values], name: str) -> str:
    lines = [
        Line(told, [(epoch, float(row[key])) for epoch, row in enumerate(rows, start=1)], style, dots=True)
        for told, key, style in (("training", name, "two"), ("validation", f"val_{name}", "one"))
    ]
    values = [value for line in lines for _, value in line.points]
    low, high = (0.0, max(values)) if name == "loss" else (min(values), 1.0)
    y = Axis(name, low, high if high > low else low + 1.0, percent=name != "loss")
    drawn = chart(name, Axis("epoch", 0, len(rows), percent=False), y, lines)
    return figure(
        drawn, f"{name.capitalize()}; what is learnt from may be augmented, validation images are as they are."
    )


def classes(assessment: Assessment, measured: Values) -> str:
    """Show each class by itself."""
    headings = ["class", "images", "precision", "recall", "F1", "average precision"]
    ratios = ("precision", "recall", "f1", "average_precision")
    rows = [
        [cell(html.escape(values["class"])), cell(f"{values['images']:,}"), *(bar(values[name]) for name in ratios)]
        for values in measured["per_class"]
    ]
    if assessment.calibration.thresholds is not None:
        headings.append("threshold")
        for row, threshold in zip(rows, assessment.calibration.thresholds, strict=True):
            row.append(cell(f"{threshold:.3f}"))
    told = note(
        "Precision: of the images said to be of a class, how many are. Recall: of those that are, how many were"
        " found. Average precision: over all thresholds that the class could have."
    )
    return section("Classes", told + table(headings, rows))


def confusions(assessment: Assessment) -> str:
    """Show which class is taken for which, where each image is of one."""
    if assessment.test.thresholds is not None:
        return ""
    labels, confusion = assessment.config.labels, assessment.test.confusion
    errors = confusion * (1 - np.eye(len(labels), dtype=np.int64))
    order = np.argsort(-errors, axis=None, kind="stable")[:SHOWN_CONFUSIONS]
    pairs = [divmod(int(place), len(labels)) for place in order]
    rows = [
        [cell(html.escape(labels[row])), cell(html.escape(labels[column])), cell(f"{errors[row, column]:,}")]
        for row, column in pairs
        if errors[row, column]
    ]
    frequent = table(["is", "said to be", "images"], rows) if rows else note("No answer was wrong.")
    shown = [frequent]
    if len(labels) <= MOST_CLASSES:
        caption = "Rows: what images are. Columns: what was answered. Shade: share of the row, as its square root."
        shown.insert(0, figure(confusion_matrix(confusion, labels), caption))
    return section("Confusions", plots(shown))


def calibration(assessment: Assessment) -> str:
    """Show what a probability is worth, and what it brings to leave unsure images unanswered."""
    heated = f"at temperature {assessment.calibration.temperature:.3g}"
    lines = [
        DIAGONAL,
        Line("as trained", _points(assessment.uncalibrated.reliability), "two", dots=True),
        Line(heated, _points(assessment.test.reliability), "one", dots=True),
    ]
    told = "Of answers given a probability of 80 %, 80 % should be right: the dashed line. Test images, in 15 bins."
    shown = [figure(chart("Reliability", Axis("probability given"), Axis("fraction right"), lines), told)]
    if assessment.test.thresholds is None:
        shown.append(_coverage(assessment))
    return section("What probabilities are worth", plots(shown))


def _points(bins: Sequence[Bin]) -> list[tuple[float, float]]:
    return [(each.confidence, each.accuracy) for each in bins]


def _coverage(assessment: Assessment) -> str:
    test, limit = assessment.test, assessment.calibration.abstain_below
    ranking = rank(test.probabilities.max(axis=1), test.right)
    points = list(zip((ranking.passed / len(test.right)).tolist(), ranking.precision.tolist(), strict=True))
    caption, marks = "The surest answers alone are right more often.", []
    told = answered(assessment)
    if limit is not None and told["share"] is not None and told["accuracy"] is not None:
        marks = [(told["share"], told["accuracy"])]
        caption += (
            f" Dot: a threshold of {limit:.4g}, the lowest at which {percent(assessment.config.answered_accuracy, 1)}"
            " of the answers to validation images are right."
        )
    low = min(accuracy for _, accuracy in points)
    y = Axis("of these right", low if low < 1 else 0.0)
    return figure(chart("Coverage", Axis("images answered"), y, [Line("", points)], marks), caption)


def thresholds(assessment: Assessment) -> str:
    """Show what other thresholds would give, where an image may be of several classes."""
    limits = assessment.test.thresholds
    if limits is None:
        return ""
    occurring = np.flatnonzero(assessment.test.targets.any(axis=0))[:SHOWN_CURVES]
    shown = [_precision_and_recall(assessment, int(k), float(limits[k])) for k in occurring]
    return section("Precision and recall at every threshold", plots(shown))


def _precision_and_recall(assessment: Assessment, k: int, limit: float) -> str:
    label = assessment.config.labels[k]
    right = assessment.test.targets[:, k]
    ranking = rank(assessment.test.probabilities[:, k], right)
    points = list(zip((ranking.right / right.sum()).tolist(), ranking.precision.tolist(), strict=True))
    passed = np.flatnonzero(ranking.thresholds >= limit)
    marks = [points[int(passed[-1])]] if len(passed) else []
    drawn = chart(label, Axis("recall"), Axis("precision"), [Line("", points)], marks)
    return figure(drawn, f"{html.escape(label)}; dot: its threshold, {limit:.3f}")


def mistakes(assessment: Assessment, examples: Sequence[Example], worst: Sequence[Mistake]) -> str:
    """Show the worst mistakes, as cuttings from their contact sheet."""
    if not worst:
        return ""
    tiles = []
    for place, mistake in enumerate(worst):
        top, left = tile_corner(place)
        name = html.escape(examples[mistake.index].name)
        tiles.append(
            f'<figure><div class="tile" style="background-position:-{left}px -{top}px"></div>'
            f"<figcaption>{place + 1}. {_said(assessment, mistake)}<br>{name}</figcaption></figure>"
        )
    wrong = int((~assessment.test.right).sum())
    told = note(f"{len(worst)} of {wrong:,} wrong answers, those first of which the model was surest.")
    return section("Worst mistakes", f'{told}<div class="mistakes">{"".join(tiles)}</div>')


def _said(assessment: Assessment, mistake: Mistake) -> str:
    chances, labels = assessment.test.probabilities[mistake.index], assessment.config.labels

    def listed(numbers: Sequence[int]) -> str:
        return ", ".join(f"<b>{html.escape(labels[k])}</b> {percent(float(chances[k]), 1)}" for k in numbers)

    parts = [f"said {listed(mistake.added)}"] if mistake.added else []
    parts += [f"is {listed(mistake.missed)}"] if mistake.missed else []
    return "; ".join(parts)
