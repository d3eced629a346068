"""A data set is split as configured, or refused if it contradicts the configuration."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from tests.support.photo_sets import write_three_files
from train.cli.main import app
from train.config.training_config import TrainingConfig
from train.data.examples import DataError
from train.data.load import load_splits


def ignore(_name: str, _done: int, _total: int | None):
    pass


def test_validation_images_are_held_back_from_the_training_images(config_document: dict[str, Any]):
    config = TrainingConfig.model_validate(config_document)
    splits = load_splits(config, ignore)

    assert (len(splits.train), len(splits.validation), len(splits.test)) == (64, 16, 20)
    assert splits == load_splits(config, ignore)


def test_more_classes_than_labels_are_refused(config_document: dict[str, Any]):
    config = TrainingConfig.model_validate(config_document).model_copy(update={"labels": ("square",)})

    with pytest.raises(DataError, match="class 1 occurs in the data, but the configuration has 1 labels"):
        load_splits(config, ignore)


def test_too_many_validation_images_are_refused(config_document: dict[str, Any]):
    document = copy.deepcopy(config_document)
    document["data"]["validation"] = 80

    with pytest.raises(DataError, match=r"data\.validation: 80 images cannot be held back from 80"):
        load_splits(TrainingConfig.model_validate(document), ignore)


def test_converted_files_of_fast_image_classification_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)  # decoded images go to ./data/cache, the run to ./runs
    paths = write_three_files(tmp_path, use_augmentation=False, batch_size=4, epochs=2)
    (tmp_path / "photos/spoilt.jpg").write_bytes(b"not an image")
    with paths[0].open("a") as table:
        table.write("\nspoilt.jpg,1,0,0,0")
    options = ("--csv-path", paths[0], "--data-config-path", paths[1], "--training-config-path", paths[2])
    train("convert", *options, "--out", "scenes.yaml")
    document = yaml.safe_load(Path("scenes.yaml").read_text())
    document["model"] = {"kind": "small_cnn", "blocks": [[4], [8]]}
    del document["training"]["transfer"]  # it needs a pretrained network
    Path("scenes.yaml").write_text(yaml.safe_dump(document))
    output = train("fit", "scenes.yaml")

    assert "trees" in output
    assert "skipped: 1\n  spoilt.jpg cannot be decoded" in output
    assert Path("runs/scenes/model.keras").exists()


def train(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output
