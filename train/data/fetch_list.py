"""Downloads the images that a CSV lists by URL and checksum."""

import hashlib
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from train.data.csv_table import read_rows
from train.data.download import DownloadError, download
from train.data.examples import DataError, format_problems

SHA256 = re.compile("[0-9a-f]{64}")


class ListedImage(NamedTuple):
    """An image to fetch; `file` is its path relative to the target folder."""

    file: PurePosixPath
    url: str
    sha256: str


def read_list(path: Path) -> list[ListedImage]:
    """Read a CSV with the columns `file`, `url` and `sha256`; other columns, such as labels, are ignored.

    Raises:
        DataError: A column is missing, a row cannot be used, or two rows list one file with different content; the
            message lists the first such rows by their line.
        OSError: The list cannot be read.
    """
    images: dict[PurePosixPath, ListedImage] = {}
    problems = []
    for line, row in read_rows(path, ["file", "url", "sha256"]):
        try:
            image = ListedImage(_parse_file(row["file"]), row["url"], _parse_sha256(row["sha256"]))
            _check_same_content(images.setdefault(image.file, image), image)
        except ValueError as error:
            problems.append(f"line {line}: {error}")
    if problems:
        raise DataError(f"{path}: {len(problems)} rows cannot be used:\n{format_problems(problems)}")
    return list(images.values())


def fetch_images(
    images: Sequence[ListedImage], folder: Path, connections: int, on_done: Callable[[], None]
) -> list[str]:
    """Download the missing images in parallel, and resume incomplete downloads.

    Args:
        images: The images.
        folder: Target folder; created if it is missing.
        connections: Number of parallel downloads.
        on_done: Called after each image.

    Returns:
        The problems, in the order of the list; a failed download does not stop the others.

    Raises:
        OSError: A file cannot be written.
    """

    def fetch(image: ListedImage) -> str | None:
        problem = _fetch(image, folder / image.file)
        on_done()
        return problem

    with ThreadPoolExecutor(connections) as pool:
        return [problem for problem in pool.map(fetch, images) if problem]


def _fetch(image: ListedImage, path: Path) -> str | None:
    if path.exists():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest == image.sha256:
            return None
        return f"{path} has SHA-256 {digest} instead of {image.sha256}; delete it to download it again"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        download(path, [image.url], image.sha256, lambda *_: None)
    except DownloadError as error:
        return str(error)
    return None


def _parse_file(name: str) -> PurePosixPath:
    # A list from someone else must not choose files outside the folder.
    path = PurePosixPath(name)
    if not path.name or path.is_absolute() or ".." in path.parts or "\\" in name:
        raise ValueError(f"file: expected a path below the folder, found '{name}'")
    return path


def _parse_sha256(value: str) -> str:
    if not SHA256.fullmatch(value.lower()):
        raise ValueError(f"sha256: expected 64 hexadecimal digits, found '{value}'")
    return value.lower()


def _check_same_content(earlier: ListedImage, image: ListedImage) -> None:
    if earlier.sha256 != image.sha256:
        raise ValueError(f"file: '{image.file}' is listed twice, with different checksums")
