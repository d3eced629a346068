"""CSV files of every accepted layout are read, and others are refused."""

from pathlib import Path
from typing import Any

import pytest

from train.config.datasets import TableData
from train.data.csv_table import read_table
from train.data.examples import DataError, Example
from vision.card import Task

LABELS = ("city", "beach", "sunset")


def read(folder: Path, text: str | bytes, task: Task = "multilabel", **options: Any) -> list[Example]:
    """Read a table beside the images a.png, b.png and c.png."""
    for name in "abc":
        (folder / f"{name}.png").write_bytes(name.encode())
    (folder / "data.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    data = TableData(kind="csv", directory=folder, file="data.csv", title="t", licence="none", **options)
    return read_table(data, LABELS, task)


def test_a_column_for_each_class_of_a_multilabel_set(tmp_path: Path):
    examples = read(tmp_path, "file,sunset,city,beach,who\na.png,1,0,1,x\nb.png,0,0,0,\nc.png,1.0,True,FALSE,y\n")

    assert [example.classes for example in examples] == [(1, 2), (), (0, 2)]
    assert [example.name for example in examples] == ["a.png", "b.png", "c.png"]
    assert examples[1].data == b"b"


def test_a_column_for_each_class_of_a_multiclass_set(tmp_path: Path):
    examples = read(tmp_path, "file,city,beach,sunset\na.png,0,1,0\nb.png,1,0,0\n", "multiclass")
    assert [example.classes for example in examples] == [(1,), (0,)]


def test_one_column_of_labels(tmp_path: Path):
    text = "photo,label\na.png,beach\nb.png, city \n"
    examples = read(tmp_path, text, "multiclass", image_column="photo", label_column="label")

    assert [example.classes for example in examples] == [(1,), (0,)]


@pytest.mark.parametrize("separator", [";", "|"])
def test_one_column_of_several_labels(tmp_path: Path, separator: str):
    text = f"file,labels\na.png,sunset{separator} city\nb.png,\nc.png,beach{separator}beach\n"
    examples = read(tmp_path, text, label_column="labels", separator=separator)

    assert [example.classes for example in examples] == [(0, 2), (), (1,)]


def test_a_byte_order_mark_is_skipped(tmp_path: Path):
    examples = read(tmp_path, b"\xef\xbb\xbffile,label\r\na.png,city\r\n", "multiclass", label_column="label")
    assert [example.classes for example in examples] == [(0,)]


def test_paths_are_relative_to_the_images_folder_and_the_table_may_be_elsewhere(tmp_path: Path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.png").write_bytes(b"a")
    (tmp_path / "labels.csv").write_text("file,label\na.png,beach\n")
    data = TableData(
        kind="csv",
        directory=tmp_path / "photos",
        file="../labels.csv",
        label_column="label",
        title="t",
        licence="none",
    )

    assert [example.data for example in read_table(data, LABELS, "multiclass")] == [b"a"]


def test_a_missing_column_is_named_with_the_existing_ones(tmp_path: Path):
    with pytest.raises(DataError) as raised:
        read(tmp_path, "file,labels\na.png,city\n", "multiclass", label_column="label")

    assert "data.csv has no column 'label', only file, labels; did you mean 'labels'?" in str(raised.value)
    with pytest.raises(DataError, match="no column 'sunset', only file, city, beach"):
        read(tmp_path, "file,city,beach\na.png,1,0\n")


@pytest.mark.parametrize(
    ("row", "task", "message"),
    [
        ("absent.png,0,1,0", "multilabel", "file: 'absent.png' is not a file in"),
        (",0,1,0", "multilabel", "file: '' is not a file in"),
        ("a.png,0,yes,0", "multilabel", "beach: expected 0 or 1, found 'yes'"),
        ("a.png,0,1", "multilabel", "sunset: expected 0 or 1, found ''"),
        ("a.png,1,1,0", "multiclass", "expected exactly one class, found 2; set task: multilabel for any number"),
        ("a.png,0,0,0", "multiclass", "expected exactly one class, found 0"),
    ],
)
def test_an_unusable_row_is_reported_with_its_line(tmp_path: Path, row: str, task: Task, message: str):
    with pytest.raises(DataError) as raised:
        read(tmp_path, f"file,city,beach,sunset\nb.png,1,0,0\n{row}\n", task)

    assert "data.csv: 1 of 2 rows cannot be used" in str(raised.value)
    assert f"line 3: {message}" in str(raised.value)


def test_an_unknown_label_is_reported_with_the_nearest_one(tmp_path: Path):
    with pytest.raises(
        DataError, match="line 2: 'beech' is not one of the configuration's labels; the nearest is 'beach'"
    ):
        read(tmp_path, "file,label\na.png,beech\n", "multiclass", label_column="label")


def test_many_problems_are_counted_and_the_first_listed(tmp_path: Path):
    rows = "".join(f"{number}.jpg,1,0,0\n" for number in range(30))

    with pytest.raises(DataError) as raised:
        read(tmp_path, f"file,city,beach,sunset\na.png,1,0,0\n{rows}")

    lines = str(raised.value).splitlines()

    assert "30 of 31 rows" in lines[0]
    assert len(lines) == 12
    assert lines[-1] == "  and 20 more"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column 'file', only nothing"),
        (b"file,city,beach,sunset\n", "expected a row for each image, found none"),
        (b"file,city,beach,sunset\n\xff\xfe.png,1,0,0\n", "expected CSV in UTF-8"),
        (b'file,city,beach,sunset\n"a.png,1,0,0\n', "expected CSV in UTF-8"),
    ],
)
def test_a_file_that_is_not_a_table_is_refused(tmp_path: Path, content: bytes, message: str):
    with pytest.raises(DataError, match=message):
        read(tmp_path, content)


def test_a_missing_table_is_named(tmp_path: Path):
    data = TableData(kind="csv", directory=tmp_path, file="none.csv", title="t", licence="none")

    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        read_table(data, LABELS, "multilabel")
