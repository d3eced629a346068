"""Write the report of an evaluation: one HTML page that loads nothing from elsewhere, and a contact sheet."""

from collections.abc import Sequence
from pathlib import Path

import cv2

from train.data.examples import Example
from train.evaluation.assessment import Assessment, summarise
from train.report import sections
from train.report.contact_sheet import contact_sheet, worst_mistakes
from train.report.page import render_page
from train.report.sections import ExportedForms

PAGE = "index.html"
SHEET = "mistakes.png"


def write_report(
    folder: Path, assessment: Assessment, examples: Sequence[Example], log: Path, exported: ExportedForms | None = None
) -> None:
    """Write `PAGE`, and `SHEET` with the worst mistakes, which the page also contains; no `SHEET` if all is correct.

    Args:
        folder: Folder of the report; created if missing.
        assessment: Assessment to report.
        examples: The test images.
        log: CSV log of the run, one line per epoch; it may be missing.
        exported: The version that the assessed network was exported as, if it was; the assessment is then that of the
            served form.

    Raises:
        OSError: A file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    summary, config = summarise(assessment), assessment.config
    worst = worst_mistakes(assessment.test)
    sheet = _png([examples[mistake.index] for mistake in worst])
    (folder / SHEET).unlink(missing_ok=True)
    if sheet:
        (folder / SHEET).write_bytes(sheet)
    parts = [
        sections.warnings(summary),
        sections.further_sets(summary),
        sections.forms(exported),
        sections.classes(assessment, summary),
        sections.confusions(assessment),
        sections.thresholds(assessment),
        sections.calibration(assessment, summary, exported),
        sections.training(log),
        sections.mistakes(assessment, examples, worst),
    ]
    data = f"{config.data.title} (licence: {config.data.licence})"
    made = f"Model {config.name}, {config.model.kind}, trained on {data}."
    if exported:
        made += f" Measured as {exported.version} is served on processors, as {exported.served}."
    tiles = sections.headline(assessment, summary)
    page = render_page(config.title, "evaluation", config.description, made, sections=parts, tiles=tiles, sheet=sheet)
    (folder / PAGE).write_text(page, encoding="utf-8")


def _png(examples: Sequence[Example]) -> bytes:
    if not examples:
        return b""
    return cv2.imencode(".png", cv2.cvtColor(contact_sheet(examples), cv2.COLOR_RGB2BGR))[1].tobytes()
