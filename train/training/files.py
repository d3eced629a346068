"""Files of a run: replaced as a whole, and named in errors."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
        OSError: The file cannot be written.
    """
    temporary = path.with_name(f"{path.stem}.tmp{path.suffix}")
    try:
        with named_errors(path):
            yield temporary
            _sync(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
