"""Files that are written as a whole or not at all, by one process at a time, and named in errors."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Name a file in the errors of writing it, which the operating system reports without a name.

    Raises:
        OSError: As within the block, with the file's name.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file to write; when the block ends, it replaces `path`.

    After a failure, the earlier file is unchanged and the temporary file is removed.

    Raises:
        OSError: The file cannot be written; `filename` is set also when the disk is full.
    """
    temporary = path.with_name(f"{path.stem}.tmp{path.suffix}")
    try:
        with named_errors(path):
            yield temporary
            _sync(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def write_whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` when the block ends, see `replace_file`.

    Raises:
        OSError: The file cannot be written.
    """
    with replace_file(path) as temporary, temporary.open("wb") as file:
        yield file


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Create a folder, and have other processes that lock it wait until the end of the block.

    Raises:
        OSError: The folder cannot be created.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
