"""Build the sections of a report; each function returns HTML, or an empty string if it has nothing to show."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from train.data.examples import TEST, Example
from train.evaluation.assessment import Assessment, compute_coverage
from train.evaluation.curves import BINS, Bin, rank, wilson_interval
from train.export.precision import Form
from train.report.contact_sheet import Mistake, tile_corner
from train.report.html import bar, cell, figure, note, number, percent, plots, section, table, tile
from train.report.learning_curves import Rows, epoch_line, learning_curve, read_log
from train.report.plots import MAX_CONFUSION_CLASSES, Axis, Line, chart, confusion_matrix

MAX_CONFUSIONS = 10
MAX_CURVES = 12
FORM_NAMES: Mapping[Form, str] = {"saved_model": "SavedModel", "tflite": "TensorFlow Lite"}
DIAGONAL = Line("", [(0, 0), (1, 1)], "faint")

Summary = Mapping[str, Any]
"""The result of `train.evaluation.assessment.summarise`."""


def headline(assessment: Assessment, summary: Summary) -> str:
    """Show the most important metrics."""
    low, high = wilson_interval(summary["accuracy"], summary["images"])
    sample = f"of {summary['images']:,} images; {percent(low)} to {percent(high)} with 95 % confidence"
    if assessment.test.thresholds is None:
        tiles = [tile(percent(summary["accuracy"]), "correct", sample)]
        balance = f"mean recall of the classes; macro F1 {number(summary['macro_f1'])}"
        tiles.append(tile(percent(summary["balanced_accuracy"]), "balanced accuracy", balance))
        if "top_5_accuracy" in summary:
            tiles.append(tile(percent(summary["top_5_accuracy"]), "true class among the top five"))
    else:
        tiles = [
            tile(percent(summary["binary_accuracy"]), "of all decisions correct", "one per image and class"),
            tile(number(summary["micro_f1"]), "micro F1", "over all decisions"),
            tile(number(summary["macro_f1"]), "macro F1", "mean over the classes"),
            tile(percent(summary["accuracy"]), "of images with all classes correct", sample),
        ]
    before, temperature = percent(summary["calibration_error_before"]), summary["temperature"]
    before = (
        "as trained; no temperature gains in cross-validation"
        if temperature == 1
        else f"{before} before dividing the scores by {temperature:.3g}"
    )
    tiles.append(tile(percent(summary["calibration_error"]), "calibration error", before))
    if "answered" in summary:
        coverage = summary["answered"]
        details = (
            f"at a probability of {summary['abstain_below']:.4g} or more; {percent(coverage['accuracy'])} of them"
            " correct"
        )
        tiles.append(tile(percent(coverage["share"]), "confident enough to answer", details))
    return "".join(tiles)


@dataclass(frozen=True, slots=True)
class ExportedForms:
    """The forms of an exported version.

    Attributes:
        version: Folder of the version.
        metrics: The members `form` and `forms` of its card's metrics.
        sizes: Size of each form, in bytes.
    """

    version: Path
    metrics: Mapping[str, Any]
    sizes: Mapping[Form, int]

    @property
    def served(self) -> str:
        """Name of the form that is served on processors."""
        return FORM_NAMES[self.metrics["form"]]


def forms(exported: ExportedForms | None) -> str:
    """Compare the forms of the exported version, on the test images."""
    if exported is None:
        return ""
    rows = [
        [
            cell(FORM_NAMES[form]),
            cell(f"{exported.sizes[form] / 1e6:.1f} MB"),
            cell(f"{values['cpu_ms']:.2f} ms"),
            cell(percent(values["accuracy"])),
            cell(number(values["calibration_error"])),
            cell(percent(values.get("same_class"))),
            cell(number(values.get("largest_difference"))),
        ]
        for form, values in exported.metrics["forms"].items()
    ]
    headings = ["form", "size", "CPU time", "accuracy", "calibration error", "same class", "largest change"]
    explanation = note(
        "CPU time per image, one image a call. Same class: the share of the images that get the same classes as from"
        " the SavedModel. Largest change: of a probability from the SavedModel's."
    )
    return section("Exported forms", explanation + table(headings, rows))


def warnings(summary: Summary) -> str:
    """Show what to keep in mind about the metrics."""
    items = "".join(f"<li>{html.escape(warning)}</li>" for warning in summary.get("warnings", ()))
    return section("Warnings", f'<ul class="panel warnings">{items}</ul>') if items else ""


def further_sets(summary: Summary) -> str:
    """Compare the data set's own test images with its further test sets."""
    further = summary.get("further_tests")
    if not further:
        return ""
    names = [
        name for name in ("accuracy", "top_5_accuracy", "micro_f1", "macro_f1", "calibration_error") if name in summary
    ]
    rows = [
        [cell(html.escape(name)), cell(f"{values['images']:,}"), *(cell(percent(values[key])) for key in names)]
        for name, values in ((TEST, summary), *further.items())
    ]
    return section("Test sets", table(["set", "images", *(name.replace("_", " ") for name in names)], rows))


