"""Arguments of the command line to the images they name."""

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
"""Of the files in a folder, those that may be pictures the gateway accepts. It looks at the content alone."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the arguments name.

    Attributes:
        images: Paths, URLs and `-`, each once, in order; a folder that cannot be listed stands for itself.
        empty: Folders in which there is no picture.
    """

    images: list[str]
    empty: list[str]


def find(arguments: Iterable[str]) -> Found:
    """List the images that the arguments name: files, URLs and `-` as they are, folders with all pictures below.

    Hidden files and folders in them are left out, links to folders are not followed.
    """
    images: dict[str, None] = {}
    empty = []
    for argument in arguments:
        if argument == STDIN or URL.match(argument) or not os.path.isdir(argument):  # noqa: PTH112  # Path.is_dir raises where it may not look
            images[argument] = None
        elif below := list(_pictures(argument)):
            images.update(dict.fromkeys(below))
        else:
            empty.append(argument)
    return Found(list(images), empty)


def _pictures(folder: str) -> Iterator[str]:
    closed: list[str] = []
    for parent, folders, files in os.walk(folder, onerror=lambda error: closed.append(error.filename)):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield str(Path(parent, name))
    yield from closed


def opened(image: str, stdin: BinaryIO) -> str | BinaryIO:
    """Give what the client takes for an image on the command line."""
    return stdin if image == STDIN else image
