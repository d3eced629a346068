"""Read back the results of an earlier run, even if it was killed while writing."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from image_gateway_client.records import JobItem, Record, columns, from_document, from_row

T = TypeVar("T")

ENCODING = "utf-8"
# File names need not be UTF-8; Python represents their other bytes as lone surrogates (PEP 383). CSV stores the
# original bytes, JSON the escape of the surrogate.
CSV_ERRORS = "surrogateescape"
JSON_ERRORS = "backslashreplace"
JSONL_PREFIXES = {False: b'{"image": ', True: b'{"job": '}
"""How a line begins, by whether it is a result of a job."""
NOT_OUR_JSON = "it is not JSON that was written by this command"
TABLE_COLUMNS = ["image", "classes"]
TABLE_RULE = "\N{BOX DRAWINGS LIGHT HORIZONTAL}"
HEAD_BYTES = 65536


class OutputError(Exception):
    """The output cannot be written, or an existing file cannot be continued; the message says what to do."""


@dataclass(frozen=True, slots=True)
class PreviousResults:
    """The results in a file that stay: all but the problems of images that have a later result.

    Attributes:
        data: The content of the file with only these results, to be continued.
        records: The results.
    """

    data: bytes
    records: tuple[Record, ...]


def read_jsonl(data: bytes, job: str | None = None) -> PreviousResults:
    """Read lines of JSON. An incomplete last line was being written when the run was killed.

    Args:
        data: The content of the file.
        job: Identifier of the job whose results they are; None for those of no job.

    Raises:
        OutputError: Another program wrote the data, or they are not results of this job.
    """
    of_job = job is not None
    prefix = JSONL_PREFIXES[of_job]
    complete, newline, rest = data.rpartition(b"\n")
    if not (rest.startswith(prefix) or prefix.startswith(rest)):
        raise OutputError("its last line was not written by this command")
    lines = [line + newline for line in complete.split(newline)] if newline else []
    return _parse_results(lines, lambda line: from_document(json.loads(line), of_job=of_job), lambda line: line, job)


def read_csv(data: bytes, top_k: int, job: str | None = None) -> PreviousResults:
    """Read rows of CSV with the columns for `top_k` ranked classes.

    Args:
        data: The content of the file.
        top_k: The number of ranked classes.
        job: Identifier of the job whose results they are; None for those of no job.

    Raises:
        OutputError: Another program wrote the data, the columns are different, or they are not results of this job.
    """
    of_job = job is not None
    header = csv_line(columns(top_k, of_job=of_job))
    if not data.startswith(header):
        if header.startswith(data):
            return PreviousResults(b"", ())
        raise OutputError("its first line does not name the columns that this release writes with this --top-k")
    text = data[len(header) : _find_end_of_last_row(data)].decode(ENCODING, CSV_ERRORS)
    results = _parse_results(
        list(csv.reader(io.StringIO(text, newline=""))),
        lambda row: from_row(row, top_k, of_job=of_job),
        csv_line,
        job,
    )
    return PreviousResults(header + results.data, results.records)


def check_json(data: bytes, job: str | None = None) -> None:
    """Check that JSON may be replaced.

    Args:
        data: The content of the file.
        job: Identifier of the job whose results replace it; None for those of no job.

    Raises:
        OutputError: Another program wrote the data, or they are not results of this job.
    """
    try:
        documents = json.loads(data)
    except (RecursionError, ValueError) as error:
        raise OutputError(NOT_OUR_JSON) from error
    if not isinstance(documents, list):
        raise OutputError(NOT_OUR_JSON)
    try:
        records = [from_document(item, of_job=job is not None) for item in documents]
    except ValueError as error:
        raise OutputError(NOT_OUR_JSON) from error
    for record in records:
        _check_job(record, job)


def check_table(data: bytes) -> None:
    """Check that a table may be replaced.

    Raises:
        OutputError: Another program wrote the data.
    """
    head = data[:HEAD_BYTES].decode(ENCODING, "replace").split("\n")
    words = [line.split() for line in head if line.strip()]
    if words[:1] != [TABLE_COLUMNS] or not words[1:] or set("".join(words[1])) != {TABLE_RULE}:
        raise OutputError("it is not a table that was written by this command")


def csv_line(cells: Sequence[object]) -> bytes:
    """Encode one row of CSV (RFC 4180, except that lines end in LF)."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode(ENCODING, CSV_ERRORS)


def _find_end_of_last_row(data: bytes) -> int:
    """Return the end of the last line that does not end inside a quoted cell (RFC 4180 section 2)."""
    end = data.rfind(b"\n") + 1
    while data.count(b'"', 0, end) % 2:
        end = data.rfind(b"\n", 0, end - 1) + 1
    return end


def _parse_results(
    results: Iterable[T], parse: Callable[[T], Record], encode: Callable[[T], bytes], job: str | None
) -> PreviousResults:
    entries: list[tuple[bytes, Record]] = []
    for number, result in enumerate(results, 1):
        try:
            record = parse(result)
        except (RecursionError, ValueError) as error:
            raise OutputError(f"result {number} in it was not written by this command") from error
        _check_job(record, job)
        entries.append((encode(result), record))
    last = {record.image: number for number, (_, record) in enumerate(entries)}
    entries = [
        (line, record)
        for number, (line, record) in enumerate(entries)
        if record.model is not None or number == last[record.image]
    ]
    return PreviousResults(b"".join(line for line, _ in entries), tuple(record for _, record in entries))


def _check_job(record: Record, job: str | None) -> None:
    if isinstance(record.image, JobItem) and record.image.job != job:
        raise OutputError(f"it has the results of another job, {record.image.job}")
