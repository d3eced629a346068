"""Every tool explains itself with `--help`, and starts nothing."""

import runpy
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"
HAND_ON = {"audit", "uv"}
"""These hand all options on to uv."""
PROGRAMS = sorted(path.stem for path in TOOLS.glob("*.py") if '__name__ == "__main__"' in path.read_text("utf-8"))


def test_there_are_tools():
    assert {"run", "capacity", "tune", "install_nginx"} <= {*PROGRAMS}


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name not in HAND_ON])
def test_help_is_shown(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    monkeypatch.delitem(sys.modules, f"tools.{name}", raising=False)

    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"tools.{name}", run_name="__main__")

    output = capsys.readouterr()
    assert ended.value.code == 0
    assert output.out.startswith(f"usage: python -m tools.{name} ")
    assert output.err == ""
