"""A text file whose content is parsed again whenever the file changes."""

import errno
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar, cast

import structlog

Content = TypeVar("Content")

Stamp = tuple[int, ...]
"""What changes whenever the file does: times of the last change of content and of attributes, size, inode, device."""

SETTLING_S = 2.0
"""How long a file is read again although its stamp is the same: some file systems store times in whole seconds, or two,
so that a second change soon after the first leaves no trace in it."""
MAX_BYTES = 16 * 1024 * 1024

log = structlog.get_logger(__name__)


class UnreadableFileError(ValueError):
    """The file cannot be read, or is not UTF-8 text."""


@dataclass(frozen=True, slots=True)
class _Reading(Generic[Content]):
    """What a file contained.

    Attributes:
        stamp: Its stamp then; None if it could not be read.
        since_s: When the file was first read with this stamp, in seconds of `time.monotonic`.
        is_settled: Whether it was read again so late that the same stamp means the same bytes from now on.
        data: Its bytes.
        content: Its parsed text; None if there is an error.
        error: Why it cannot be used.
    """

    stamp: Stamp | None = None
    since_s: float = 0.0
    is_settled: bool = False
    data: bytes = b""
    content: Content | None = None
    error: ValueError | None = None


class ReloadedFile(Generic[Content]):
    """The parsed content of a text file, parsed again when the file changes; safe to use from many threads.

    One warning is logged for each state of the file in which it is missing or malformed.

    Args:
        path: The file.
        parse: Parses the text of the file; raises ValueError if it is malformed.
        unreadable_event: Name of the log event of the warning.
        on_reload: Called with the new content each time the file has been parsed again.
        required: Whether the file must be usable now.

    Raises:
        UnreadableFileError: The file is required and cannot be read.
        ValueError: From `parse`, the file is required and malformed.
    """

    def __init__(
        self,
        path: Path,
        parse: Callable[[str], Content],
        *,
        unreadable_event: str,
        on_reload: Callable[[Content], None] | None = None,
        required: bool = True,
    ) -> None:
        self._path = path
        self._parse = parse
        self._unreadable_event = unreadable_event
        self._on_reload = on_reload
        self._warning = ""
        reading = self._read(_Reading())
        if required and reading.error is not None:
            raise reading.error
        self._reading = self._last_good = reading

    def current(self) -> Content:
        """Return the content of the file as it is now or, while it is missing or malformed, its last good content.

        Raises:
            ValueError: It was not `required`, and has never been usable.
        """
        self.latest()
        if self._last_good.error is not None:
            raise self._last_good.error
        return cast("Content", self._last_good.content)

    def latest(self) -> Content | None:
        """Return the content of the file as it is now; None while it is missing or malformed.

        It depends on the file alone and not on what was read before, so that all processes that read it agree.
        """
        previous = self._reading
        reading = self._read(previous)
        if reading is previous:
            return reading.content
        self._reading = reading
        if reading.error is None:
            self._warning = ""
            self._last_good = reading
            if self._on_reload is not None and reading.content is not previous.content:
                self._on_reload(cast("Content", reading.content))
        elif self._warning != str(reading.error):
            self._warning = str(reading.error)
            log.warning(self._unreadable_event, reason=self._warning)
        return reading.content

    def _read(self, previous: _Reading[Content]) -> _Reading[Content]:
        """Read the file, and parse it unless its bytes are the same; return the same object if nothing has changed."""
        try:
            if previous.is_settled and _stamp(self._path.stat()) == previous.stamp:
                return previous
            stamp, data = _read_regular_file(self._path)
        except OSError as error:
            return _Reading(error=UnreadableFileError(f"{self._path} cannot be read: {error.strerror}."))
        now_s = time.monotonic()
        since_s = previous.since_s if stamp == previous.stamp else now_s
        is_settled = now_s - since_s >= SETTLING_S
        if previous.stamp is not None and data == previous.data:
            return replace(previous, stamp=stamp, since_s=since_s, is_settled=is_settled)
        try:
            return _Reading(stamp, since_s, is_settled, data, self._parse(data.decode()))
        except UnicodeDecodeError:
            fault: ValueError = UnreadableFileError(f"{self._path} cannot be read: it is not UTF-8 text.")
        except ValueError as error:
            fault = error
        return _Reading(stamp, since_s, is_settled, data, error=fault)


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev


def _read_regular_file(path: Path) -> tuple[Stamp, bytes]:
    """Return the stamp and the content of a file, without waiting for anything such as the other end of a pipe.

    Raises:
        OSError: It cannot be read, is not a regular file or is too large.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {MAX_BYTES} bytes")
    return _stamp(status), data
