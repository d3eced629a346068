"""Pages and tables of likely label errors and of images to label next."""

import csv
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from train.config.training_config import TrainingConfig
from train.curation.features import Features
from train.curation.label_errors import LabelError
from train.data.examples import Example
from train.report.contact_sheet import contact_sheet, tile_corner
from train.report.html import note, percent, section
from train.report.page import render_page

PAGE = "index.html"
TABLE = "images.csv"
SEPARATOR = ";"
MAX_PICTURES = 200
"""Number of images on a page; the table lists all."""


def write_label_errors(
    folder: Path, config: TrainingConfig, examples: Sequence[Example], errors: Sequence[LabelError]
) -> None:
    """Write a page and a CSV of likely label errors.

    Args:
        folder: Folder of both; created if missing.
        config: Configuration of the run.
        examples: All images.
        errors: The likely errors, in the order in which they are listed.

    Raises:
        OSError: A file cannot be written.
    """
    rows = [
        [
            examples[error.index].name,
            _join(config, examples[error.index].classes),
            _join(config, error.suggested),
            _format_probability(error, examples[error.index].classes),
            _format_probability(error, error.suggested),
        ]
        for error in errors
    ]
    header = ["file", "given", "suggested", "probability_of_given", "probability_of_suggested"]
    captions = [
        f"is <b>{html.escape(given or 'none')}</b>, like <b>{html.escape(suggested or 'none')}</b>"
        f" {probability}<br>{html.escape(name)}"
        for name, given, suggested, _, probability in rows
    ]
    explanation = (
        f"{len(errors)} of {len(examples):,} images look like images of other classes, the most certain ones first. Not"
        " each of them is an error: rare kinds of images of a class are listed as well."
    )
    _write(folder, config, "likely label errors", explanation, captions, [examples[error.index] for error in errors])
    _write_table(folder / TABLE, header, rows)


def write_suggestions(
    folder: Path, config: TrainingConfig, examples: Sequence[Example], features: Features, chosen: Sequence[int]
) -> None:
    """Write a page and a CSV of the images to label next.

    Args:
        folder: Folder of both; created if missing.
        config: Configuration of the run.
        examples: The unlabelled images.
        features: What the network computes for them.
        chosen: Positions of the images to label, in the order in which they are listed.

    Raises:
        OSError: A file cannot be written.
    """
    likely = np.argsort(-features.probabilities, axis=1, kind="stable")[:, :2]
    rows, captions = [], []
    for index in chosen:
        ranked = [(config.labels[number], float(features.probabilities[index, number])) for number in likely[index]]
        rows.append([examples[index].name, *(value for label, each in ranked for value in (label, f"{each:.4f}"))])
        described = ", ".join(f"<b>{html.escape(label)}</b> {percent(each, 1)}" for label, each in ranked)
        captions.append(f"{described}<br>{html.escape(examples[index].name)}")
    explanation = (
        f"{len(chosen)} of {len(examples):,} images. The network is unsure about them, and they differ from each other."
    )
    _write(folder, config, "images to label", explanation, captions, [examples[index] for index in chosen])
    _write_table(folder / TABLE, ["file", "likely", "probability", "next", "probability_of_next"], rows)


def _write(  # noqa: PLR0913, PLR0917  # the parts of a page
    folder: Path,
    config: TrainingConfig,
    kind: str,
    explanation: str,
    captions: Sequence[str],
    examples: Sequence[Example],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shown = examples[:MAX_PICTURES]
    sheet = b""
    if shown:
        sheet = cv2.imencode(".png", cv2.cvtColor(contact_sheet(shown), cv2.COLOR_RGB2BGR))[1].tobytes()
    if len(examples) > MAX_PICTURES:
        explanation += f" {TABLE} lists all of them, this page {MAX_PICTURES}."
    gallery = section("Images", note(html.escape(explanation)) + _gallery(captions[:MAX_PICTURES]))
    made = f"Model {config.name}, {config.model.kind}; data: {config.data.title} (licence: {config.data.licence})."
    page = render_page(config.title, kind, config.description, made, sections=[gallery], sheet=sheet)
    (folder / PAGE).write_text(page, encoding="utf-8")


def _gallery(captions: Sequence[str]) -> str:
    figures = []
    for position, caption in enumerate(captions):
        top, left = tile_corner(position)
        tile = f'<div class="tile" style="background-position:-{left}px -{top}px"></div>'
        figures.append(f"<figure>{tile}<figcaption>{position + 1}. {caption}</figcaption></figure>")
    return f'<div class="mistakes">{"".join(figures)}</div>'


def _write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def _join(config: TrainingConfig, classes: Sequence[int]) -> str:
    return SEPARATOR.join(config.labels[number] for number in classes)


def _format_probability(error: LabelError, classes: Sequence[int]) -> str:
    return SEPARATOR.join(f"{error.probabilities[number]:.4f}" for number in classes)
