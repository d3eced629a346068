"""Images in a folder for each class, such as `cat/photo.jpg`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from image_gateway_client.files import SUFFIXES
from train.config.datasets import FolderData
from train.data.class_labels import find_folder_class
from train.data.examples import DataError, Example
from vision.decode import sniff

SNIFFED_BYTES = 512


class Listing(NamedTuple):
    """Files of a data set: images with their classes, and the names of the others."""

    examples: list[Example]
    other_files: list[str]


def check_folder(path: Path, content: str) -> None:
    """Check that a folder exists.

    Args:
        path: The folder.
        content: What it is expected to hold, for messages: `images`.

    Raises:
        DataError: There is no folder, or a file of this name.
    """
    if not path.is_dir():
        problem = f"{path} is a file" if path.exists() else f"there is no folder {path}"
        raise DataError(f"{problem}; expected a folder of {content}")


def class_folders(directory: Path) -> list[Path]:
    """Return the visible folders in a folder, sorted by name.

    Raises:
        DataError: The folder does not exist.
    """
    if not directory.is_dir():
        raise DataError(f"{directory}: expected a folder with a folder of images for each class, found none")
    return sorted(path for path in directory.iterdir() if path.is_dir() and not path.name.startswith("."))


def list_images(data: FolderData, labels: Sequence[str]) -> Listing:
    """Return the images of all classes, sorted by class and path.

    Raises:
        DataError: The folders differ from the labels, or hold no image.
        OSError: A folder cannot be read.
    """
    folders = {folder.name: folder for folder in class_folders(data.directory)}
    for folder in folders.values():
        find_folder_class(folder, labels, "configuration")
    listing = Listing([], [])
    for class_id, label in enumerate(labels):
        files = list_files(folders[label]) if label in folders else []
        images = [path for path in files if is_image(path)]
        if not images:
            raise DataError(f"{data.directory / label}: expected images of the class '{label}', found none")
        listing.examples.extend(Example(path, (class_id,), str(path.relative_to(data.directory))) for path in images)
        listing.other_files.extend(sorted(str(path.relative_to(data.directory)) for path in {*files} - {*images}))
    return listing


def list_files(folder: Path) -> list[Path]:
    """Return the files in and below a folder, sorted; none that is hidden or in a hidden folder.

    Raises:
        OSError: A folder cannot be read, whose images would be missing otherwise.
    """

    def fail(error: OSError) -> None:
        raise error

    files: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(parent, name) for name in names if not name.startswith("."))
        files += (path for path in paths if path.is_file())
    return sorted(files)


def is_image(path: Path) -> bool:
    """Return whether a file has the suffix of an image, or begins like one; a damaged image may lack one of them."""
    if path.suffix.lower() in SUFFIXES:
        return True
    with path.open("rb") as file:
        return sniff(file.read(SNIFFED_BYTES)) is not None
