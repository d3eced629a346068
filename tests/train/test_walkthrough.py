"""The walkthrough of docs/guides/train.md: all its commands, on drawn photos and a small network, with the real stack.

The commands of `python -m train` run in this process, so that TensorFlow is imported once. In place of `make run`,
`tests.support.stack.running` starts the same stack on free ports.
"""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import requests
import yaml
from typer.testing import CliRunner

from tests.support.stack import ROOT, RunningStack, running
from tests.support.waiting import until
from tools import models
from train.cli.main import app

HEADING = "## In five minutes: from a folder of photos to the service"
SERVED = "http://localhost:8080"
CLASSES = {"apple": (40, 40, 220), "pear": (60, 220, 60)}  # BGR
PHOTOS = 40
SMALL = {
    "input": {"height": 24, "width": 24, "resize": "stretch", "interpolation": "area"},
    "model": {"kind": "small_cnn", "blocks": [[8], [16]]},
    "training": {"epochs": 8, "batch_size": 8, "learning_rate": 0.02},
}


def blocks() -> Iterator[list[str]]:
    """Yield the commands of each indented block of the section."""
    text = (ROOT / "docs/guides/train.md").read_text(encoding="utf-8")
    section = text.split(HEADING)[1].split("\n## ")[0]
    for block in re.findall(r"(?:^ {4}\S.*\n)+", section, re.MULTILINE):
        yield [line.strip() for line in block.splitlines()]


def take_photos(folder: Path) -> None:
    """Draw noisy discs in the colour of their class on gray backgrounds."""
    rng = np.random.default_rng(3)
    for label, color in CLASSES.items():
        (folder / label).mkdir(parents=True)
        for number in range(PHOTOS):
            photo = np.full((60, 80, 3), rng.integers(90, 200), np.uint8)
            centre = tuple(map(int, rng.integers(25, 35, 2)))
            cv2.circle(photo, centre, int(rng.integers(12, 20)), color, -1)
            noise = rng.normal(0, 12, photo.shape)
            cv2.imwrite(str(folder / label / f"{number:02}.jpg"), np.clip(photo + noise, 0, 255).astype(np.uint8))


class Walk:
    """Runs the commands of the page in the current folder."""

    def __init__(self) -> None:
        self.stack: RunningStack | None = None

    def run(self, command: str) -> str:
        """Run a command, and return its output."""
        words = [word for part in shlex.split(command) for word in self._expand(part)]
        if words[:3] == ["python", "-m", "train"]:
            result = CliRunner().invoke(app, words[3:], catch_exceptions=False)
            assert result.exit_code == 0, (command, result.output)
            return result.output
        if words[:3] == ["python", "-m", "tools.models"]:
            assert self.stack is not None
            options = [f"--url={self.stack.url}", "--config=serving_models/models.config"]
            assert models.main([*words[3:], *options]) == 0, command
            return ""
        assert words[0] == "curl", command
        done = subprocess.run([*words, "--silent", "--fail-with-body"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def _expand(self, word: str) -> list[str]:
        """Expand a file pattern as a shell does, and replace the documented URL by the stack's."""
        if self.stack:
            word = word.replace(SERVED, self.stack.url)
        if "*" not in word:
            return [word]
        paths = sorted(map(str, Path().glob(word)))
        assert paths, f"no file matches {word}"
        return paths


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
@pytest.mark.timeout(1200)  # it trains twice, exports twice and starts the stack
def test_walkthrough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    take_photos(Path("photos"))
    walk = Walk()
    propose_block, fit_block, export_block, (serve,), predict_block, again_block = blocks()

    for command in propose_block:
        walk.run(command)
    proposal = yaml.safe_load(Path("fruit.yaml").read_text(encoding="utf-8"))

    assert proposal["labels"] == ["apple", "pear"]

    Path("fruit.yaml").write_text(yaml.safe_dump(proposal | SMALL))  # the only difference from the page

    fit_output, evaluate_output = map(walk.run, fit_block)

    assert "apple" in fit_output
    assert "images right" in evaluate_output
    assert "<h2>Calibration</h2>" in Path("runs/fruit/report/index.html").read_text(encoding="utf-8")

    predict_output, export_output = map(walk.run, export_block)

    assert predict_output.count("apple") >= predict_output.count("photos/apple/")
    assert "serving_models/fruit/1 written" in export_output.replace("\n", "")
    assert "python -m tools.models add serving_models/fruit\n" in export_output

    assert serve == "make run"

    config = Path("serving_models/models.config").absolute()
    entry = f'config {{ name: "digits" base_path: "{ROOT / "serving_models/digits"}" model_platform: "tensorflow" }}'
    config.write_text(f"model_config_list {{\n{entry}\n}}\n", encoding="utf-8")
    with running(tmp_path / "run", models_config=config) as walk.stack:
        add, curl, verify = predict_block
        walk.run(add)
        answer = json.loads(walk.run(curl))
        assert (answer["class"], answer["model"]) == ("pear", {"name": "fruit", "version": 1})
        assert walk.run(verify).count("mismatches: 0") == 2

        for command in again_block:
            walk.run(command)
        details = f"{walk.stack.url}/api/v1/models/fruit"
        until(lambda: requests.get(details, timeout=15).json().get("version") == 2, 60, "version 2 in use")
        answer = json.loads(walk.run(curl))
        assert (answer["class"], answer["model"]["version"]) == ("pear", 2)
