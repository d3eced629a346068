"""A text file whose content is parsed again whenever the file changes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import structlog

Content = TypeVar("Content")

Stamp = tuple[int, int, int]
"""Time of the last change in nanoseconds, size in bytes and inode: together they change whenever the file does."""

log = structlog.get_logger(__name__)


class UnreadableFileError(ValueError):
    """The file cannot be read, or is not UTF-8 text."""


@dataclass(frozen=True, slots=True)
class _Reading(Generic[Content]):
    stamp: Stamp
    content: Content


class ReloadedFile(Generic[Content]):
    """The parsed content of a text file, parsed again when the file changes; safe to use from many threads.

    While the file is missing or malformed, its last good content remains in use. One warning is logged for each such
    state of the file.

    Args:
        path: The file.
        parse: Parses the text of the file; raises ValueError if it is malformed.
        unreadable_event: Name of the log event of the warning.
        on_reload: Called with the new content each time the file has been parsed again.

    Raises:
        UnreadableFileError: The file cannot be read.
        ValueError: From `parse`, the file is malformed.
    """

    def __init__(
        self,
        path: Path,
        parse: Callable[[str], Content],
        *,
        unreadable_event: str,
        on_reload: Callable[[Content], None] | None = None,
    ) -> None:
        self._path = path
        self._parse = parse
        self._unreadable_event = unreadable_event
        self._on_reload = on_reload
        self._warning = ""
        self._reading = self._read(self._stamp())

    def current(self) -> Content:
        """Return the content of the file as it is now or, while the file is unusable, its last good content."""
        try:
            stamp = self._stamp()
            if stamp != self._reading.stamp:
                self._reading = self._read(stamp)
                if self._on_reload is not None:
                    self._on_reload(self._reading.content)
            self._warning = ""
        except ValueError as error:
            if self._warning != str(error):
                self._warning = str(error)
                log.warning(self._unreadable_event, reason=self._warning)
        return self._reading.content

    def _stamp(self) -> Stamp:
        try:
            stat = self._path.stat()
        except OSError as error:
            raise UnreadableFileError(f"{self._path} cannot be read: {error.strerror}.") from error
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def _read(self, stamp: Stamp) -> _Reading[Content]:
        try:
            text = self._path.read_text(encoding="utf-8")
        except OSError as error:
            raise UnreadableFileError(f"{self._path} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise UnreadableFileError(f"{self._path} cannot be read: it is not UTF-8 text.") from error
        return _Reading(stamp, self._parse(text))
