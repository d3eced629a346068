"""The HTML page of a report: it loads nothing from elsewhere."""

import base64
import html
import string
from collections.abc import Iterable
from pathlib import Path

from train.report.contact_sheet import TILE

TEMPLATE = Path(__file__).with_name("report.html")


def render_page(  # noqa: PLR0913  # the parts of the page
    title: str,
    kind: str,
    description: str,
    made: str,
    *,
    sections: Iterable[str],
    tiles: str = "",
    sheet: bytes = b"",
) -> str:
    """Return a page.

    Args:
        title: Heading, as text.
        kind: What the page is, as text; after the heading in the title of the window.
        description: Sentence below the heading, as text.
        made: How the page's figures were made, as text.
        sections: Sections, as HTML; empty ones are left out.
        tiles: The most important figures, as HTML.
        sheet: The contact sheet, as PNG.
    """
    return string.Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=html.escape(title),
        kind=html.escape(kind),
        description=html.escape(description),
        made=html.escape(made),
        tiles=tiles,
        sections="\n".join(filter(None, sections)),
        sheet=f"data:image/png;base64,{base64.b64encode(sheet).decode()}",
        tile=TILE,
    )
