"""Pictures in a folder for each class, `class/photo.jpg`."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from train.config.datasets import FolderData
from train.data.examples import DataError, Example


def class_folders(directory: Path) -> list[Path]:
    """Return the folders in a folder, by name.

    Raises:
        DataError: There is no such folder.
    """
    if not directory.is_dir():
        raise DataError(f"{directory}: expected a folder with a folder of pictures for each class, found none")
    return sorted(path for path in directory.iterdir() if path.is_dir() and not path.name.startswith("."))


def list_pictures(data: FolderData, labels: Sequence[str]) -> list[Example]:
    """Return the pictures of all classes, by class and path.

    Raises:
        DataError: The folders are not those that the labels say, or one is empty.
        OSError: A folder cannot be read.
    """
    folders = {folder.name: folder for folder in class_folders(data.directory)}
    for name, folder in folders.items():
        if name not in labels:
            raise DataError(f"{folder}: '{name}' is none of the configuration's labels; {_nearest(name, labels)}")
    examples = []
    for class_id, label in enumerate(labels):
        paths = _files(folders[label]) if label in folders else []
        if not paths:
            raise DataError(f"{data.directory / label}: expected pictures of the class '{label}', found none")
        examples += [Example(path, (class_id,), str(path.relative_to(data.directory))) for path in paths]
    return examples


def _nearest(name: str, labels: Sequence[str]) -> str:
    return f"the nearest is '{difflib.get_close_matches(name, labels, n=1, cutoff=0)[0]}'"


def _files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
