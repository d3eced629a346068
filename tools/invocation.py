"""How a user started the stack, by `make run` or by `image-gateway serve`, so that messages name what they typed."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
SERVE_FOLDER = "IMAGE_GATEWAY_SERVE_FOLDER"
"""Variable in which `image-gateway serve` passes the folder where the user is; not set for `make run`."""


def command() -> str:
    """Return the command that the user typed."""
    return "image-gateway serve" if SERVE_FOLDER in os.environ else "make run"


def make(target: str) -> str:
    """Return the command that runs another target of the Makefile."""
    folder_option = f"-C {shlex.quote(str(ROOT))} " if SERVE_FOLDER in os.environ else ""
    return f"make {folder_option}{target}"


def with_options(values: Mapping[str, object]) -> str:
    """Return the command with options, by the variable of `make run`, to be pasted into a shell."""
    return " ".join([command(), *(shlex.quote(option(variable, value)) for variable, value in values.items())])


def folder() -> Path:
    """Return the folder where the user is, which printed commands and paths refer to."""
    return Path(os.environ.get(SERVE_FOLDER) or Path.cwd())


def option(variable: str, value: object = None) -> str:
    """Return an option as the user writes it, such as `PORT=8081` or `--port=8081`.

    Args:
        variable: The variable of `make run`.
        value: Its value; None for the name alone.
    """
    name = f"--{variable.lower().replace('_', '-')}" if SERVE_FOLDER in os.environ else variable
    return name if value is None else f"{name}={value}"
