"""The programs in examples/ are those that the documentation shows, and examples/README.md lists every file."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SHOWN = re.compile(r"`examples/([\w.]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def shown():
    """Return the text of every program that a page of the documentation shows, by the name of its file."""
    pages = sorted(ROOT.glob("docs/**/*.md"))
    return {name: text for page in pages for name, text in SHOWN.findall(page.read_text(encoding="utf-8"))}


def test_the_documentation_shows_every_program_as_it_is():
    programs = {path.name: path.read_text(encoding="utf-8") for path in EXAMPLES.glob("classify.*")}

    assert {"classify.mjs", "classify.py", "classify.sh"} <= programs.keys()
    assert shown() == programs


def test_the_list_names_every_file():
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")

    assert [path.name for path in EXAMPLES.iterdir() if path.name != "README.md" and f"`{path.name}`" not in text] == []
