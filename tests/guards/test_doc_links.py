"""Links and paths in the documentation lead somewhere: to a file of the repository, and to a heading in it."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = sorted(ROOT.glob("docs/**/*.md"))
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")), *DOCS]
LINK = re.compile(r"\]\(([^)\s]+)\)")
FOLDERS = "bench|client|deploy|docs|gateway|model_server|nginx|tests|tfs_api|tools|train|vision"
CODE_PATH = re.compile(rf"`((?:{FOLDERS})/[\w./-]*)`")


def links(page):
    return [target for target in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in target]


def anchors(page):
    """Name the headings of a page as GitHub does: small letters, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def is_broken(page, target):
    path, _, anchor = target.partition("#")
    file = page.parent / path if path else page
    return not file.exists() or bool(anchor and anchor not in anchors(file))


def test_every_link_leads_to_a_file_and_a_heading():
    found = [(page, target) for page in PAGES for target in links(page)]

    assert len(found) > 60
    assert [f"{page.relative_to(ROOT)}: {target}" for page, target in found if is_broken(page, target)] == []


def test_every_page_can_be_reached_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        targets = {(page.parent / target.partition("#")[0]).resolve() for target in links(page)}
        new = {path for path in targets if path.suffix == ".md" and path.is_file()} - reached
        reached |= new
        waiting.extend(new)

    assert len(DOCS) > 20
    assert [str(page.relative_to(ROOT)) for page in DOCS if page not in reached] == []


def test_every_path_that_is_named_exists():
    named = [(page, path) for page in PAGES for path in CODE_PATH.findall(page.read_text(encoding="utf-8"))]

    assert len(named) > 60
    assert [f"{page.relative_to(ROOT)}: {path}" for page, path in named if not (ROOT / path).exists()] == []
