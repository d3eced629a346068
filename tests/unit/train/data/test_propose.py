"""Proposed configurations can be trained unchanged, and state their source."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.support.photo_sets import TARGETS, write_folders, write_three_files
from train.cli.main import app
from train.config.training_config import ConfigError, TrainingConfig, load_config
from train.data.examples import DataError
from train.data.fast_image_classification import convert
from train.data.load import load_splits
from train.data.propose import propose_for_folders, propose_for_table, write_config


def ignore(_name: str, _done: int, _total: int | None):
    pass


def write_and_load(document: dict[str, Any], folder: Path, name: str = "Pets 2.yaml") -> TrainingConfig:
    write_config(document, folder / name)
    return load_config(folder / name)


def test_class_folders_become_a_configuration(tmp_path: Path):
    write_folders(tmp_path / "photos", {"dog": 1, "cat": 1, ".hidden": 1})
    config = write_and_load(propose_for_folders(tmp_path / "photos"), tmp_path)

    assert (config.name, config.labels, config.task) == ("pets-2", ("cat", "dog"), "multiclass")
    assert config.data.directory == tmp_path / "photos"

    text = (tmp_path / "Pets 2.yaml").read_text()

    assert f"python -m train fit {tmp_path}/Pets 2.yaml" in text
    assert "multilabel: any number.\ntask: multiclass\n" in text


@pytest.mark.parametrize(
    ("table", "label_column", "labels", "task"),
    [
        ("file,label\na.png,dog\nb.png,cat\nc.png,dog\n", "label", ("cat", "dog"), "multiclass"),
        ("file,labels\na.png,dog;cat\nb.png,\nc.png,bird\n", "labels", ("bird", "cat", "dog"), "multilabel"),
        ("file,dog,width,cat\na.png,1,640,0\nb.png,0,480,0\n", None, ("dog", "cat"), "multilabel"),
    ],
)
def test_a_table_becomes_a_configuration(
    tmp_path: Path, table: str, label_column: str | None, labels: tuple[str, ...], task: str
):
    (tmp_path / "data.csv").write_text(table)
    config = write_and_load(propose_for_table(tmp_path / "data.csv", "file", label_column), tmp_path)

    assert (config.labels, config.task) == (labels, task)
    assert config.data.path == tmp_path / "data.csv"


def test_fewer_than_two_labels_are_refused(tmp_path: Path):
    write_folders(tmp_path / "photos", {"dog": 1})
    (tmp_path / "data.csv").write_text("file,label\na.png,dog\n")

    with pytest.raises(DataError, match="photos: expected at least two labels, found dog"):
        propose_for_folders(tmp_path / "photos")

    with pytest.raises(DataError, match="data: expected at least two labels, found none"):
        propose_for_table(tmp_path / "data.csv", "file", None)


def test_an_existing_configuration_is_kept(tmp_path: Path):
    write_folders(tmp_path / "photos", {"dog": 1, "cat": 1})
    (tmp_path / "pets.yaml").write_text("mine")

    with pytest.raises(FileExistsError):
        write_config(propose_for_folders(tmp_path / "photos"), tmp_path / "pets.yaml")

    assert (tmp_path / "pets.yaml").read_text() == "mine"


def test_three_files_become_a_configuration(tmp_path: Path):
    config = write_and_load(convert(*write_three_files(tmp_path)), tmp_path)

    assert (config.labels, config.task) == (tuple(TARGETS), "multilabel")
    assert (config.input.height, config.input.width, config.input.resize) == (24, 32, "stretch")

    optimization = config.training

    assert (optimization.batch_size, optimization.epochs, optimization.learning_rate) == (32, 1000, 0.0001)
    assert optimization.patience
    assert config.augmentation.flip

    splits = load_splits(config.model_copy(update={"data": config.data.model_copy(update={"cache": tmp_path})}), ignore)

    assert sum(map(len, (splits.train, splits.validation, splits.test))) == 20


def test_augmentation_that_is_off_stays_off(tmp_path: Path):
    config = write_and_load(convert(*write_three_files(tmp_path, use_augmentation=False)), tmp_path)
    assert config.augmentation == type(config.augmentation)()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"batch_size": 0}, ConfigError, r"training_config\.yaml:\n  batch_size: Input should be greater"),
        ({"input_shape": [None, None, 1]}, ConfigError, r"data_config\.yaml:\n  input_shape\.2"),
        ({"targets": ["beach"]}, ConfigError, "targets"),
        ({"images_base_path": "../nowhere"}, DataError, "images_base_path: ../nowhere is not a folder"),
    ],
)
def test_unusable_files_are_refused(tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        convert(*write_three_files(tmp_path, **changes))


def test_a_typo_is_refused_with_the_nearest_key(tmp_path: Path):
    paths = write_three_files(tmp_path)
    paths[1].write_text(paths[1].read_text().replace("targets", "target"))

    with pytest.raises(ConfigError, match="unknown key 'target'; the nearest known key is 'targets'"):
        convert(*paths)


def test_a_missing_table_is_named(tmp_path: Path):
    _, *configs = write_three_files(tmp_path)

    with pytest.raises(DataError, match=r"none\.csv: expected a CSV file, found none"):
        convert(tmp_path / "none.csv", *configs)


def test_the_commands_write_what_fit_reads_next(tmp_path: Path):
    csv_path, data_config, training_config = write_three_files(tmp_path)
    options = ["--csv-path", csv_path, "--data-config-path", data_config, "--training-config-path", training_config]
    outs = [tmp_path / "converted.yaml", tmp_path / "proposed.yaml"]
    commands = (
        ["convert", *options, "--out", outs[0]],
        ["propose", csv_path, "--image-column", "name", "--out", outs[1]],
    )
    for command, out in zip(commands, outs, strict=True):
        result = CliRunner().invoke(app, [str(part) for part in command], catch_exceptions=False)
        assert result.exit_code == 0
        assert f"next: python -m train fit {out}" in result.output
        assert load_config(out).labels == tuple(TARGETS)
