"""Write the report of an evaluation: one HTML page that loads nothing from elsewhere, and a contact sheet."""

import base64
import html
import string
from collections.abc import Sequence
from pathlib import Path

import cv2

from train.data.examples import Example
from train.evaluation.assessment import Assessment, summarise
from train.report import sections
from train.report.contact_sheet import TILE, contact_sheet, worst_mistakes

PAGE = "index.html"
SHEET = "mistakes.png"
TEMPLATE = Path(__file__).with_name("report.html")


def write_report(folder: Path, assessment: Assessment, examples: Sequence[Example], log: Path) -> None:
    """Write `PAGE`, and `SHEET` with the worst mistakes, which the page also contains; no `SHEET` if all is correct.

    Args:
        folder: Folder of the report; created if missing.
        assessment: Assessment to report.
        examples: The test images.
        log: CSV log of the run, one line per epoch; it may be missing.

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
        sections.classes(assessment, summary),
        sections.confusions(assessment),
        sections.thresholds(assessment),
        sections.calibration(assessment, summary),
        sections.training(log),
        sections.mistakes(assessment, examples, worst),
    ]
    data = f"{config.data.title} (licence: {config.data.licence})"
    page = string.Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=html.escape(config.title),
        description=html.escape(config.description),
        made=html.escape(f"Model {config.name}, {config.model.kind}, trained on {data}."),
        tiles=sections.headline(assessment, summary),
        sections="\n".join(filter(None, parts)),
        sheet=f"data:image/png;base64,{base64.b64encode(sheet).decode()}",
        tile=TILE,
    )
    (folder / PAGE).write_text(page, encoding="utf-8")


def _png(examples: Sequence[Example]) -> bytes:
    if not examples:
        return b""
    return cv2.imencode(".png", cv2.cvtColor(contact_sheet(examples), cv2.COLOR_RGB2BGR))[1].tobytes()
