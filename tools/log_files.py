"""Read the logs of the programs: new lines as they are written, and lines of JSON as text for a terminal."""

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

MAX_TAIL_BYTES = 64 * 1024
MAX_TEXT_LENGTH = 400
TAIL_LINES = 20
NGINX_FAILURE = re.compile(r" \[emerg\] (?:[0-9]+#[0-9]+: )?(.+)")
COMMON_FIELDS = frozenset({"timestamp", "level", "logger", "event", "exception"})


class LogReader:
    """Reads what is added to a log.

    Args:
        path: The log, which may not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def skip(self) -> None:
        """Leave out what is in the log so far."""
        with contextlib.suppress(OSError):
            self._position = self._path.stat().st_size

    def read(self) -> Iterator[bytes]:
        """Yield the complete lines that have been added since the last call."""
        with contextlib.suppress(OSError), self._path.open("rb") as log:
            end = os.fstat(log.fileno()).st_size
            if end < self._position:  # it was emptied
                self._position = 0
            log.seek(self._position)
            while self._position < end and (line := log.readline()).endswith(b"\n"):
                self._position += len(line)
                yield line


def parse(line: bytes | str) -> Mapping[str, Any] | None:
    """Return the fields of a line of JSON, None of any other line."""
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) and "event" in fields else None


def escape_controls(text: str) -> str:
    """Return a text without characters that control a terminal or begin a line; as the gateway does it in its log."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def to_text(line: str) -> str:
    """Return a line of a log for a terminal: without control characters, and shortened."""
    fields = parse(line)
    text = escape_controls(line.rstrip() if fields is None else _describe(fields))
    return text if len(text) <= MAX_TEXT_LENGTH else f"{text[:MAX_TEXT_LENGTH]} ..."


def _describe(fields: Mapping[str, Any]) -> str:
    time = str(fields.get("timestamp", ""))[11:19]
    values = [f"{name}={value}" for name, value in fields.items() if name not in COMMON_FIELDS]
    exceptions = [f"{error['exc_type']}: {error['exc_value']}" for error in fields.get("exception", ())]
    return " ".join([time, str(fields.get("level", "")), str(fields["event"]), *values, *exceptions])


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a log, each indented."""
    return "".join(f"    {to_text(line)}\n" for line in _last_lines(log)[-lines:]) or "    (empty)\n"


def find_start_failure(log: Path) -> str | None:
    """Return why a program could not start, if its log says so in one sentence."""
    for line in reversed(_last_lines(log)):
        fields = parse(line) or {}
        if fields.get("level") == "critical":
            return escape_controls(str(fields.get("reason", fields["event"])))
        if match := NGINX_FAILURE.search(line):
            return escape_controls(match[1])
    return None


def _last_lines(log: Path) -> list[str]:
    with log.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - MAX_TAIL_BYTES))
        return file.read(MAX_TAIL_BYTES).decode("utf-8", "replace").splitlines()
