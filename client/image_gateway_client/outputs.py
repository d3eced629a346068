"""Write the outcomes to the terminal or a file, as a table, JSON, lines of JSON, or CSV."""

import csv
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal, Protocol, TextIO, cast

from image_gateway_client.answers import Outcome
from image_gateway_client.console import PrintableStream, print_outcomes
from image_gateway_client.records import Item, JobItem, columns, to_document, to_row
from image_gateway_client.replacement import replacing
from image_gateway_client.resume import (
    CSV_ERRORS,
    ENCODING,
    JSON_ERRORS,
    OutputError,
    PreviousResults,
    check_json,
    check_table,
    read_csv,
    read_jsonl,
)


class Format(StrEnum):
    """Formats of the output."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


SUFFIXES = {".csv": Format.CSV, ".json": Format.JSON, ".jsonl": Format.JSONL, ".ndjson": Format.JSONL}
RESUMABLE = frozenset({Format.JSONL, Format.CSV})


def choose_format(path: Path | None, output_format: Format | None) -> Format:
    """Return the format of the output: as asked for, by the suffix of the file, or a table on the terminal.

    Raises:
        ValueError: The suffix is not that of a format.
    """
    if output_format is not None:
        return output_format
    if path is None:
        return Format.TABLE
    try:
        return SUFFIXES[path.suffix.lower()]
    except KeyError:
        suffix = f"The suffix {path.suffix!r}" if path.suffix else "A file without a suffix"
        accepted = f"Use one of {', '.join(SUFFIXES)}, or choose a format with --format."
        raise ValueError(f"{suffix} does not say which format to write. {accepted}") from None


class Writer(Protocol):
    """Writes the outcomes one after another."""

    def write(self, image: Item, outcome: Outcome) -> None:
        """Write the next outcome."""

    def finish(self) -> None:
        """Write what follows the last outcome."""


@dataclass(frozen=True, slots=True)
class Output:
    """The output of a run.

    Attributes:
        writer: Writes the outcomes.
        finished: Images that need not be classified again, because an earlier run has written their results.
    """

    writer: Writer
    finished: frozenset[Item] = frozenset()


class _JsonLines:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, image: Item, outcome: Outcome) -> None:
        self._stream.write(json.dumps(to_document(image, outcome), ensure_ascii=False) + "\n")
        self._stream.flush()

    def finish(self) -> None:
        """Do nothing: each line is complete."""


class _Json:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._separator = "[\n"

    def write(self, image: Item, outcome: Outcome) -> None:
        self._stream.write(self._separator + json.dumps(to_document(image, outcome), ensure_ascii=False))
        self._separator = ",\n"

    def finish(self) -> None:
        self._stream.write("[]\n" if self._separator == "[\n" else "\n]\n")


class _Csv:
    def __init__(self, stream: TextIO, top_k: int, *, header: bool, of_job: bool) -> None:
        self._stream = stream
        self._rows = csv.writer(stream, lineterminator="\n")
        self._top_k = top_k
        if header:
            self._rows.writerow(columns(top_k, of_job=of_job))

    def write(self, image: Item, outcome: Outcome) -> None:
        self._rows.writerow(to_row(image, outcome, self._top_k))
        self._stream.flush()

    def finish(self) -> None:
        """Do nothing: each row is complete."""


class _Table:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._outcomes: list[tuple[str, Outcome]] = []

    def write(self, image: Item, outcome: Outcome) -> None:
        self._outcomes.append((image.image if isinstance(image, JobItem) else image, outcome))

    def finish(self) -> None:
        print_outcomes(self._outcomes, self._stream)


@contextmanager
def open_output(  # noqa: PLR0913  # all but the first four are keyword-only
    path: Path | None,
    output_format: Format,
    top_k: int,
    model: str | None,
    *,
    version: int | None = None,
    job: str | None = None,
) -> Iterator[Output]:
    """Open the output.

    Lines of JSON and CSV are written immediately. They continue the file of an earlier run, whose problems stay until
    there is a new outcome of the same image. A table or JSON replaces one of an earlier run when it is complete.

    Args:
        path: The file; None for the standard output.
        output_format: Format of the output.
        top_k: The number of ranked classes.
        model: Name of the model; None for the default model. Results of another model do not count as finished.
        version: Version of the model; None for the newest. Results of another version do not count as finished.
        job: Identifier of the job whose results are written; None outside a job.

    Raises:
        OutputError: The file exists, and the command did not write it in this format, or for another job.
        OSError: The file cannot be written.
    """
    of_job = job is not None
    if path is None:
        output = Output(_make_writer(output_format, _standard_output(output_format), top_k, of_job=of_job))
        try:
            yield output
        finally:
            output.writer.finish()
    elif output_format in RESUMABLE:
        previous = _tidy(path, output_format, top_k, job)
        finished = frozenset(record.image for record in previous.records if record.is_finished(model, version))
        try:
            with _open(path, output_format, "a") as stream:
                writer = _make_writer(output_format, stream, top_k, of_job=of_job, header=not previous.data)
                yield Output(writer, finished)
        finally:
            _tidy(path, output_format, top_k, job)
    else:
        _check_replaceable(path, output_format, job)
        with replacing(path) as part, _open(part, output_format, "w") as stream:
            output = Output(_make_writer(output_format, stream, top_k, of_job=of_job))
            yield output
            output.writer.finish()


def check_standard_output() -> None:
    """Check that there is a standard output, before anything is done whose result would be lost without one.

    Raises:
        OutputError: It is closed.
    """
    if sys.stdout is None:
        raise OutputError("The standard output is closed. Redirect it to a file or to /dev/null.")


def _standard_output(output_format: Format) -> TextIO:
    """Return the standard output; on a terminal, names and messages cannot control it (a table takes care itself)."""
    check_standard_output()
    is_controllable = sys.stdout.isatty() and output_format is not Format.TABLE
    return cast("TextIO", PrintableStream(sys.stdout)) if is_controllable else sys.stdout


def _open(path: Path, output_format: Format, mode: Literal["a", "w"]) -> TextIO:
    return path.open(
        mode, encoding=ENCODING, errors=CSV_ERRORS if output_format is Format.CSV else JSON_ERRORS, newline=""
    )


def _make_writer(output_format: Format, stream: TextIO, top_k: int, *, of_job: bool, header: bool = True) -> Writer:
    match output_format:
        case Format.JSONL:
            return _JsonLines(stream)
        case Format.JSON:
            return _Json(stream)
        case Format.CSV:
            return _Csv(stream, top_k, header=header, of_job=of_job)
        case Format.TABLE:
            return _Table(stream)


def _tidy(path: Path, output_format: Format, top_k: int, job: str | None) -> PreviousResults:
    """Read the results in a file, and remove everything else from it; see `PreviousResults`."""
    if not path.is_file():
        return PreviousResults(b"", ())
    data = path.read_bytes()
    try:
        previous = read_csv(data, top_k, job) if output_format is Format.CSV else read_jsonl(data, job)
    except OutputError as error:
        raise _exists(path, error) from error
    if previous.data != data:
        with replacing(path) as part:
            part.write_bytes(previous.data)
    return previous


def _check_replaceable(path: Path, output_format: Format, job: str | None) -> None:
    """Refuse a file with content that the command did not write."""
    if not path.is_file() or not (data := path.read_bytes()):
        return
    try:
        check_json(data, job) if output_format is Format.JSON else check_table(data)
    except OutputError as error:
        raise _exists(path, error) from error


def _exists(path: Path, error: OutputError) -> OutputError:
    return OutputError(f"{path} exists, and {error}. Choose another file, or remove it.")
