"""A disk that is full in the middle of an export: one message, and nothing of the version is left."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FEW_BLOCKS = 8  # of 1,024 bytes: more than the card takes, less than the graph


@pytest.mark.timeout(400)
def test_an_export_that_does_not_fit_is_told_and_leaves_nothing(run: Path, tmp_path: Path):
    """Writing a file beyond the limit fails as on a full disk; Python ignores the signal that comes too."""
    limited = f'ulimit -f {FEW_BLOCKS}; exec "$@"'
    command = [sys.executable, "-m", "train", "export", str(run), "--models", str(tmp_path)]
    ended = subprocess.run(
        ["bash", "-c", limited, "bash", *command], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 2, ended.stderr
    assert "error: " in ended.stdout
    assert "1.tmp" in ended.stdout
    assert "too large" in ended.stdout
    assert list((tmp_path / "shapes").iterdir()) == []
