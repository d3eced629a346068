"""The command `image-gateway`, run in this process: it starts in no time, and a test has many of it to run."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from image_gateway_client.__main__ import main


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended.

    Attributes:
        status: The exit status.
        out: What it wrote to the standard output.
        told: What it wrote to the standard error.
    """

    status: int
    out: str
    told: str


def runner(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Make what runs the command in a folder, asking the gateway at `url` unless an argument says otherwise."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("IMAGE_GATEWAY_URL", url)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object, stdin: bytes = b"") -> Ended:
        monkeypatch.setattr("sys.argv", ["image-gateway", *map(str, arguments)])
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Ended(ended.value.code, *capsys.readouterr())

    return run
