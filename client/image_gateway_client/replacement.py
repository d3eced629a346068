"""Replace a file atomically: readers see the old content or the new, and an error leaves the old."""

import contextlib
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a new file that atomically replaces `path` if the block succeeds. A device or pipe is written directly.

    The new file has the permissions and, where that is allowed, the owner of the one that it replaces.

    Raises:
        OSError: No file can be created beside `path`.
    """
    if path.exists() and not path.is_file():  # not the target of a link, which pipes in /dev/fd have only by name
        yield path
        return
    target = path.resolve()
    part = target.with_name(f".{secrets.token_hex(8)}.part")  # not the name of a file that somebody else may have
    try:
        part.touch(exist_ok=False)
    except OSError as error:
        error.filename = os.fspath(path)
        raise
    try:
        yield part
        if target.exists():
            _copy_access(target, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _copy_access(source: Path, target: Path) -> None:
    shutil.copymode(source, target)
    if sys.platform != "win32":
        with contextlib.suppress(PermissionError):
            os.chown(target, source.stat().st_uid, source.stat().st_gid)
