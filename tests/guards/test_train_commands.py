"""Every documented `python -m train` command is accepted by the program, with its options and arguments."""

import re
import shlex
from pathlib import Path

import typer
from typer.testing import CliRunner

from train.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("train/configs/*.yaml"))]
COMMAND = typer.main.get_command(app)
MIN_COMMANDS = 10


def documented_commands(page: Path) -> list[str]:
    """Return the commands that have a line of their own, indented or in a comment."""
    lines = re.findall(r"^(?: {4}|#\s+)python -m train (\S.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.split(r"\s{3,}[(#]", line)[0] for line in lines]


def rejection(command: str) -> str | None:
    """Return why the program does not accept a command, or None if it does."""
    name, *arguments = shlex.split(command)
    with COMMAND.make_context("train", [name, *arguments], resilient_parsing=True) as context:
        subcommand = COMMAND.get_command(context, name)
        if subcommand is None:
            return f"there is no command {name}"
        try:
            subcommand.make_context(name, arguments, parent=context)
        except Exception as error:  # noqa: BLE001  # typer's own copy of click is private
            return str(error)
    return None


COMMANDS = sorted({command for page in PAGES for command in documented_commands(page)})


def test_the_documentation_has_commands():
    assert {"fit train/configs/digits.yaml", "evaluate runs/digits", "export runs/digits"} <= set(COMMANDS)


def test_the_program_accepts_every_documented_command():
    rejected = {command: problem for command in COMMANDS if (problem := rejection(command))}

    assert not rejected, "\n".join(f"python -m train {command}: {problem}" for command, problem in rejected.items())


def test_every_command_is_documented_and_has_help():
    text = (ROOT / "docs/guides/train.md").read_text(encoding="utf-8")
    names = COMMAND.list_commands(None)

    assert len(names) >= MIN_COMMANDS

    undocumented = [name for name in names if not re.search(rf"`{name}\b|python -m train {name}\b", text)]

    assert not undocumented, f"docs/guides/train.md does not name: {', '.join(undocumented)}"

    broken = [name for name in names if CliRunner().invoke(app, [name, "--help"]).exit_code != 0]

    assert not broken, f"--help fails for: {', '.join(broken)}"
