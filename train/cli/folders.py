"""Folders that options name, checked before a command begins its work."""

import tempfile
from pathlib import Path

from train.errors import TrainError

SUFFIXES = (".avif", ".bmp", ".gif", ".heic", ".heif", ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp")


def find_images(folder: Path) -> list[Path]:
    """Return the image files of a folder and its subfolders in the order of their names.

    Raises:
        TrainError: There is none.
    """
    images = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not images:
        state = "contains no images" if folder.is_dir() else "is not a folder"
        raise TrainError(f"--pictures {folder} {state}; expected a folder with files that end in {', '.join(SUFFIXES)}")
    return images


def check_folders(pictures: Path, models: Path) -> list[Path]:
    """Check the folders of the options before the work begins, and return the images in `pictures`.

    Raises:
        TrainError: There is no image, or `models` cannot be written.
    """
    images = find_images(pictures)
    check_models(models)
    return images


def check_models(folder: Path) -> None:
    """Create the folder of the served models if it is missing.

    Raises:
        TrainError: It cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=folder):
            pass
    except OSError as error:
        raise TrainError(
            f"--models {folder} cannot be written ({error.strerror}); give a folder in which you may create files"
        ) from error
