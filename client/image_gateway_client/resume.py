"""What a file that an earlier run wrote holds already, also one that was killed while it wrote."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from image_gateway_client.records import Recorded, columns, from_document, from_row

T = TypeVar("T")

ENCODING = "utf-8"
# Names of files need not be UTF-8; Python has their other bytes as lone surrogates (PEP 383). CSV takes the bytes as
# they are, JSON the escape that stands for such a surrogate there.
CSV_ERRORS = "surrogateescape"
JSON_ERRORS = "backslashreplace"
JSONL_BEGIN = b'{"image": '


class OutputError(Exception):
    """The output cannot be written, or an existing file not be continued; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """The answers in a file; what had a problem is left out, to be asked again.

    Attributes:
        data: The file with these alone, to go on from.
        answered: What they are.
    """

    data: bytes
    answered: tuple[Recorded, ...]


def read_jsonl(data: bytes) -> Earlier:
    """Read back lines of JSON. A last line without its end was being written when the run was killed.

    Raises:
        OutputError: Another program wrote this.
    """
    whole, newline, rest = data.rpartition(b"\n")
    if not (rest.startswith(JSONL_BEGIN) or JSONL_BEGIN.startswith(rest)):
        raise OutputError("its end is no result of this command")
    lines = [line + newline for line in whole.split(newline)] if newline else []
    return _earlier(lines, lambda line: from_document(json.loads(line)), lambda line: line)


def read_csv(data: bytes, top_k: int) -> Earlier:
    """Read back rows of CSV that have the columns for so many ranked classes.

    Raises:
        OutputError: Another program wrote this, or it has other columns.
    """
    header = csv_line(columns(top_k))
    if not data.startswith(header):
        if header.startswith(data):
            return Earlier(b"", ())
        raise OutputError("its first line does not name the columns that this command writes with this --top-k")
    text = data[len(header) : _end_of_last_row(data)].decode(ENCODING, CSV_ERRORS)
    earlier = _earlier(list(csv.reader(io.StringIO(text, newline=""))), lambda row: from_row(row, top_k), csv_line)
    return Earlier(header + earlier.data, earlier.answered)


def csv_line(cells: Sequence[object]) -> bytes:
    """Write one row of CSV (RFC 4180, but lines end in LF)."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode(ENCODING, CSV_ERRORS)


def _end_of_last_row(data: bytes) -> int:
    """Find the end of the last line that does not end inside quotes, which stand in pairs (RFC 4180 section 2)."""
    end = data.rfind(b"\n") + 1
    while data.count(b'"', 0, end) % 2:
        end = data.rfind(b"\n", 0, end - 1) + 1
    return end


def _earlier(results: Iterable[T], read: Callable[[T], Recorded], write: Callable[[T], bytes]) -> Earlier:
    kept, answered = [], []
    for number, result in enumerate(results, 1):
        try:
            recorded = read(result)
        except (KeyError, TypeError, ValueError) as error:
            raise OutputError(f"result {number} in it was not written by this command") from error
        if recorded.model is not None:
            kept.append(write(result))
            answered.append(recorded)
    return Earlier(b"".join(kept), tuple(answered))
