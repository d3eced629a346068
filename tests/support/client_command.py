"""Run the command `image-gateway`: in this process, which is faster, or in one of its own, also on a terminal."""

import contextlib
import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from image_gateway_client.__main__ import main

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a command.

    Attributes:
        status: The exit status.
        out: What it wrote to the standard output.
        err: What it wrote to the standard error.
    """

    status: int
    out: str
    err: str


def runner(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """Return a function that runs the command in a folder, by default with the gateway at `url`."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("IMAGE_GATEWAY_URL", url)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object, stdin: bytes = b"") -> Result:
        monkeypatch.setattr("sys.argv", ["image-gateway", *map(str, arguments)])
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_info:
            main()
        return Result(exit_info.value.code, *capsys.readouterr())

    return run


def program(url: str, *arguments: object) -> dict[str, Any]:
    """Return the arguments of `subprocess` that run the command in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "IMAGE_GATEWAY_URL": url, "TERM": "xterm"}
    return {"args": [sys.executable, "-m", "image_gateway_client", *map(str, arguments)], "env": environment}


def screen(url: str, *arguments: object) -> tuple[int, str]:
    """Run the command on a terminal; return its exit status and its output."""
    control, terminal = pty.openpty()
    try:
        process = subprocess.Popen(
            **program(url, *arguments), stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal
        )
        os.close(terminal)
        shown = b""
        with process, contextlib.suppress(OSError):  # EIO: nobody holds the terminal's other end any more
            while part := os.read(control, 65536):
                shown += part
        return process.returncode, shown.decode()
    finally:
        os.close(control)
