"""Each `python -m train` that is written down anywhere is one that the program takes: commands, options, arguments."""

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from train.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("train/configs/*.yaml"))]
COMMAND = typer.main.get_command(app)


def written(page: Path) -> list[str]:
    """Commands that stand on a line of their own, be it indented or a comment."""
    lines = re.findall(r"^(?: {4}|#\s+)python -m train (\S.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.split(r"\s{3,}[(#]", line)[0] for line in lines]


COMMANDS = sorted({command for page in PAGES for command in written(page)})


def test_there_are_such_commands():
    assert {"fit train/configs/digits.yaml", "evaluate runs/digits", "export runs/digits"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_program_takes_it(command: str):
    name, *arguments = shlex.split(command)
    with COMMAND.make_context("train", [name, *arguments], resilient_parsing=True) as context:
        taken = COMMAND.get_command(context, name)
        assert taken is not None, f"there is no command {name}"
        taken.make_context(name, arguments, parent=context)


@pytest.mark.parametrize("name", COMMAND.list_commands(None))
def test_every_command_is_written_about_and_helps(name: str):
    shown = CliRunner().invoke(app, [name, "--help"])
    assert shown.exit_code == 0
    assert re.search(rf"`{name}\b|python -m train {name}\b", (ROOT / "docs/train.md").read_text(encoding="utf-8"))
