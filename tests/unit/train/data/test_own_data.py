"""Your own images, from a configuration to splits: each is used, reported as skipped, or refused."""

import hashlib
import re
import shutil
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from rich.console import Console

from tests.support.photo_sets import noise_image, write_folders
from train.cli import console
from train.config.training_config import TrainingConfig
from train.data.contents import SETTLED_NS, read_contents
from train.data.examples import DataError, DecodedExamples, Example, Skipped, Splits, to_inputs
from train.data.folders import list_images
from train.data.load import load_splits

ROOT = Path(__file__).parents[4]
DIGITS = yaml.safe_load((ROOT / "train/configs/digits.yaml").read_text())
SCENES = ROOT / "../shared/data/scenes_multilabel"
WEATHER = ROOT / "../shared/data/weather4"


def ignore(_name: str, _done: int, _total: int | None):
    pass


def config_for(folder: Path, data: dict[str, Any], **changes: Any) -> TrainingConfig:
    """Return a configuration with the labels cat and dog for images in a folder `photos`."""
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


def test_folders_are_split_in_proportion_and_ready_for_training(tmp_path: Path):
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


def test_another_folder_can_be_loaded(tmp_path: Path):
    write_folders(tmp_path / "elsewhere", {"cat": 3, "dog": 3})
    assert len(load_splits(folders(tmp_path), ignore, tmp_path / "elsewhere").train) == 2


def test_unusable_files_are_skipped_and_reported(tmp_path: Path):
    write_folders(tmp_path / "photos", {"cat": 4, "dog": 4})
    cats = tmp_path / "photos/cat"
    (cats / "notes.txt").write_text("not an image")
    (cats / "cut.jpg").write_bytes(noise_image(50, ".jpg")[:200])
    (cats / "copy.png").write_bytes((cats / "0.png").read_bytes())
    (cats / "both.png").write_bytes((tmp_path / "photos/dog/0.png").read_bytes())
    splits = load_splits(folders(tmp_path), ignore)

    assert {name: reason.partition(":")[0] for name, reason in splits.skipped} == {
        "cat/cut.jpg": "cannot be decoded",
        "cat/copy.png": "is a copy of cat/0.png",
        "cat/both.png": "is the same image as dog/0.png, but has other classes",
        "dog/0.png": "is the same image as cat/both.png, but has other classes",
    }

    names = {example.name for part in (splits.train, splits.validation, splits.test) for example in part}

    assert len(names) == 12 - len(splits.skipped) - 1  # the first of two copies is used
    assert splits.notes == ["Ignored, since they are not images: cat/notes.txt"]


def test_near_duplicates_are_kept_in_one_part_and_counted(tmp_path: Path):
    write_folders(tmp_path / "photos", {"cat": 20, "dog": 20})
    for name in ("cat", "dog"):
        for number in range(10):
            path = tmp_path / f"photos/{name}/{number}.png"
            cv2.imwrite(str(path.with_suffix(".bmp")), cv2.resize(cv2.imread(str(path)), (64, 48)))
    splits = load_splits(folders(tmp_path), ignore)
    parts = [{example.name for example in part} for part in (splits.train, splits.validation, splits.test)]

    assert len(splits.near_duplicates) == 20
    for group in splits.near_duplicates:
        assert any({example.name for example in group} <= part for part in parts)
    assert "40 images are near-duplicates: 20 groups, each kept in one part" in splits.notes[0]
    assert [len(part) for part in parts] == [36, 12, 12]

    ignoring = config_for(tmp_path, {"kind": "folders", "near_duplicates": "ignore"})

    assert load_splits(ignoring, ignore).near_duplicates == []


def test_images_that_all_look_alike_are_split_one_by_one_and_counted(tmp_path: Path):
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(10):
            pixels = np.full((8, 8, 3), 100 * (name == "cat") + number, np.uint8)
            cv2.imwrite(str(tmp_path / f"photos/{name}/{number}.png"), pixels)
    splits = load_splits(folders(tmp_path), ignore)

    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [12, 4, 4]
    assert splits.near_duplicates == []
    assert "20 images look alike but are too large a share of their classes" in splits.notes[0]


def test_a_later_load_reads_no_unchanged_file(tmp_path: Path):
    write_folders(tmp_path / "photos", {"cat": 4, "dog": 4})
    later_ns = time.time_ns() + 2 * SETTLED_NS
    examples, _ = list_images(folders(tmp_path).data, ("cat", "dog"))
    memory = tmp_path / "cache/pets/contents.json"
    contents = read_contents(examples, memory, ignore, lambda: later_ns)
    steps = []
    splits = load_splits(folders(tmp_path), lambda name, *_: steps.append(name))

    assert {content.sha256 for content in contents} == {
        hashlib.sha256(example.data).hexdigest()
        for part in (splits.train, *splits.tests.values(), splits.validation)
        for example in part
    }
    assert "reading images" not in steps


