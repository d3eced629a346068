"""How a user started the stack, by `make run` or by `image-gateway serve`, so that messages name what they typed."""

import os
from pathlib import Path

SERVE_FOLDER = "IMAGE_GATEWAY_SERVE_FOLDER"
"""Variable in which `image-gateway serve` passes the folder where the user is; not set for `make run`."""


def command() -> str:
    """Return the command that the user typed."""
    return "image-gateway serve" if SERVE_FOLDER in os.environ else "make run"


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
