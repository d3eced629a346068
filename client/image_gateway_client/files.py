"""Find the images that the arguments of the command line name."""

import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from image_gateway_client.images import URL

STDIN = "-"
DESCRIPTORS = ("/dev/fd/", "/dev/stdin", "/proc/")
"""How the names of open files begin, such as /dev/stdin."""
SUFFIXES = frozenset(
    ".avif .bmp .dib .gif .heic .heif .hif .jfif .jpe .jpeg .jpg .png .tif .tiff .webp".split()  # noqa: SIM905  # one line
)
"""Suffixes of the files in a folder that are sent. The gateway itself looks only at the content."""
PLAIN_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")
OTHER_NAMES = "other names"
LINKED_FOLDERS = "linked folders"
SPECIAL = "pipes or devices"
MAX_KINDS = 5


@dataclass(frozen=True, slots=True)
class FoundImages:
    """The images that the arguments name.

    Attributes:
        images: Paths, URLs and `-`, each once, in order; also each folder that cannot be listed.
        empty_folders: Folders that contain no image.
        left_out: Number of other files in the folders, by their suffix or kind.
        linked_folders: Number of links to folders in the folders, which are not followed.
    """

    images: list[str]
    empty_folders: list[str]
    left_out: Mapping[str, int]
    linked_folders: int = 0


def find_images(arguments: Iterable[str]) -> FoundImages:
    """List the images that the arguments name: files, URLs and `-` as they are, and all images below each folder.

    Hidden files and folders below a folder are skipped. Links to folders there, which may lead back, are not followed
    but counted, as are files that are left out because of their suffix or because they are pipes or devices.
    """
    images: dict[str, None] = {}
    empty_folders = []
    left_out: Counter[str] = Counter()
    for argument in arguments:
        if argument == STDIN or URL.match(argument) or not os.path.isdir(argument):  # noqa: PTH112  # Path.is_dir raises without permission
            images[argument] = None
        elif paths := list(_walk(argument, left_out)):
            images.update(dict.fromkeys(paths))
        else:
            empty_folders.append(argument)
    linked_folders = left_out.pop(LINKED_FOLDERS, 0)
    return FoundImages(list(images), empty_folders, left_out, linked_folders)


def describe_left_out(left_out: Mapping[str, int], linked_folders: int = 0) -> str:
    """Return such as `3 other files left out (.txt 2, .mov 1), 1 linked folder not searched`; empty without any.

    The kinds of files are named from the most frequent on.
    """
    parts = []
    if total := sum(left_out.values()):
        kinds = [f"{kind} {count}" for kind, count in Counter(left_out).most_common(MAX_KINDS)]
        more = ["others"] if len(left_out) > MAX_KINDS else []
        parts.append(f"{total} other file{'s' if total > 1 else ''} left out ({', '.join(kinds + more)})")
    if linked_folders:
        parts.append(f"{linked_folders} linked folder{'s' if linked_folders > 1 else ''} not searched")
    return ", ".join(parts)


def _walk(folder: str, left_out: Counter[str]) -> Iterator[str]:
    unreadable: list[str] = []
    for parent, folders, files in os.walk(folder, onerror=lambda error: unreadable.append(error.filename)):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        left_out[LINKED_FOLDERS] += sum(Path(parent, name).is_symlink() for name in folders)
        for name in sorted(files):
            if name.startswith("."):
                continue
            path, suffix = str(Path(parent, name)), Path(name).suffix.lower()
            if suffix not in SUFFIXES:
                left_out[suffix if PLAIN_SUFFIX.fullmatch(suffix) else OTHER_NAMES] += 1
            elif _is_special(path):
                left_out[SPECIAL] += 1
            else:
                yield path
    yield from unreadable


def _is_special(path: str) -> bool:
    """Return whether reading a file could wait for ever, or never end; a link that leads nowhere is a problem later."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116  # as above
    except (OSError, ValueError):
        return False


def is_stream(image: str) -> bool:
    """Return whether the same name may stand for another image next time: the standard input, a pipe or a device."""
    return image == STDIN or image.startswith(DESCRIPTORS) or _is_special(image)


def resolve_stdin(image: str) -> str | BinaryIO:
    """Return the standard input for `-`, and any other image unchanged."""
    return sys.stdin.buffer if image == STDIN else image
