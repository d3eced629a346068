"""Links of README.md and docs/ lead somewhere: to a file of the repository, and to a heading in it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def links():
    for page in PAGES:
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            if "://" not in target:
                yield pytest.param(page, target, id=f"{page.name}->{target}")


def anchors(page):
    """Name the headings of a page as GitHub does: small letters, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("page", "target"), list(links()))
def test_a_link_leads_somewhere(page, target):
    path, _, anchor = target.partition("#")
    file = page.parent / path if path else page
    assert file.exists()
    assert not anchor or anchor in anchors(file)


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name == "docs"], ids=lambda page: page.name)
def test_each_page_can_be_found_from_the_readme(page):
    found, waiting = set(), [ROOT / "README.md"]
    while waiting:
        here = waiting.pop()
        for target in LINK.findall(here.read_text(encoding="utf-8")):
            path = (here.parent / target.partition("#")[0]).resolve()
            if path.suffix == ".md" and path.is_file() and path not in found:
                found.add(path)
                waiting.append(path)
    assert page in found
