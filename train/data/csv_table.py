"""Images listed in a CSV file, with their labels in one column or in one column for each class."""

import csv
import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from train.config.datasets import TableData
from train.data.class_labels import find_class
from train.data.examples import DataError, Example, format_problems
from vision.card import Task

BOOLEANS: Mapping[str, bool] = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
"""As pandas writes integers, floats and booleans, in lower case."""


class MissingColumnError(DataError):
    """A CSV file without a column that is needed.

    Attributes:
        column: Name of the column.
    """

    def __init__(self, message: str, column: str) -> None:
        super().__init__(message)
        self.column = column


def read_table(data: TableData, labels: Sequence[str], task: Task) -> list[Example]:
    """Return the images in the order of the rows.

    Raises:
        DataError: A column is missing, or rows name missing files or have no usable label; the message lists the
            first such rows by their line.
        OSError: The table cannot be read.
    """
    examples, problems = [], []
    columns = [data.image_column, *([data.label_column] if data.label_column else labels)]
    for line, row in read_rows(data.path, columns):
        try:
            examples.append(_parse_row(data, row, labels, task))
        except (DataError, ValueError) as error:
            problems.append(f"line {line}: {error}")
    if problems:
        count = len(problems) + len(examples)
        raise DataError(f"{data.path}: {len(problems)} of {count} rows cannot be used:\n{format_problems(problems)}")
    if not examples:
        raise DataError(f"{data.path}: expected a row for each image, found none")
    return examples


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield each row of a CSV file with header, preceded by the number of its last line.

    Raises:
        MissingColumnError: The file lacks one of the columns.
        DataError: The file is not CSV in UTF-8.
        OSError: The file cannot be read.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restval="", strict=True)
        try:
            header = list(reader.fieldnames or [])
            _check_columns(path, header, columns)
            for row in reader:
                yield reader.line_num, {name: row[name].strip() for name in header}
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path}: expected CSV in UTF-8: {error}") from error


def _check_columns(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    for name in columns:
        if name not in header:
            nearest = difflib.get_close_matches(name, header, n=1)
            hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
            raise MissingColumnError(
                f"{path} has no column '{name}', only {', '.join(header) or 'nothing'}{hint}", name
            )


def _parse_row(data: TableData, row: Mapping[str, str], labels: Sequence[str], task: Task) -> Example:
    name = row[data.image_column]
    path = data.directory / name
    if not name or not path.is_file():
        raise ValueError(f"{data.image_column}: '{name}' is not a file in {data.directory}")
    if data.label_column is None:
        classes = tuple(number for number, label in enumerate(labels) if parse_boolean(label, row[label]))
    else:
        classes = _parse_labels(row[data.label_column], labels, data.separator if task == "multilabel" else None)
    if task == "multiclass" and len(classes) != 1:
        raise ValueError(f"expected exactly one class, found {len(classes)}; set task: multilabel for any number")
    return Example(path, classes, name)


def parse_boolean(label: str, value: str) -> bool:
    """Return whether the column of a label says that an image shows it, or raise ValueError."""
    if value.casefold() not in BOOLEANS:
        raise ValueError(f"{label}: expected 0 or 1, found '{value}'")
    return BOOLEANS[value.casefold()]


def _parse_labels(value: str, labels: Sequence[str], separator: str | None) -> tuple[int, ...]:
    names = [value] if separator is None else [name.strip() for name in value.split(separator) if name.strip()]
    return tuple(sorted({find_class(name, labels, "configuration") for name in names}))
