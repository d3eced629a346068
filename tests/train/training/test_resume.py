"""A run killed within an epoch can be resumed, and ends with the weights of an uninterrupted run."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from tests.support.waiting import until
from train.cli.main import app
from train.config.run_names import MODEL_FILE
from train.training.run import load_run
from train.training.run_folder import CHECKPOINT_FILE

ROOT = Path(__file__).parents[3]
LIMIT_S = 300


@pytest.fixture(scope="module")
def long_config_path(config_document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten epochs of 32 steps: enough time to kill the run."""
    training = config_document["training"] | {"epochs": 10, "batch_size": 2}
    path = tmp_path_factory.mktemp("configs") / "shapes.yaml"
    path.write_text(yaml.safe_dump(config_document | {"training": training}))
    return path


def start(config_path: Path, runs: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "train", "fit", str(config_path), "--runs", str(runs), *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)


def kill_after_an_epoch(process: subprocess.Popen[bytes], run: Path) -> None:
    with process:
        try:
            until((run / CHECKPOINT_FILE).exists, LIMIT_S, "the checkpoint of the first epoch")
        finally:
            process.kill()

    assert process.returncode == -signal.SIGKILL
    assert not (run / MODEL_FILE).exists()


def finish(process: subprocess.Popen[bytes]) -> int:
    with process:
        try:
            return process.wait(LIMIT_S)
        finally:
            process.kill()


@pytest.mark.timeout(3 * LIMIT_S)
def test_a_killed_and_resumed_run_ends_with_the_same_weights(long_config_path: Path, tmp_path: Path):
    resumed, uninterrupted = tmp_path / "resumed", tmp_path / "uninterrupted"
    kill_after_an_epoch(start(long_config_path, resumed), resumed / "shapes")

    assert finish(start(long_config_path, resumed, "--resume")) == 0
    assert finish(start(long_config_path, uninterrupted)) == 0

    weights = (load_run(runs / "shapes")[1].get_weights() for runs in (resumed, uninterrupted))

    for actual, expected in zip(*weights, strict=True):
        np.testing.assert_array_equal(actual, expected)

    logs = [(runs / "shapes/log.csv").read_bytes() for runs in (resumed, uninterrupted)]

    assert logs[0] == logs[1]
    assert len(logs[0].splitlines()) == 11


@pytest.mark.timeout(3 * LIMIT_S)
def test_a_replacement_that_is_killed_leaves_the_earlier_run_which_still_evaluates(
    long_config_path: Path, own_run: Path
):
    earlier = {path: path.read_bytes() for path in own_run.rglob("*") if path.is_file()}

    kill_after_an_epoch(start(long_config_path, own_run.parent, "--overwrite"), own_run.with_name("shapes.replacement"))

    assert {path: path.read_bytes() for path in own_run.rglob("*") if path.is_file()} == earlier

    result = CliRunner().invoke(app, ["evaluate", str(own_run)], catch_exceptions=False)

    assert result.exit_code == 0
    assert "of 20 images right" in result.output