def test_the_checksums_of_images_are_known_without_reading_them_again(tmp_path: Path):
    write_folders(tmp_path / "photos", {"cat": 4, "dog": 4})
    splits = load_splits(folders(tmp_path), ignore)
    checksums = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "photos").rglob("*.png")}

    shutil.rmtree(tmp_path / "photos")

    assert {image.sha256 for part in (splits.train, splits.validation, splits.test) for image in part} == checksums


def test_a_class_without_decodable_images_is_refused_with_the_reasons(tmp_path: Path):
    write_folders(tmp_path / "photos", {"cat": 4, "dog": 0})
    for number in range(12):
        (tmp_path / f"photos/dog/{number:02}.jpg").write_bytes(b"\xff\xd8\xff broken %d" % number)

    with pytest.raises(DataError) as raised:
        load_splits(folders(tmp_path), ignore)

    message = str(raised.value)

    assert "class 'dog': expected images to train on, found none among its 0 usable ones" in message
    assert len(re.findall(r"dog/\d\d\.jpg cannot be decoded", message)) == 10
    assert message.endswith("and 2 more")


def test_a_data_set_without_decodable_images_is_refused(tmp_path: Path):
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "a.jpg").write_bytes(name.encode())

    with pytest.raises(DataError, match="class 'cat': expected images to train on, found none"):
        load_splits(folders(tmp_path), ignore)


def test_too_few_images_for_three_parts_are_refused(tmp_path: Path):
    write_folders(tmp_path / "photos", {"cat": 1, "dog": 1})
    config = config_for(tmp_path, {"kind": "folders", "validation": 0.1, "test": 0.1})

    with pytest.raises(DataError, match=r"data\.validation: expected at least one image, found none"):
        load_splits(config, ignore)


def test_an_unusable_source_is_refused_before_anything_is_written(tmp_path: Path):
    write_folders(tmp_path / "photos", {"cat": 4})

    with pytest.raises(DataError, match="dog: expected images of the class 'dog', found none"):
        load_splits(folders(tmp_path), ignore)

    (tmp_path / "photos/labels.csv").write_text("file,cat,dog\ncat/0.png,1,1\ncat/9.png,1,0\n")
    table = config_for(tmp_path, {"kind": "csv", "file": "labels.csv"}, task="multilabel")

    with pytest.raises(DataError, match=r"line 3: file: 'cat/9\.png' is not a file in"):
        load_splits(table, ignore)

    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("share", [0, 0.5, -0.1, "many"])
def test_a_share_must_be_between_0_and_a_half(tmp_path: Path, share: Any):
    with pytest.raises(ValueError, match=r"data\.folders\.test"):
        config_for(tmp_path, {"kind": "folders", "test": share})


def test_counts_and_skipped_images_are_printed(monkeypatch: pytest.MonkeyPatch):
    terminal = Console(width=100, record=True, quiet=False)
    monkeypatch.setattr(console, "console", terminal)
    many = [Example(b"", (number % 2,)) for number in range(7)]
    skipped = [Skipped(f"{number}.jpg", "is a copy of a.jpg") for number in range(25)]
    console.print_splits(Splits(many, many[:2], many[:1], {"jpeg": many[:3]}, skipped), ("cat", "[b]dog"))
    rows = [re.findall(r"[\w.\[\]]+", line) for line in terminal.export_text().splitlines()]

    assert ["class", "train", "validation", "test", "jpeg"] in rows
    assert ["cat", "4", "1", "1", "2"] in rows
    assert ["[b]dog", "3", "1", "0", "1"] in rows
    assert ["images", "7", "2", "1", "3"] in rows
    assert ["skipped", "25"] in rows
    assert ["19.jpg", "is", "a", "copy", "of", "a.jpg"] in rows
    assert rows[-1] == ["and", "5", "more"]


@pytest.mark.skipif(not WEATHER.is_dir(), reason="the weather photos are not beside the repository")
def test_real_photos_in_folders_can_all_be_used(tmp_path: Path):
    labels = ["cloudy", "rain", "shine", "sunrise"]
    config = folders(tmp_path, labels=labels)
    splits = load_splits(config, ignore, WEATHER)

    assert splits.skipped == []

    counts = to_inputs(splits.test, config.input, 4).targets.sum(axis=0)

    np.testing.assert_allclose(counts, np.array([181, 108, 153, 198]) * 0.2, atol=1)
    assert isinstance(splits.test, DecodedExamples)


@pytest.mark.skipif(not SCENES.is_dir(), reason="the scenes are not beside the repository")
def test_real_photos_of_many_labels_are_split_in_proportion(tmp_path: Path):
    data = {"kind": "csv", "file": "scenes_multilabel/labels.csv", "image_column": "path", "test": 0.2}
    config = config_for(tmp_path, data, labels=["city", "beach", "sunset", "trees"], task="multilabel")
    splits = load_splits(config, ignore, SCENES.parent)
    counts = to_inputs(splits.test, config.input, 4).targets.sum(axis=0)

    np.testing.assert_allclose(counts, np.array([24, 139, 119, 63]) * 0.2, atol=2)
