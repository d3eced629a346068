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
from train.data.propose import Proposal, propose_for_folders, propose_for_table, write_config


def ignore(_name: str, _done: int, _total: int | None):
    pass


def write_and_load(proposal: Proposal, folder: Path, name: str = "Pets 2.yaml") -> TrainingConfig:
    write_config(proposal, folder / name)
    return load_config(folder / name)


def test_class_folders_become_a_configuration(tmp_path: Path):
    write_folders(tmp_path / "photos", {"dog": 1, "cat": 1, ".hidden": 1})
    config = write_and_load(propose_for_folders(tmp_path / "photos"), tmp_path)

    assert (config.name, config.labels, config.task) == ("pets-2", ("cat", "dog"), "multiclass")
    assert config.data.directory == tmp_path / "photos"

    text = (tmp_path / "Pets 2.yaml").read_text()

    assert f"python -m train fit '{tmp_path}/Pets 2.yaml'" in text
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


@pytest.mark.parametrize(
    ("count", "share", "batch_size"),
    [(3, 0.2, 1), (8, 0.2, 2), (20, 0.2, 4), (40, 0.2, 8), (140, 0.2, 32), (400, 0.15, 32)],
)
def test_batches_and_shares_suit_the_number_of_images(tmp_path: Path, count: int, share: float, batch_size: int):
    rows = [f"{number}.png,{'cat' if number % 2 else 'dog'}" for number in range(2 * count)]
    (tmp_path / "data.csv").write_text("\n".join(["file,label", *rows]))
    config = write_and_load(propose_for_table(tmp_path / "data.csv", "file", "label"), tmp_path)

    assert (config.data.validation, config.data.test) == (share, share)
    assert config.training.batch_size == batch_size


@pytest.mark.parametrize("class_count", [2, 5, 8])
def test_a_class_of_eight_is_in_every_part(tmp_path: Path, class_count: int):
    write_folders(tmp_path / "photos", {f"class {number}": 8 for number in range(class_count)})
    config = write_and_load(propose_for_folders(tmp_path / "photos"), tmp_path)
    splits = load_splits(config.model_copy(update={"data": config.data.model_copy(update={"cache": tmp_path})}), ignore)

    for part in (splits.train, splits.validation, splits.test):
        assert {example.classes for example in part} == {(number,) for number in range(class_count)}
    assert len(splits.train) >= 4 * config.training.batch_size


@pytest.mark.parametrize(
    ("counts", "remarks"),
    [
        ({"cat": 500, "dog": 500}, []),
        (
            {"cat": 190, "dog": 6},
            ["The classes are unbalanced: 'cat' has 190 images, 'dog' 6.", "About 39 images will"],
        ),
        (
            {"cat": 5, "dog": 1},
            ["'dog' has 1 image; each class needs at least 3", "About 1 image will be for validation"],
        ),
    ],
)
def test_what_to_know_is_in_the_file_and_on_the_screen(tmp_path: Path, counts: dict[str, int], remarks: list[str]):
    rows = [f"{label}{number}.png,{label}" for label, count in counts.items() for number in range(count)]
    (tmp_path / "data.csv").write_text("\n".join(["file,label", *rows]))
    command = ["propose", str(tmp_path / "data.csv"), "--label-column", "label", "--out", str(tmp_path / "a.yaml")]
    output = CliRunner().invoke(app, command, catch_exceptions=False).output
    comments = " ".join(line.removeprefix("# ") for line in (tmp_path / "a.yaml").read_text().splitlines())

    for remark in remarks:
        assert remark in output.replace("\n", " ")
        assert remark in comments
    is_unbalanced = "unbalanced" in "".join(remarks)

    assert ("unbalanced" in output) == is_unbalanced
    assert load_config(tmp_path / "a.yaml").training.class_weights == ("balanced" if is_unbalanced else None)


@pytest.mark.parametrize("is_installed", [True, False])
def test_the_network_is_one_whose_weights_are_installed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_installed: bool,  # noqa: FBT001  # a parameter
):
    write_folders(tmp_path / "photos", {"cat": 1, "dog": 1})
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: object() if is_installed else None)
    proposal = propose_for_folders(tmp_path / "photos")

    assert proposal.document["model"]["kind"] == ("efficientnet_lite0" if is_installed else "application")
    assert ("`make .venv/.models-ready`" in "".join(proposal.remarks)) != is_installed


def test_fewer_than_two_labels_are_refused(tmp_path: Path):
    write_folders(tmp_path / "photos", {"dog": 1})
    (tmp_path / "data.csv").write_text("file,label\na.png,dog\n")

    with pytest.raises(DataError, match="photos: expected at least two labels, found dog"):
        propose_for_folders(tmp_path / "photos")

    with pytest.raises(DataError, match="data: expected at least two labels, found none"):
        propose_for_table(tmp_path / "data.csv", "file", None)


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ("path,dog,cat\na.png,1,0\n", [], "has no column 'file', only path, dog, cat; name it with --image-column"),
        (
            "file,kind\na.png,dog\n",
            ["--label-column", "label"],
            "no column 'label', only file, kind; name it with --label",
        ),
        ("file,kind,width\na.png,dog,640\n", [], "if a column names them, give it with --label-column: kind, width"),
    ],
)
def test_a_table_with_other_columns_is_refused_with_the_option_that_names_them(
    tmp_path: Path, table: str, options: list[str], message: str
):
    (tmp_path / "data.csv").write_text(table)
    command = ["propose", str(tmp_path / "data.csv"), "--out", str(tmp_path / "a.yaml"), *options]

    assert message in str(CliRunner().invoke(app, command).exception)


def test_an_existing_file_is_named_with_what_to_do(tmp_path: Path):
    write_folders(tmp_path / "photos", {"dog": 1, "cat": 1})
    out = tmp_path / "my pets.yaml"
    command = ["propose", str(tmp_path / "photos"), "--out", str(out)]

    first, second = (CliRunner().invoke(app, command) for _ in range(2))

    assert f"next: python -m train fit '{out}'" in first.output
    assert str(second.exception) == f"{out} exists already and is kept; delete it, or write another file with --out"


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
    proposal = convert(*write_three_files(tmp_path, use_augmentation=False))
    config = write_and_load(proposal, tmp_path)

    assert config.augmentation == type(config.augmentation)()
    assert not proposal.remarks


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


@pytest.mark.parametrize("separator", ["-", "_"])
def test_the_commands_write_what_fit_reads_next(tmp_path: Path, separator: str):
    csv_path, data_config, training_config = write_three_files(tmp_path)
    names = [["csv", "path"], ["data", "config", "path"], ["training", "config", "path"]]
    paths = csv_path, data_config, training_config
    options = [f"--{separator.join(name)}={path}" for name, path in zip(names, paths, strict=True)]
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
        assert ("0.022 for all" in result.output) == ("# FastImage" in out.read_text()) == (command[0] == "convert")
