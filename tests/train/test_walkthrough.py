"""The walk-through of docs/train.md: every command of it, on drawn photos and a small network, with the real stack.

The commands of `python -m train` run in this process, to import TensorFlow once; `make run` is what
`tests.support.stack.running` starts, on free ports.
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

from tests.support.stack import ROOT, Stack, running
from tests.support.waiting import until
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
    """The indented blocks of the section, each as its commands."""
    text = (ROOT / "docs/train.md").read_text(encoding="utf-8")
    section = text.split(HEADING)[1].split("\n## ")[0]
    for block in re.findall(r"(?:^ {4}\S.*\n)+", section, re.MULTILINE):
        yield [line.strip() for line in block.splitlines()]


def models_config_entry() -> str:
    section = (ROOT / "docs/train.md").read_text(encoding="utf-8").split(HEADING)[1]
    return re.findall(r"```\n(config \{.*?\n\})\n```", section, re.DOTALL)[0]


def take_photos(folder: Path) -> None:
    """Draw discs of their class' colour, more or less, on gray grounds."""
    rng = np.random.default_rng(3)
    for label, color in CLASSES.items():
        (folder / label).mkdir(parents=True)
        for number in range(PHOTOS):
            photo = np.full((60, 80, 3), rng.integers(90, 200), np.uint8)
            place = tuple(map(int, rng.integers(25, 35, 2)))
            cv2.circle(photo, place, int(rng.integers(12, 20)), color, -1)
            noise = rng.normal(0, 12, photo.shape)
            cv2.imwrite(str(folder / label / f"{number:02}.jpg"), np.clip(photo + noise, 0, 255).astype(np.uint8))


class Walk:
    """Runs the commands of the page in the current folder."""

    def __init__(self) -> None:
        self.stack: Stack | None = None

    def run(self, command: str) -> str:
        """Run a command; return what it printed."""
        words = [word for part in shlex.split(command) for word in self._expanded(part)]
        if words[:3] == ["python", "-m", "train"]:
            result = CliRunner().invoke(app, words[3:], catch_exceptions=False)
            assert result.exit_code == 0, (command, result.output)
            return result.output
        assert words[0] == "curl", command
        done = subprocess.run([*words, "--silent", "--fail-with-body"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def _expanded(self, word: str) -> list[str]:
        """Do what the shell does with a pattern, and name the port on which the stack is."""
        if self.stack:
            word = word.replace(SERVED, self.stack.url)
        if "*" not in word:
            return [word]
        found = sorted(map(str, Path().glob(word)))
        assert found, word
        return found


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
@pytest.mark.timeout(1200)  # it trains twice, exports twice and starts the stack
def test_walkthrough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    take_photos(Path("photos"))
    walk = Walk()
    propose, learn, show, (serve,), ask, again = blocks()

    for command in propose:
        walk.run(command)
    proposed = yaml.safe_load(Path("fruit.yaml").read_text(encoding="utf-8"))
    assert proposed["labels"] == ["apple", "pear"]
    Path("fruit.yaml").write_text(yaml.safe_dump(proposed | SMALL))  # the one thing that differs from the page

    fitted, evaluated = map(walk.run, learn)
    assert "apple" in fitted
    assert "images right" in evaluated
    assert "What probabilities are worth" in Path("runs/fruit/report/index.html").read_text(encoding="utf-8")
    predicted, exported = map(walk.run, show)
    assert predicted.count("apple") >= predicted.count("photos/apple/")
    assert "serving_models/fruit/1 written" in exported.replace("\n", "")

    assert serve == "make run"
    entry = models_config_entry().replace('"serving_models/fruit"', f'"{tmp_path / "serving_models/fruit"}"')
    config = Path("serving_models/models.config").absolute()
    config.write_text(f"model_config_list {{\n{entry}\n}}\n", encoding="utf-8")
    with running(tmp_path / "run", models_config=config) as walk.stack:
        curl, verify = ask
        answer = json.loads(walk.run(curl))
        assert (answer["class"], answer["model"]) == ("pear", {"name": "fruit", "version": 1})
        assert walk.run(verify).count("mismatches: 0") == 2

        for command in again:
            walk.run(command)
        details = f"{walk.stack.url}/api/v1/models/fruit"
        until(lambda: requests.get(details, timeout=15).json().get("version") == 2, 60, "version 2 in use")
        answer = json.loads(walk.run(curl))
        assert (answer["class"], answer["model"]["version"]) == ("pear", 2)
