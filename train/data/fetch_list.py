"""Pictures that a CSV lists by URL and checksum, brought into a folder."""

import hashlib
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from train.data.csv_table import read_rows
from train.data.download import DownloadError, download
from train.data.examples import DataError, enumerate_faults

SHA256 = re.compile("[0-9a-f]{64}")


class Wanted(NamedTuple):
    """A picture to fetch; `file` is relative to the folder."""

    file: PurePosixPath
    url: str
    sha256: str


def read_list(path: Path) -> list[Wanted]:
    """Read a CSV with the columns `file`, `url` and `sha256`; others may be there, such as labels.

    Raises:
        DataError: A column is missing, a row says nothing usable, or two rows want different content in one file;
            each of the first few is told with its line.
        OSError: The list cannot be read.
    """
    wanted: dict[PurePosixPath, Wanted] = {}
    faults = []
    for line, row in read_rows(path, ["file", "url", "sha256"]):
        try:
            picture = Wanted(_inside(row["file"]), row["url"], _checksum(row["sha256"]))
            _check_same_content(wanted.setdefault(picture.file, picture), picture)
        except ValueError as error:
            faults.append(f"line {line}: {error}")
    if faults:
        raise DataError(f"{path}: {len(faults)} rows cannot be used:\n{enumerate_faults(faults)}")
    return list(wanted.values())


def fetch_all(wanted: Sequence[Wanted], folder: Path, connections: int, on_done: Callable[[], None]) -> list[str]:
    """Download what is not there yet, some at once; what broke off before is continued.

    Args:
        wanted: The pictures.
        folder: Where they shall be; made if need be.
        connections: How many are under way at once.
        on_done: Called after each picture.

    Returns:
        What went wrong, in the order of the list; one that is not to be had does not keep the others.

    Raises:
        OSError: A file cannot be written.
    """

    def fetch(picture: Wanted) -> str | None:
        fault = _fetch(picture, folder / picture.file)
        on_done()
        return fault

    with ThreadPoolExecutor(connections) as pool:
        return [fault for fault in pool.map(fetch, wanted) if fault]


def _fetch(picture: Wanted, path: Path) -> str | None:
    if path.exists():
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        return None if found == picture.sha256 else f"{path} has SHA-256 {found}; delete it to have it fetched again"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        download(path, [picture.url], picture.sha256, lambda *_: None)
    except DownloadError as error:
        return str(error)
    return None


def _inside(name: str) -> PurePosixPath:
    # The list may come from elsewhere, and shall not choose files outside of the folder.
    path = PurePosixPath(name)
    if not path.name or path.is_absolute() or ".." in path.parts or "\\" in name:
        raise ValueError(f"file: expected a path below the folder, found '{name}'")
    return path


def _checksum(value: str) -> str:
    if not SHA256.fullmatch(value.lower()):
        raise ValueError(f"sha256: expected 64 hexadecimal digits, found '{value}'")
    return value.lower()


def _check_same_content(before: Wanted, picture: Wanted) -> None:
    if before.sha256 != picture.sha256:
        raise ValueError(f"file: '{picture.file}' was listed before, with another checksum")
