"""The code blocks of README.md and docs/: fenced ones, and indented ones, which are commands."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted(page for page in ROOT.glob("docs/**/*.md") if "decisions" not in page.parts))
SHELL = "sh"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"(?://|<!--) (\w+\.\w+)\b")
CONTINUED = re.compile(r"\|\n\s+")
INDENTED = re.compile(r"(?<=\n\n)(?: {4}.*\n)+")


@dataclass(frozen=True, slots=True)
class Block:
    """One block of code.

    Attributes:
        page: File of the block, relative to the repository.
        line: Number of its first line.
        kind: Language of the fence; `sh` for an indented block.
        text: Its lines without indentation.
    """

    page: str
    line: int
    kind: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file_name(self) -> str | None:
        """The name of the file that the block is the whole content of, from the comment in its first line."""
        match = FILE_NAME.match(self.text)
        return match and match[1]

    def commands(self) -> list[str]:
        """Return the commands of a shell block; a command may span lines that end in a backslash or a pipe."""
        text = CONTINUED.sub("| ", self.text.replace("\\\n", ""))
        return [line for line in text.splitlines() if line.strip() and line[0] != "#"]


def blocks() -> list[Block]:
    return [block for page in PAGES for block in read(str(page.relative_to(ROOT)), page.read_text(encoding="utf-8"))]


def read(page: str, text: str) -> Iterator[Block]:
    """Return the blocks of a page, the fenced ones first."""
    for match in FENCED.finditer(text):
        yield Block(page, text.count("\n", 0, match.start(2)) + 1, match[1], match[2].rstrip("\n"))
    others = FENCED.sub(lambda match: "\n" * match[0].count("\n"), text)
    for match in INDENTED.finditer(others):
        yield Block(page, others.count("\n", 0, match.start()) + 1, SHELL, dedent(match[0]).rstrip("\n"))
