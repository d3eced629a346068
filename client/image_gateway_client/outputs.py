"""Where the outcomes go: the terminal or a file, as a table, JSON, lines of JSON, or CSV."""

import csv
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal, Protocol, TextIO

from image_gateway_client.batches import Outcome
from image_gateway_client.console import print_outcomes
from image_gateway_client.records import columns, to_document, to_row
from image_gateway_client.resume import CSV_ERRORS, ENCODING, JSON_ERRORS, Earlier, OutputError, read_csv, read_jsonl


class Format(StrEnum):
    """How outcomes are written."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


SUFFIXES = {".csv": Format.CSV, ".json": Format.JSON, ".jsonl": Format.JSONL, ".ndjson": Format.JSONL}
RESUMABLE = frozenset({Format.JSONL, Format.CSV})


class Writer(Protocol):
    """Takes the outcomes, one after the other."""

    def write(self, image: str, outcome: Outcome) -> None:
        """Take the next one."""

    def finish(self) -> None:
        """Write what comes after the last one."""


@dataclass(frozen=True, slots=True)
class Output:
    """Where the outcomes go.

    Attributes:
        writer: Takes them.
        answered: Images that the file has answers to, from an earlier run.
    """

    writer: Writer
    answered: frozenset[str] = frozenset()


class _JsonLines:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, image: str, outcome: Outcome) -> None:
        self._stream.write(json.dumps(to_document(image, outcome), ensure_ascii=False) + "\n")
        self._stream.flush()

    def finish(self) -> None:
        """Each line stands for itself."""


class _Json:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._before = "[\n"

    def write(self, image: str, outcome: Outcome) -> None:
        self._stream.write(self._before + json.dumps(to_document(image, outcome), ensure_ascii=False))
        self._before = ",\n"

    def finish(self) -> None:
        self._stream.write("[]\n" if self._before == "[\n" else "\n]\n")


class _Csv:
    def __init__(self, stream: TextIO, top_k: int, *, header: bool) -> None:
        self._stream = stream
        self._rows = csv.writer(stream, lineterminator="\n")
        self._top_k = top_k
        if header:
            self._rows.writerow(columns(top_k))

    def write(self, image: str, outcome: Outcome) -> None:
        self._rows.writerow(to_row(image, outcome, self._top_k))
        self._stream.flush()

    def finish(self) -> None:
        """Each row stands for itself."""


class _Table:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._outcomes: list[tuple[str, Outcome]] = []

    def write(self, image: str, outcome: Outcome) -> None:
        self._outcomes.append((image, outcome))

    def finish(self) -> None:
        print_outcomes(self._outcomes, self._stream)


@contextmanager
def open_output(path: Path | None, form: Format, top_k: int, model: str | None) -> Iterator[Output]:
    """Open what the outcomes are written to.

    Lines of JSON and CSV are written as they come, and go on in a file that an earlier run has left, without what had
    a problem there. A table or JSON takes the place of an existing file when it is complete.

    Args:
        path: The file; None for the standard output.
        form: How they are written.
        top_k: How many classes are ranked.
        model: The model that is asked; None for the default one. Answers of others do not count as answers.

    Raises:
        OutputError: The file exists, and is none to go on with.
        OSError: It cannot be written.
    """
    if path is None:
        output = Output(_writer(form, sys.stdout, top_k))
        try:
            yield output
        finally:
            output.writer.finish()
    elif form in RESUMABLE:
        earlier = _read_back(path, form, top_k)
        answered = frozenset(item.image for item in earlier.answered if model in {None, item.model})
        with _open(path, form, "a") as stream:
            yield Output(_writer(form, stream, top_k, header=not earlier.data), answered)
    else:
        with _replacing(path) as part, _open(part, form, "w") as stream:
            output = Output(_writer(form, stream, top_k))
            yield output
            output.writer.finish()


def _open(path: Path, form: Format, mode: Literal["a", "w"]) -> TextIO:
    return path.open(mode, encoding=ENCODING, errors=CSV_ERRORS if form is Format.CSV else JSON_ERRORS, newline="")


def _writer(form: Format, stream: TextIO, top_k: int, *, header: bool = True) -> Writer:
    match form:
        case Format.JSONL:
            return _JsonLines(stream)
        case Format.JSON:
            return _Json(stream)
        case Format.CSV:
            return _Csv(stream, top_k, header=header)
        case Format.TABLE:
            return _Table(stream)


def _read_back(path: Path, form: Format, top_k: int) -> Earlier:
    """Read what an earlier run has answered, and leave just that in the file."""
    if not path.is_file():
        return Earlier(b"", ())
    data = path.read_bytes()
    try:
        earlier = read_csv(data, top_k) if form is Format.CSV else read_jsonl(data)
    except OutputError as error:
        raise OutputError(f"{path} exists, and {error}; name another file, or remove it") from error
    if earlier.data != data:
        with _replacing(path) as part:
            part.write_bytes(earlier.data)
    return earlier


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a file beside `path` that takes its place, in one step, when all went well; a device or pipe stays one."""
    target = path.resolve()
    if target.exists() and not target.is_file():
        yield target
        return
    part = target.with_name(f"{target.name}.part")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
