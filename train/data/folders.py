"""Images in a folder for each class, such as `cat/photo.jpg`."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from train.config.datasets import FolderData
from train.data.examples import DataError, Example


def class_folders(directory: Path) -> list[Path]:
    """Return the visible folders in a folder, sorted by name.

    Raises:
        DataError: The folder does not exist.
    """
    if not directory.is_dir():
        raise DataError(f"{directory}: expected a folder with a folder of images for each class, found none")
    return sorted(path for path in directory.iterdir() if path.is_dir() and not path.name.startswith("."))


def list_images(data: FolderData, labels: Sequence[str]) -> list[Example]:
    """Return the images of all classes, sorted by class and path.

    Raises:
        DataError: The folders differ from the labels, or a folder is empty.
        OSError: A folder cannot be read.
    """
    folders = {folder.name: folder for folder in class_folders(data.directory)}
    for name, folder in folders.items():
        if name not in labels:
            nearest = difflib.get_close_matches(name, labels, n=1, cutoff=0)[0]
            raise DataError(f"{folder}: '{name}' is not one of the configuration's labels; the nearest is '{nearest}'")
    examples = []
    for class_id, label in enumerate(labels):
        paths = _list_files(folders[label]) if label in folders else []
        if not paths:
            raise DataError(f"{data.directory / label}: expected images of the class '{label}', found none")
        examples += [Example(path, (class_id,), str(path.relative_to(data.directory))) for path in paths]
    return examples


def _list_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
