"""One's own pictures, from a configuration to splits: everything is used, told as left out, or refused."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console

from tests.support.photo_sets import picture, write_folders
from train.cli import console
from train.config.training_config import TrainingConfig
from train.data.examples import DataError, Decoded, Example, LeftOut, Splits, to_inputs
from train.data.load import load_splits

ROOT = Path(__file__).parents[4]
DIGITS = yaml.safe_load((ROOT / "train/configs/digits.yaml").read_text())
SCENES = ROOT / "../shared/data/scenes_multilabel"
WEATHER = ROOT / "../shared/data/weather4"


def ignore(_name: str, _done: int, _total: int | None):
    pass


def config_for(folder: Path, data: dict[str, Any], **changes: Any) -> TrainingConfig:
    """A configuration of the two labels cat and dog, for pictures in a folder `photos`."""
    defaults = {"directory": folder / "photos", "cache": folder / "cache", "title": "t", "licence": "none"}
    document = DIGITS | {
        "name": "pets",
        "labels": ["cat", "dog"],
        "input": {"height": 8, "width": 8},
        "data": defaults | data,
        **changes,
    }
    return TrainingConfig.model_validate(document)


def folders(folder: Path, **changes: Any) -> TrainingConfig:
    return config_for(folder, {"kind": "folders", "validation": 0.2, "test": 0.2}, **changes)


def test_folders_are_split_in_proportion_and_ready_to_learn_from(tmp_path: Path):
    write_folders(tmp_path / "photos", {"cat": 20, "dog": 10})
    config = folders(tmp_path)
    splits = load_splits(config, ignore)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [18, 6, 6]
    assert sorted(path.name.partition("-")[0] for path in (tmp_path / "cache/pets").glob("*.pixels")) == [
        "test",
        "train",
        "validation",
    ]
    inputs = to_inputs(splits.train, config.input, 2)
    assert inputs.images.shape == (18, 8, 8, 3)
    np.testing.assert_array_equal(inputs.targets.sum(axis=0), [12, 6])
    again = load_splits(config, ignore)
    assert [list(part) for part in (again.train, again.test)] == [list(splits.train), list(splits.test)]


def test_another_folder_can_be_given(tmp_path: Path):
    write_folders(tmp_path / "elsewhere", {"cat": 3, "dog": 3})
    assert len(load_splits(folders(tmp_path), ignore, tmp_path / "elsewhere").train) == 2


def test_what_cannot_be_used_is_left_out_and_told(tmp_path: Path):
    write_folders(tmp_path / "photos", {"cat": 4, "dog": 4})
    cats = tmp_path / "photos/cat"
    (cats / "notes.txt").write_text("no picture")
    (cats / "cut.jpg").write_bytes(picture(50, ".jpg")[:200])
    (cats / "copy.png").write_bytes((cats / "0.png").read_bytes())
    (cats / "both.png").write_bytes((tmp_path / "photos/dog/0.png").read_bytes())
    splits = load_splits(folders(tmp_path), ignore)
    assert {name: reason.partition(":")[0] for name, reason in splits.left_out} == {
        "cat/notes.txt": "cannot be decoded",
        "cat/cut.jpg": "cannot be decoded",
        "cat/copy.png": "is a copy of cat/0.png",
        "cat/both.png": "is the same picture as dog/0.png, of other classes",
        "dog/0.png": "is the same picture as cat/both.png, of other classes",
    }
    names = {example.name for part in (splits.train, splits.validation, splits.test) for example in part}
    assert len(names) == 13 - len(splits.left_out) - 1  # the first of two copies is in


def test_a_class_that_cannot_be_read_is_refused_with_the_reasons(tmp_path: Path):
    write_folders(tmp_path / "photos", {"cat": 4, "dog": 0})
    for number in range(12):
        (tmp_path / f"photos/dog/{number:02}.jpg").write_bytes(b"\xff\xd8\xff broken %d" % number)
    with pytest.raises(DataError) as raised:
        load_splits(folders(tmp_path), ignore)
    message = str(raised.value)
    assert "class 'dog': expected pictures to learn from, found none among the 0 that can be used" in message
    assert len(re.findall(r"dog/\d\d\.jpg cannot be decoded", message)) == 10
    assert message.endswith("and 2 more")


def test_pictures_of_which_none_can_be_read_are_refused(tmp_path: Path):
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "a.jpg").write_bytes(name.encode())
    with pytest.raises(DataError, match="class 'cat': expected pictures to learn from, found none"):
        load_splits(folders(tmp_path), ignore)


def test_too_few_for_three_parts_are_refused(tmp_path: Path):
    write_folders(tmp_path / "photos", {"cat": 1, "dog": 1})
    config = config_for(tmp_path, {"kind": "folders", "validation": 0.1, "test": 0.1})
    with pytest.raises(DataError, match=r"data\.validation: expected a picture at least, found none"):
        load_splits(config, ignore)


def test_a_faulty_source_is_refused_before_anything_is_written(tmp_path: Path):
    write_folders(tmp_path / "photos", {"cat": 4})
    with pytest.raises(DataError, match="dog: expected pictures of the class 'dog', found none"):
        load_splits(folders(tmp_path), ignore)
    (tmp_path / "photos/labels.csv").write_text("file,cat,dog\ncat/0.png,1,1\ncat/9.png,1,0\n")
    table = config_for(tmp_path, {"kind": "csv", "file": "labels.csv"}, task="multilabel")
    with pytest.raises(DataError, match=r"line 3: file: 'cat/9\.png' is no file in"):
        load_splits(table, ignore)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("share", [0, 0.5, -0.1, "many"])
def test_a_share_is_above_nothing_and_below_a_half(tmp_path: Path, share: Any):
    with pytest.raises(ValueError, match=r"data\.folders\.test"):
        config_for(tmp_path, {"kind": "folders", "test": share})


def test_counts_and_what_was_left_out_are_printed(monkeypatch: pytest.MonkeyPatch):
    printed = Console(width=100, record=True, quiet=False)
    monkeypatch.setattr(console, "console", printed)
    many = [Example(b"", (number % 2,)) for number in range(7)]
    left_out = [LeftOut(f"{number}.jpg", "is a copy of a.jpg") for number in range(25)]
    console.print_splits(Splits(many, many[:2], many[:1], {"jpeg": many[:3]}, left_out), ("cat", "[b]dog"))
    shown = [re.findall(r"[\w.\[\]]+", line) for line in printed.export_text().splitlines()]
    assert ["class", "train", "validation", "test", "jpeg"] in shown
    assert ["cat", "4", "1", "1", "2"] in shown
    assert ["[b]dog", "3", "1", "0", "1"] in shown
    assert ["images", "7", "2", "1", "3"] in shown
    assert ["left", "out", "25"] in shown
    assert ["19.jpg", "is", "a", "copy", "of", "a.jpg"] in shown
    assert shown[-1] == ["and", "5", "more"]


@pytest.mark.skipif(not WEATHER.is_dir(), reason="the weather photos are not beside the repository")
def test_real_photos_in_folders_can_all_be_used(tmp_path: Path):
    labels = ["cloudy", "rain", "shine", "sunrise"]
    config = folders(tmp_path, labels=labels)
    splits = load_splits(config, ignore, WEATHER)
    assert splits.left_out == []
    counted = to_inputs(splits.test, config.input, 4).targets.sum(axis=0)
    np.testing.assert_allclose(counted, np.array([181, 108, 153, 198]) * 0.2, atol=1)
    assert isinstance(splits.test, Decoded)


@pytest.mark.skipif(not SCENES.is_dir(), reason="the scenes are not beside the repository")
def test_real_photos_of_many_labels_are_split_in_proportion(tmp_path: Path):
    data = {"kind": "csv", "file": "scenes_multilabel/labels.csv", "image_column": "path", "test": 0.2}
    config = config_for(tmp_path, data, labels=["city", "beach", "sunset", "trees"], task="multilabel")
    splits = load_splits(config, ignore, SCENES.parent)
    counted = to_inputs(splits.test, config.input, 4).targets.sum(axis=0)
    np.testing.assert_allclose(counted, np.array([24, 139, 119, 63]) * 0.2, atol=2)
