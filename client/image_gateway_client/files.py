"""Find the images that the arguments of the command line name."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from image_gateway_client.images import URL

STDIN = "-"
SUFFIXES = frozenset(
    {".avif", ".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)
"""Suffixes of the files in a folder that are sent. The gateway itself looks only at the content."""


@dataclass(frozen=True, slots=True)
class FoundImages:
    """The images that the arguments name.

    Attributes:
        images: Paths, URLs and `-`, each once, in order; also each folder that cannot be listed.
        empty_folders: Folders that contain no image.
    """

    images: list[str]
    empty_folders: list[str]


def find_images(arguments: Iterable[str]) -> FoundImages:
    """List the images that the arguments name: files, URLs and `-` as they are, and all images below each folder.

    Hidden files and folders below a folder are skipped, and links to folders are not followed.
    """
    images: dict[str, None] = {}
    empty_folders = []
    for argument in arguments:
        if argument == STDIN or URL.match(argument) or not os.path.isdir(argument):  # noqa: PTH112  # Path.is_dir raises without permission
            images[argument] = None
        elif paths := list(_walk(argument)):
            images.update(dict.fromkeys(paths))
        else:
            empty_folders.append(argument)
    return FoundImages(list(images), empty_folders)


def _walk(folder: str) -> Iterator[str]:
    unreadable: list[str] = []
    for parent, folders, files in os.walk(folder, onerror=lambda error: unreadable.append(error.filename)):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield str(Path(parent, name))
    yield from unreadable


def resolve_stdin(image: str, stdin: BinaryIO) -> str | BinaryIO:
    """Return the standard input for `-`, and any other image unchanged."""
    return stdin if image == STDIN else image
