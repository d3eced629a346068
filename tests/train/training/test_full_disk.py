"""A disk that fills up results in one message, and leaves no incomplete version and the earlier network."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from train.cli.console import describe_error
from train.cli.main import app
from train.config.run_names import MODEL_FILE
from train.config.training_config import load_config
from train.training.log import LOG_FILE, TENSORBOARD_FOLDER, Log
from train.training.run_folder import CHECKPOINT_FILE

ROOT = Path(__file__).parents[3]
FULL = Path("/dev/full")
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


@pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("file", [CHECKPOINT_FILE, MODEL_FILE])
def test_a_training_that_does_not_fit_is_reported_and_leaves_the_earlier_run(
    own_run: Path, config_path: Path, file: str
):
    earlier = {path: path.read_bytes() for path in own_run.rglob("*") if path.is_file()}
    replacement = own_run.with_name("shapes.replacement")
    temporary = (replacement / file).with_suffix(f".tmp{Path(file).suffix}")
    replacement.mkdir()
    temporary.symlink_to(FULL)

    result = CliRunner().invoke(app, ["fit", str(config_path), "--runs", str(own_run.parent), "--overwrite"])

    assert isinstance(result.exception, OSError)
    command = f"continue with: python -m train fit {replacement} --resume"  # after at least one epoch
    assert describe_error(result.exception) == (
        f"[Errno 28] No space left on device: '{replacement / file}'; free some space there and "
        f"{'run the command again' if file == CHECKPOINT_FILE else command}"
    )
    assert not temporary.is_symlink()
    assert {path: path.read_bytes() for path in own_run.rglob("*") if path.is_file()} == earlier


@pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")
def test_a_log_that_does_not_fit_is_named(config_path: Path, tmp_path: Path):
    log = Log(tmp_path, load_config(config_path), 0)
    (tmp_path / LOG_FILE).unlink()
    (tmp_path / LOG_FILE).symlink_to(FULL)

    with pytest.raises(OSError, match=r"No space left on device: '.*/log\.csv'"):
        log.write(0, {"loss": 1.0})


def test_a_folder_that_tensorflow_cannot_write_is_named(config_path: Path, tmp_path: Path):
    (tmp_path / TENSORBOARD_FOLDER).touch()

    with pytest.raises(OSError, match=r"not a directory.*/tensorboard'"):
        Log(tmp_path, load_config(config_path), 0)
