"""A disk that fills up during an export results in one message and no incomplete version."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MAX_BLOCKS = 8  # of 1,024 bytes: enough for the card, too few for the graph


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("form", "folder"), [("none", "1.tmp"), ("int8", "tflite-")])
def test_an_export_that_does_not_fit_is_reported_and_leaves_nothing(run: Path, tmp_path: Path, form: str, folder: str):
    """Writing a file beyond the limit fails as on a full disk; Python ignores the signal that the kernel sends."""
    script = f'ulimit -f {MAX_BLOCKS}; exec "$@"'
    command = [sys.executable, "-m", "train", "export", str(run), "--models", str(tmp_path), "--tflite", form]
    done = subprocess.run(
        ["bash", "-c", script, "bash", *command], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )

    assert done.returncode == 2, done.stderr
    assert "error: " in done.stdout
    assert folder in done.stdout
    assert "too large" in done.stdout
    assert list(tmp_path.glob("shapes/*")) == []
