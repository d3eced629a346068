"""Links and paths in the documentation lead to existing files of the repository and to headings in them."""

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
    """Return the anchors that GitHub gives to a page's headings: lower case, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def is_broken(page, target):
    path, _, anchor = target.partition("#")
    file = page.parent / path if path else page
    return not file.exists() or bool(anchor and anchor not in anchors(file))


def test_every_link_leads_to_a_file_and_a_heading():
    targets = [(page, target) for page in PAGES for target in links(page)]

    assert len(targets) > 60
    assert [f"{page.relative_to(ROOT)}: {target}" for page, target in targets if is_broken(page, target)] == []


def test_every_page_can_be_reached_from_the_readme():
    reachable, pending = set(), [ROOT / "README.md"]
    while pending:
        page = pending.pop()
        targets = {(page.parent / target.partition("#")[0]).resolve() for target in links(page)}
        new = {path for path in targets if path.suffix == ".md" and path.is_file()} - reachable
        reachable |= new
        pending.extend(new)

    assert len(DOCS) > 20
    assert [str(page.relative_to(ROOT)) for page in DOCS if page not in reachable] == []


def test_every_path_in_the_text_exists():
    paths = [(page, path) for page in PAGES for path in CODE_PATH.findall(page.read_text(encoding="utf-8"))]

    assert len(paths) > 60
    assert [f"{page.relative_to(ROOT)}: {path}" for page, path in paths if not (ROOT / path).exists()] == []


def test_every_image_is_shown():
    shown = {(page.parent / target).resolve() for page in PAGES for target in links(page)}
    images = sorted((ROOT / "docs" / "images").iterdir())

    assert len(images) > 3
    assert [image.name for image in images if image not in shown] == []
