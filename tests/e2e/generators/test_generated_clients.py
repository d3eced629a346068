"""The clients of docs/guides/generated_clients.md, made of the running service, compile and classify a photo."""

import re

import pytest

from tests.support import documents, generators
from tests.support.documents import ROOT, Block
from tests.support.stack import RunningStack

PAGE = ROOT / "docs" / "guides" / "generated_clients.md"
ROW = re.compile(r"^\| \[(.+?)\]\(#.+?\) \| (\S+) \| .+? \| (\w+) \| (\w+) \| (\w+) \|$", re.MULTILINE)
URL, PHOTO = "http://localhost:8080", "examples/macaws.jpg"

pytestmark = pytest.mark.timeout(300)


def sections() -> dict[str, list[Block]]:
    """Return the blocks of each generator: its command, its configuration if it has one, and a program."""
    text = PAGE.read_text(encoding="utf-8")
    parts = (part.partition("\n") for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:])
    blocks = {name: list(documents.read(name, body)) for name, _, body in parts}
    return {name: found for name, found in blocks.items() if found}


SECTIONS = sections()
ROWS = {name: (version, cells) for name, version, *cells in ROW.findall(PAGE.read_text(encoding="utf-8"))}


def test_the_table_has_a_row_for_each_generator():
    assert list(ROWS) == list(SECTIONS)
    assert len(ROWS) == 8
    assert {cell for _, cells in ROWS.values() for cell in cells} == {"yes"}


@pytest.mark.parametrize("name", ROWS)
def test_the_table_has_the_version_that_is_installed(name: str):
    generators.require_tools()
    command = SECTIONS[name][0].text.split()[0]
    assert ROWS[name][0] == generators.installed_version(command)


@pytest.mark.parametrize("name", SECTIONS)
def test_a_generated_client_compiles_and_classifies_a_photo(name: str, stack: RunningStack, tmp_path):
    *setup, program = SECTIONS[name]
    workshop = generators.Workshop(tmp_path)
    workshop.require(setup[0].text.split()[0], program.kind)

    def local(text: str) -> str:
        return text.replace(URL, stack.url).replace(PHOTO, str(ROOT / PHOTO))

    for configuration in setup[1:]:
        workshop.write(f"orval.config.{configuration.kind}", local(configuration.text))
    workshop.shell(local(setup[0].text))

    assert workshop.run(program.kind, local(program.text)) == ["macaw", "macaw"]
