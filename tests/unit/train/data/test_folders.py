"""A folder for each class is listed or refused."""

import errno
import os
from pathlib import Path

import pytest

from tests.support.photo_sets import write_folders
from train.config.datasets import FolderData
from train.data.examples import DataError
from train.data.folders import list_images


def folder_data(directory: Path) -> FolderData:
    return FolderData(kind="folders", directory=directory, title="t", licence="none")


def test_images_have_the_class_of_their_folder(tmp_path: Path):
    write_folders(tmp_path, {"dog": 1, "cat": 2})
    examples, _ = list_images(folder_data(tmp_path), ("cat", "dog"))

    assert [(example.name, example.classes) for example in examples] == [
        ("cat/0.png", (0,)),
        ("cat/1.png", (0,)),
        ("dog/0.png", (1,)),
    ]
    assert examples[2].data == (tmp_path / "dog/0.png").read_bytes()


def test_nested_folders_count_and_hidden_or_stray_files_do_not(tmp_path: Path):
    write_folders(tmp_path, {"cat/at home": 1, "cat/.thumbnails": 1, "dog": 1, ".git": 1})
    (tmp_path / "README.txt").write_text("mine")
    (tmp_path / "dog/.DS_Store").write_bytes(b"x")
    examples, _ = list_images(folder_data(tmp_path), ("cat", "dog"))

    assert [example.name for example in examples] == ["cat/at home/0.png", "dog/0.png"]


def test_files_that_are_not_images_are_listed_apart(tmp_path: Path):
    write_folders(tmp_path, {"cat": 1, "dog": 1})
    (tmp_path / "dog/Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (tmp_path / "dog/broken.jpg").write_bytes(b"not an image")
    (tmp_path / "dog/0.png").rename(tmp_path / "dog/photo")
    examples, other_files = list_images(folder_data(tmp_path), ("cat", "dog"))

    assert [example.name for example in examples] == ["cat/0.png", "dog/broken.jpg", "dog/photo"]
    assert other_files == ["dog/Thumbs.db"]


@pytest.mark.parametrize("empty", [True, False])
def test_a_class_without_images_is_named(tmp_path: Path, empty: bool):  # noqa: FBT001  # a parameter
    write_folders(tmp_path, {"cat": 1} | ({"dog": 0} if empty else {}))

    with pytest.raises(DataError, match="dog: expected images of the class 'dog', found none"):
        list_images(folder_data(tmp_path), ("cat", "dog"))


def test_a_folder_that_is_not_a_class_is_named_with_the_nearest_label(tmp_path: Path):
    write_folders(tmp_path, {"cat": 1, "dog": 1, "dogs": 1})

    with pytest.raises(DataError, match="'dogs' is not one of the configuration's labels; the nearest is 'dog'"):
        list_images(folder_data(tmp_path), ("cat", "dog"))


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_folders(tmp_path, {"cat": 1, "dog/at home": 1})
    scan = os.scandir

    def deny(path: str):
        if str(path).endswith("at home"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", deny)  # no permission is denied to root, which may run the tests

    with pytest.raises(PermissionError, match="dog/at home"):
        list_images(folder_data(tmp_path), ("cat", "dog"))


def test_a_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(DataError, match="absent: expected a folder with a folder of images for each class"):
        list_images(folder_data(tmp_path / "absent"), ("cat", "dog"))
