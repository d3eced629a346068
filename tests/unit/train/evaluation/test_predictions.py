"""The table of predictions has a row for each test image, which is read back for comparisons."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest

from train.data.examples import Example
from train.errors import TrainError
from train.evaluation.evaluate import Evaluation
from train.evaluation.predictions import PREDICTIONS_FILE, read_results, write_predictions

LABELS = ("sea", "sand")


def write_two_images(run: Path) -> None:
    """Write the table of a multi-label model that is right about the first image only."""
    targets = np.array([[True, True], [True, False]])
    evaluation = Evaluation(np.array([[0.8, 0.9], [0.4, 0.5]], np.float32), targets, np.array([0.5, 0.5], np.float32))
    write_predictions(run, evaluation, [Example(b"a", (0, 1), "a.jpg"), Example(b"b", (0,), "b.jpg")], LABELS)


def test_each_image_has_a_row(tmp_path: Path):
    write_two_images(tmp_path)

    with (tmp_path / PREDICTIONS_FILE).open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)

    assert (first["image"], first["classes"], first["predicted"], first["correct"]) == (
        "a.jpg",
        "sea;sand",
        "sea;sand",
        "1",
    )
    assert (second["image"], second["classes"], second["predicted"], second["correct"]) == ("b.jpg", "sea", "sand", "0")
    assert float(second["probability"]) == 0.5


def test_results_are_read_by_the_content_of_the_image(tmp_path: Path):
    write_two_images(tmp_path)

    results = read_results(tmp_path)

    right = results[hashlib.sha256(b"a").hexdigest()]
    assert right.correct
    assert right.log_loss == pytest.approx(-np.log([0.8, 0.9]).mean(), abs=1e-6)
    assert not results[hashlib.sha256(b"b").hexdigest()].correct


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "it does not exist"),
        ("image\na.jpg\n", "it is damaged"),
        ("sha256,correct,log_loss\nx,1,low\n", "it is damaged"),
    ],
)
def test_a_missing_or_damaged_table_is_refused_with_the_command_that_writes_it(
    tmp_path: Path, content: str | None, problem: str
):
    run = tmp_path / "my run"
    run.mkdir()
    if content is not None:
        (run / PREDICTIONS_FILE).write_text(content)

    with pytest.raises(TrainError, match=rf"cannot be used: {problem}.*python -m train evaluate '.*my run'"):
        read_results(run)