def training(log: Path) -> str:
    """Show the metrics of each epoch from the run's CSV log, if it exists."""
    rows = read_log(log)
    names = [name for name in ("loss", "accuracy") if rows and {name, f"val_{name}"} <= rows[0].keys()]
    return section("Training", plots(_learning_curve(rows, name) for name in names)) if names else ""


def _learning_curve(rows: Rows, name: str) -> str:
    lines = [epoch_line(rows, name, "training", "two"), epoch_line(rows, f"val_{name}", "validation", "one")]
    caption = f"{name.capitalize()}. Training images may be augmented, validation images are not."
    return figure(learning_curve(name, lines), caption)


def classes(assessment: Assessment, summary: Summary) -> str:
    """Show the metrics of each class."""
    headings = ["class", "images", "precision", "recall", "F1", "average precision"]
    ratios = ("precision", "recall", "f1", "average_precision")
    rows = [
        [cell(html.escape(values["class"])), cell(f"{values['images']:,}"), *(bar(values[name]) for name in ratios)]
        for values in summary["per_class"]
    ]
    if assessment.calibration.thresholds is not None:
        headings.append("threshold")
        for row, threshold in zip(rows, assessment.calibration.thresholds, strict=True):
            row.append(cell(f"{threshold:.3f}"))
    explanation = note(
        "Precision: the fraction of images classified as the class that belong to it. Recall: the fraction of images of"
        " the class that are classified as it. Average precision: over all thresholds of the class."
    )
    return section("Classes", explanation + table(headings, rows))


def confusions(assessment: Assessment) -> str:
    """Show which classes are confused, for multiclass models."""
    if assessment.test.thresholds is not None:
        return ""
    labels, confusion = assessment.config.labels, assessment.test.confusion
    errors = confusion * (1 - np.eye(len(labels), dtype=np.int64))
    order = np.argsort(-errors, axis=None, kind="stable")[:MAX_CONFUSIONS]
    pairs = [divmod(int(index), len(labels)) for index in order]
    rows = [
        [cell(html.escape(labels[row])), cell(html.escape(labels[column])), cell(f"{errors[row, column]:,}")]
        for row, column in pairs
        if errors[row, column]
    ]
    frequent = table(["true class", "classified as", "images"], rows) if rows else note("No image was misclassified.")
    parts = [frequent]
    if len(labels) <= MAX_CONFUSION_CLASSES:
        caption = "Rows: true classes. Columns: predicted classes. Shade: square root of the share of the row."
        parts.insert(0, figure(confusion_matrix(confusion, labels), caption))
    return section("Confusions", plots(parts))


def calibration(assessment: Assessment, summary: Summary, exported: ExportedForms | None) -> str:
    """Show how well probabilities match accuracy and, for multiclass models, the effect of abstaining."""
    temperature = assessment.calibration.temperature
    label = "as trained" if temperature == 1 else f"at temperature {temperature:.3g}"
    lines = [DIAGONAL, Line(label, _points(assessment.test.reliability), "one", dots=True)]
    if temperature != 1:
        lines.insert(1, Line("as trained", _points(assessment.uncalibrated.reliability), "two", dots=True))
    caption = f"Dashed: of predictions at 80 % probability, 80 % are correct. Test images, in {BINS} bins."
    parts = [figure(chart("Reliability", Axis("probability"), Axis("fraction correct"), lines), caption)]
    if assessment.test.thresholds is None:
        parts.append(_coverage(assessment))
    return section("Calibration", _calibration_effect(summary, exported) + plots(parts))


