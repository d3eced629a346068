"""Labelme's files become a table to train from."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.photo_sets import noise_image
from train.config.datasets import TableData
from train.data.csv_table import read_table
from train.data.examples import DataError
from train.data.labelme import read_labelme, write_table


def write_pair(folder: Path, name: str, flags: Any, **others: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.png").write_bytes(noise_image(len(name)))
    document = {"version": "5.5.0", "flags": flags, "shapes": [], "imagePath": f"{name}.png", "imageData": None}
    (folder / f"{name}.json").write_text(json.dumps(document | others))


def test_flags_become_columns_to_train_from(tmp_path: Path):
    write_pair(tmp_path, "a", {"city": True, "trees": False})
    write_pair(tmp_path / "more", "bb", {"city": True, "trees": True})
    write_pair(tmp_path, "ccc", {"city": False, "trees": False})
    out = tmp_path / "data.csv"

    assert write_table(read_labelme(tmp_path), out) == ["city", "trees"]
    assert out.read_text().splitlines() == ["file,city,trees", "a.png,1,0", "ccc.png,0,0", "more/bb.png,1,1"]

    data = TableData(kind="csv", directory=tmp_path, file="data.csv", title="t", licence="none")
    examples = read_table(data, ("city", "trees"), "multilabel")

    assert [example.classes for example in examples] == [(0,), (), (0, 1)]


def test_a_missing_flag_is_0(tmp_path: Path):
    write_pair(tmp_path, "a", {"city": True})
    write_pair(tmp_path, "b", {"city": False, "trees": True})
    write_table(read_labelme(tmp_path), tmp_path / "data.csv")

    assert (tmp_path / "data.csv").read_text().splitlines() == ["file,city,trees", "a.png,1,0", "b.png,0,1"]


def test_images_may_be_elsewhere_and_paths_may_be_windows_paths(tmp_path: Path):
    write_pair(tmp_path / "pictures", "a", {"city": True})
    write_pair(tmp_path / "labels", "b", {"city": True}, imagePath="..\\pictures\\a.png")

    assert [image.file for image in read_labelme(tmp_path)] == ["pictures/a.png", "pictures/a.png"]


@pytest.mark.parametrize(
    ("flags", "others", "message"),
    [
        ({}, {}, "expected Labelme's imagePath and flags; start Labelme with --flags"),
        (None, {}, "expected Labelme's imagePath and flags"),
        ({"city": "yes"}, {}, "expected Labelme's imagePath and flags"),
        ({"city": True}, {"imagePath": 3}, "expected Labelme's imagePath and flags"),
        ({"city": True}, {"imagePath": "gone.png"}, "its image 'gone.png' does not exist"),
    ],
)
def test_a_file_that_is_not_labelmes_is_named(tmp_path: Path, flags: Any, others: dict[str, Any], message: str):
    write_pair(tmp_path, "good", {"city": True})
    write_pair(tmp_path, "odd", flags, **others)

    with pytest.raises(DataError) as raised:
        read_labelme(tmp_path)

    assert "1 files cannot be used" in str(raised.value)
    assert f"odd.json: {message}" in str(raised.value)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_a_file_that_is_not_json_is_named(tmp_path: Path, content: bytes):
    (tmp_path / "odd.json").write_bytes(content)

    with pytest.raises(DataError, match=r"odd\.json: expected Labelme's"):
        read_labelme(tmp_path)


def test_a_folder_without_labels_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"expected Labelme's \.json files, found none"):
        read_labelme(tmp_path)


def test_an_existing_table_is_kept(tmp_path: Path):
    write_pair(tmp_path, "a", {"city": True})
    (tmp_path / "data.csv").write_text("mine")

    with pytest.raises(FileExistsError):
        write_table(read_labelme(tmp_path), tmp_path / "data.csv")

    assert (tmp_path / "data.csv").read_text() == "mine"
