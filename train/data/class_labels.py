"""Classes by their labels, as people write them in tables and as names of folders."""

from collections.abc import Sequence
from pathlib import Path

from train.config.config_base import find_nearest
from train.data.examples import DataError


def find_class(label: str, labels: Sequence[str], owner: str) -> int:
    """Return the number of a class.

    Args:
        label: Its label.
        labels: The labels of all classes.
        owner: What has these labels, for messages: `configuration` or `card`.

    Raises:
        DataError: No class has this label; the message names the nearest one.
    """
    if label not in labels:
        raise DataError(f"'{label}' is not one of the {owner}'s labels; the nearest is '{find_nearest(label, labels)}'")
    return labels.index(label)


def find_folder_class(folder: Path, labels: Sequence[str], owner: str) -> int:
    """Return the number of the class whose label is the name of a folder, see `find_class`."""
    try:
        return find_class(folder.name, labels, owner)
    except DataError as error:
        raise DataError(f"{folder}: {error}") from error
