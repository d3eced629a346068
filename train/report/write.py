"""A page that shows how good a trained network is and where it errs; it loads nothing from elsewhere."""

import base64
import html
import string
from collections.abc import Sequence
from pathlib import Path

import cv2

from train.data.examples import Example
from train.evaluation.assessment import Assessment, summary
from train.report import sections
from train.report.contact_sheet import TILE, contact_sheet, worst_mistakes

PAGE = "index.html"
SHEET = "mistakes.png"
TEMPLATE = Path(__file__).with_name("report.html")


def write_report(folder: Path, assessment: Assessment, examples: Sequence[Example], log: Path) -> None:
    """Write `PAGE`, and the contact sheet that it holds as `SHEET` too; without a mistake there is none.

    Args:
        folder: Made if need be.
        assessment: What is shown.
        examples: The test images.
        log: The run's CSV of one line an epoch; need not exist.

    Raises:
        OSError: A file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    measured, config = summary(assessment), assessment.config
    worst = worst_mistakes(assessment.test)
    sheet = _png([examples[mistake.index] for mistake in worst])
    (folder / SHEET).unlink(missing_ok=True)
    if sheet:
        (folder / SHEET).write_bytes(sheet)
    parts = [
        sections.further_sets(measured),
        sections.classes(assessment, measured),
        sections.confusions(assessment),
        sections.thresholds(assessment),
        sections.calibration(assessment),
        sections.training(log),
        sections.mistakes(assessment, examples, worst),
    ]
    data = f"{config.data.title} (licence: {config.data.licence})"
    page = string.Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=html.escape(config.title),
        description=html.escape(config.description),
        made=html.escape(f"Model {config.name}, {config.model.kind}, trained on {data}."),
        tiles=sections.headline(assessment, measured),
        sections="\n".join(filter(None, parts)),
        sheet=f"data:image/png;base64,{base64.b64encode(sheet).decode()}",
        tile=TILE,
    )
    (folder / PAGE).write_text(page, encoding="utf-8")


def _png(examples: Sequence[Example]) -> bytes:
    if not examples:
        return b""
    return cv2.imencode(".png", cv2.cvtColor(contact_sheet(examples), cv2.COLOR_RGB2BGR))[1].tobytes()
