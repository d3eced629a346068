"""Pages of likely label errors and of images to label show pictures, and their tables list all."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.support.photo_sets import noise_image
from train.config.training_config import TrainingConfig
from train.curation.features import Features
from train.curation.label_errors import LabelError
from train.data.examples import Example
from train.report import label_pages
from train.report.label_pages import PAGE, TABLE, write_label_errors, write_suggestions

ROOT = Path(__file__).parents[4]
CONFIG = TrainingConfig.model_validate(
    yaml.safe_load((ROOT / "train/configs/digits.yaml").read_text()) | {"labels": ["cat", "<dog>"], "name": "pets"}
)
EXAMPLES = [Example(noise_image(number), (number % 2,), f"<{number}>.png") for number in range(4)]
ERRORS = [LabelError(3, (0,), np.array([0.9, 0.1])), LabelError(0, (1,), np.array([0.25, 0.75]))]


def read_table(folder: Path) -> list[list[str]]:
    with (folder / TABLE).open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_label_errors_are_shown_and_listed(tmp_path: Path):
    write_label_errors(tmp_path / "errors", CONFIG, EXAMPLES, ERRORS)
    page = (tmp_path / "errors" / PAGE).read_text(encoding="utf-8")

    assert "is <b>&lt;dog&gt;</b>, like <b>cat</b> 0.9000<br>&lt;3&gt;.png" in page
    assert "<dog>" not in page
    assert page.count('<div class="tile"') == 2
    assert "2 of 4 images look like images of other classes" in page
    assert read_table(tmp_path / "errors")[1:] == [
        ["<3>.png", "<dog>", "cat", "0.1000", "0.9000"],
        ["<0>.png", "cat", "<dog>", "0.2500", "0.7500"],
    ]


def test_images_without_a_class_are_named_so(tmp_path: Path):
    examples = [dataclasses.replace(EXAMPLES[0], classes=())]
    write_label_errors(tmp_path, CONFIG, examples, [LabelError(0, (0, 1), np.array([0.8, 0.7]))])

    assert "is <b>none</b>, like <b>cat;&lt;dog&gt;</b>" in (tmp_path / PAGE).read_text(encoding="utf-8")


def test_a_set_without_likely_errors_has_a_page(tmp_path: Path):
    write_label_errors(tmp_path, CONFIG, EXAMPLES, [])

    assert "0 of 4 images" in (tmp_path / PAGE).read_text(encoding="utf-8")
    assert len(read_table(tmp_path)) == 1


def test_a_page_shows_the_first_images_and_the_table_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(label_pages, "MAX_PICTURES", 1)
    write_label_errors(tmp_path, CONFIG, EXAMPLES, ERRORS)
    page = (tmp_path / PAGE).read_text(encoding="utf-8")

    assert page.count('<div class="tile"') == 1
    assert "images.csv lists all of them, this page 1." in page
    assert len(read_table(tmp_path)) == 3


def test_suggestions_are_shown_with_the_two_likely_classes(tmp_path: Path):
    features = Features(
        np.zeros((4, 2), np.float32), np.array([[0.9, 0.1], [0.5, 0.5], [0.4, 0.6], [1, 0]], np.float32)
    )
    write_suggestions(tmp_path, CONFIG, EXAMPLES, features, [2, 0])

    assert "1. <b>&lt;dog&gt;</b> 60.0 %, <b>cat</b> 40.0 %<br>" in (tmp_path / PAGE).read_text(encoding="utf-8")
    assert read_table(tmp_path) == [
        ["file", "likely", "probability", "next", "probability_of_next"],
        ["<2>.png", "<dog>", "0.6000", "cat", "0.4000"],
        ["<0>.png", "cat", "0.9000", "<dog>", "0.1000"],
    ]