def _calibration_effect(summary: Summary, exported: ExportedForms | None) -> str:
    headings = ["images", "number", "calibration error", "as trained", "log loss", "as trained"]
    forms = ("", "") if exported is None else (" by the trained network", f" by {exported.served}")
    sets = [(f"{TEST}{forms[1]}", summary, "")]
    if "validation" in summary:
        sets.insert(0, (f"validation, cross-validated{forms[0]}", summary["validation"], "_after"))
    rows = [
        [
            cell(name),
            cell(f"{values['images']:,}"),
            *(
                cell(number(values[f"{metric}{suffix}"]))
                for metric in ("calibration_error", "log_loss")
                for suffix in (after, "_before")
            ),
        ]
        for name, values, after in sets
    ]
    return table(headings, rows)


def _points(bins: Sequence[Bin]) -> list[tuple[float, float]]:
    return [(item.confidence, item.accuracy) for item in bins]


def _coverage(assessment: Assessment) -> str:
    test, threshold = assessment.test, assessment.calibration.abstain_below
    ranking = rank(test.probabilities.max(axis=1), test.correct)
    points = list(zip((ranking.passed / len(test.correct)).tolist(), ranking.precision.tolist(), strict=True))
    caption, marks = "Accuracy if only the most confident predictions are used.", []
    coverage = None if threshold is None else compute_coverage(test, threshold)
    if coverage and coverage["share"] is not None and coverage["accuracy"] is not None:
        marks = [(coverage["share"], coverage["accuracy"])]
        caption += (
            f" Dot: a threshold of {threshold:.4g}, the lowest at which"
            f" {percent(assessment.config.answered_accuracy, 1)} of the predictions for validation images are correct."
        )
    low = min(accuracy for _, accuracy in points)
    y = Axis("accuracy on these", low if low < 1 else 0.0)
    return figure(chart("Coverage", Axis("share of images"), y, [Line("", points)], marks), caption)


def thresholds(assessment: Assessment) -> str:
    """Show precision and recall at all thresholds, for multi-label models."""
    limits = assessment.test.thresholds
    if limits is None:
        return ""
    present = np.flatnonzero(assessment.test.targets.any(axis=0))[:MAX_CURVES]
    parts = [_precision_and_recall(assessment, int(k), float(limits[k])) for k in present]
    return section("Precision and recall at every threshold", plots(parts))


def _precision_and_recall(assessment: Assessment, k: int, threshold: float) -> str:
    label = assessment.config.labels[k]
    targets = assessment.test.targets[:, k]
    ranking = rank(assessment.test.probabilities[:, k], targets)
    points = list(zip((ranking.correct / targets.sum()).tolist(), ranking.precision.tolist(), strict=True))
    indices = np.flatnonzero(ranking.thresholds >= threshold)
    marks = [points[int(indices[-1])]] if len(indices) else []
    plot = chart(label, Axis("recall"), Axis("precision"), [Line("", points)], marks)
    return figure(plot, f"{html.escape(label)}. Dot: its threshold, {threshold:.3f}")


def mistakes(assessment: Assessment, examples: Sequence[Example], worst: Sequence[Mistake]) -> str:
    """Show the worst mistakes, each as a section of the contact sheet."""
    if not worst:
        return ""
    tiles = []
    for position, mistake in enumerate(worst):
        top, left = tile_corner(position)
        name = html.escape(examples[mistake.index].name)
        tiles.append(
            f'<figure><div class="tile" style="background-position:-{left}px -{top}px"></div>'
            f"<figcaption>{position + 1}. {_describe(assessment, mistake)}<br>{name}</figcaption></figure>"
        )
    wrong = int((~assessment.test.correct).sum())
    explanation = note(f"{len(worst)} of {wrong:,} misclassified images, the most confident mistakes first.")
    return section("Worst mistakes", f'{explanation}<div class="mistakes">{"".join(tiles)}</div>')


def _describe(assessment: Assessment, mistake: Mistake) -> str:
    probabilities, labels = assessment.test.probabilities[mistake.index], assessment.config.labels

    def format_classes(class_ids: Sequence[int]) -> str:
        return ", ".join(
            f"<b>{html.escape(labels[class_id])}</b> {percent(float(probabilities[class_id]), 1)}"
            for class_id in class_ids
        )

    parts = [f"predicted {format_classes(mistake.false_positives)}"] if mistake.false_positives else []
    parts += [f"is {format_classes(mistake.false_negatives)}"] if mistake.false_negatives else []
    return "; ".join(parts)
