"""`check-labels` and `suggest-labels` read a run and write pages beside it."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.support.photo_sets import noise_image
from train.cli.main import app
from train.config.training_config import TrainingConfig
from train.data.load import load_splits
from train.errors import TrainError


@pytest.fixture
def own_run(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "shapes"))


def read_table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def train(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_labels_are_checked(own_run: Path):
    output = train("check-labels", own_run)
    rows = read_table(own_run / "label_errors/images.csv")

    assert f"{len(rows)} of 100 labels are likely to be wrong" in output
    assert "likely label errors" in (own_run / "label_errors/index.html").read_text(encoding="utf-8")
    assert all(row["given"] != row["suggested"] for row in rows)


def test_images_to_label_are_suggested(own_run: Path, tmp_path: Path):
    photos = tmp_path / "photos"
    (photos / "more").mkdir(parents=True)
    for number in range(8):
        (photos / f"more/{number}.png").write_bytes(noise_image(number))
    shutil.copyfile(photos / "more/0.png", photos / "copy.png")
    (photos / "cut.png").write_bytes(noise_image(9)[:60])
    (photos / "notes.txt").write_text("mine")
    output = train("suggest-labels", own_run, photos, "--count", 3)
    rows = read_table(own_run / "suggestions/images.csv")

    assert "3 of 8 images are suggested" in output
    assert "more/0.png is a copy of copy.png" in output
    assert "cut.png cannot be decoded" in output
    assert "notes.txt" not in output
    assert len({row["file"] for row in rows} - {"more/0.png"}) == 3
    assert "images to label" in (own_run / "suggestions/index.html").read_text(encoding="utf-8")


def own_photos(config_document: dict[str, Any], folder: Path) -> Path:
    """Write three of the images that the run was trained with as files."""
    config = TrainingConfig.model_validate(config_document)
    folder.mkdir()
    for number, example in enumerate(load_splits(config, lambda *_: None).train[:3]):
        (folder / f"own{number}.png").write_bytes(example.data)
    return folder


def test_images_that_the_run_was_trained_with_are_left_out(
    own_run: Path, tmp_path: Path, config_document: dict[str, Any]
):
    photos = own_photos(config_document, tmp_path / "photos")
    (photos / "new.png").write_bytes(noise_image(0))

    output = train("suggest-labels", own_run, photos)

    assert "left out: 3 images with which the run was trained or evaluated" in output
    assert "1 of 1 images are suggested" in output
    assert [row["file"] for row in read_table(own_run / "suggestions/images.csv")] == ["new.png"]


def test_a_folder_of_nothing_but_the_images_of_the_run_is_refused(
    own_run: Path, tmp_path: Path, config_document: dict[str, Any]
):
    photos = own_photos(config_document, tmp_path / "photos")

    with pytest.raises(TrainError, match=r"each of the 3 images has a label already, .* expected a folder with other"):
        train("suggest-labels", own_run, photos)


def test_what_is_not_a_folder_is_refused(own_run: Path, tmp_path: Path):
    (tmp_path / "a.png").write_bytes(noise_image(0))

    with pytest.raises(TrainError, match=r"there is no folder .*absent; expected a folder of images, at any depth"):
        train("suggest-labels", own_run, tmp_path / "absent")
    with pytest.raises(TrainError, match=r"a\.png is a file; expected a folder of images, at any depth"):
        train("suggest-labels", own_run, tmp_path / "a.png")


def test_a_folder_without_images_is_refused(own_run: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()

    with pytest.raises(TrainError, match="empty: expected a folder of images, found none that can be decoded"):
        train("suggest-labels", own_run, tmp_path / "empty")
