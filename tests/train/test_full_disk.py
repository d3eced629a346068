"""A disk that is full in the middle of an export: one message, and nothing of the version is left."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from train.cli import app

FEW_BYTES = 8_000  # more than the card takes, less than the graph


@pytest.fixture
def small_files_only() -> Iterator[None]:
    """Writing a file beyond `FEW_BYTES` fails, as it does on a full disk; Python ignores the signal that comes too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FEW_BYTES, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files_only")
def test_an_export_that_does_not_fit_is_told_and_leaves_nothing(run: Path, tmp_path: Path):
    result = CliRunner().invoke(app, ["export", str(run), "--models", str(tmp_path)])
    assert isinstance(result.exception, OSError)
    assert "1.tmp" in str(result.exception)
    assert "too large" in str(result.exception)
    assert list((tmp_path / "shapes").iterdir()) == []
