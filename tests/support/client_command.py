"""Run the command `image-gateway` in this process, which is faster than starting one for each run."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from image_gateway_client.__main__ import main


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
