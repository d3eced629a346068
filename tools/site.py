"""Hooks of mkdocs.yml: pages of the repository outside docs/, and llms.txt.

README.md is the first page of the site. Other links out of docs/, which lead to files on a code host, become plain
text, because the site does not know an address of the repository.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
OUTSIDE = {
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "bench/NOTES.md": "benchmark_notes.md",
    "examples/README.md": "examples.md",
}
"""Pages of the repository by path, and their paths in the site."""
LINK = re.compile(r"\[((?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
DECISIONS = ROOT / "docs" / "decisions"
LLMS_FILE = "llms.txt"


def on_config(config: MkDocsConfig) -> None:
    """Add the decisions to the last part of the navigation, in order of number."""
    nav: list[dict[str, list[object]]] = config.nav or []
    decisions = sorted(path.relative_to(config.docs_dir).as_posix() for path in DECISIONS.glob("*.md"))
    nav[-1]["About"].append({"Decisions": decisions})


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages that are not in docs/."""
    for path, uri in OUTSIDE.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite links between files of the repository to links between pages of the site."""
    del config
    source = repository_path(page.file.src_uri)

    def rewrite(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        uri = OUTSIDE.get(path, path.removeprefix("docs/"))
        if files.get_file_from_path(uri) is None and (ROOT / path).exists():
            return text
        return f"[{text}]({posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or '.')}{anchor})"

    return LINK.sub(rewrite, markdown)


def repository_path(uri: str) -> str:
    """Return the path in the repository of a page of the site."""
    return next((path for path, outside in OUTSIDE.items() if outside == uri), f"docs/{uri}")


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> None:
    """Write llms.txt: the list of all pages, as https://llmstxt.org describes."""
    del files
    lines = [f"# {config.site_name}", "", f"> {config.site_description}.", "", "## Pages", ""]
    lines += [f"- [{title(page)}]({page.url})" for page in nav.pages]
    folder = Path(config.site_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LLMS_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def title(page: Page) -> str:
    """Return the first heading of a page."""
    text = page.file.content_string
    match = re.search(r"^# (.*)$", text, re.MULTILINE)
    return match[1].replace("\\", "") if match else page.file.name
