"""Pictures that a CSV file names, with their labels in one column or in one column a class."""

import csv
import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from train.config.datasets import TableData
from train.data.examples import DataError, Example, enumerate_faults
from vision.card import Task

YES_AND_NO: Mapping[str, bool] = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
"""As pandas writes integers, floats and booleans."""


def read_table(data: TableData, labels: Sequence[str], task: Task) -> list[Example]:
    """Return the pictures in the order of the rows.

    Raises:
        DataError: A column is missing, or rows name absent files or say nothing usable about a class; each of
            the first few is told with its line.
        OSError: The table cannot be read.
    """
    examples, faults = [], []
    for line, row in _rows(data, labels):
        try:
            examples.append(_example(data, row, labels, task))
        except ValueError as error:
            faults.append(f"line {line}: {error}")
    if faults:
        count = len(faults) + len(examples)
        raise DataError(f"{data.path}: {len(faults)} of {count} rows cannot be used:\n{enumerate_faults(faults)}")
    if not examples:
        raise DataError(f"{data.path}: expected a row for each picture, found none")
    return examples


def read_rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Read a CSV file whose first line names the columns: each row with the number of its last line.

    Raises:
        DataError: It is no CSV in UTF-8, or lacks one of the columns needed.
        OSError: It cannot be read.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restval="", strict=True)
        try:
            found = list(reader.fieldnames or [])
            _check_columns(path, found, needed)
            for row in reader:
                yield reader.line_num, {name: row[name].strip() for name in found}
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path}: expected CSV in UTF-8: {error}") from error


def _check_columns(path: Path, found: Sequence[str], needed: Sequence[str]) -> None:
    for name in needed:
        if name not in found:
            nearest = difflib.get_close_matches(name, found, n=1)
            meant = f"; did you mean '{nearest[0]}'?" if nearest else ""
            raise DataError(f"{path} has no column '{name}', only {', '.join(found) or 'nothing'}{meant}")


def _rows(data: TableData, labels: Sequence[str]) -> Iterator[tuple[int, Mapping[str, str]]]:
    return read_rows(data.path, [data.image_column, *([data.label_column] if data.label_column else labels)])


def _example(data: TableData, row: Mapping[str, str], labels: Sequence[str], task: Task) -> Example:
    name = row[data.image_column]
    path = data.directory / name
    if not name or not path.is_file():
        raise ValueError(f"{data.image_column}: '{name}' is no file in {data.directory}")
    if data.label_column is None:
        classes = tuple(number for number, label in enumerate(labels) if _is_set(label, row[label]))
    else:
        classes = _named(row[data.label_column], labels, data.separator if task == "multilabel" else None)
    if task == "multiclass" and len(classes) != 1:
        raise ValueError(f"expected exactly one class, found {len(classes)}; for any number say task: multilabel")
    return Example(path, classes, name)


def _is_set(label: str, value: str) -> bool:
    if value.casefold() not in YES_AND_NO:
        raise ValueError(f"{label}: expected 0 or 1, found '{value}'")
    return YES_AND_NO[value.casefold()]


def _named(value: str, labels: Sequence[str], separator: str | None) -> tuple[int, ...]:
    names = [value] if separator is None else [name.strip() for name in value.split(separator) if name.strip()]
    for name in names:
        if name not in labels:
            nearest = difflib.get_close_matches(name, labels, n=1, cutoff=0)[0]
            raise ValueError(f"'{name}' is none of the configuration's labels; the nearest is '{nearest}'")
    return tuple(sorted({labels.index(name) for name in names}))
