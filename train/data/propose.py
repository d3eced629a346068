"""Proposes a configuration for your own images: a starting point, to be edited like any other."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from train.config.datasets import SEPARATOR
from train.data.csv_table import BOOLEANS, read_rows
from train.data.examples import DataError
from train.data.folders import class_folders
from vision.card import Task

MIN_LABELS = 2
INPUT: Mapping[str, Any] = {"height": 224, "width": 224, "resize": "stretch", "interpolation": "area"}
MODEL: Mapping[str, Any] = {"kind": "application", "name": "MobileNetV2", "dropout": 0.3}
# Only the last layer is trained: a few hundred images suffice, in minutes and without a GPU.
TRAINING: Mapping[str, Any] = {
    "epochs": 0,
    "batch_size": 32,
    "learning_rate": 0.0001,
    "weight_decay": 0.01,
    "transfer": {"frozen_epochs": 60, "frozen_learning_rate": 0.001},
}
HEADER = """\
# Trains `{name}`, starting from a network pretrained on ImageNet. After training, describe here what it was trained on,
# how long it took, and which accuracy to expect.
#
#   python -m train fit {out}
#   python -m train evaluate runs/{name}
#   python -m train export runs/{name}
"""
NOTES: Mapping[str, str] = {
    "title": "title and description are for the people who use the model.",
    "labels": "The order numbers the classes; do not change it once a version is served.",
    "task": "multiclass: an image has exactly one class; multilabel: any number.",
    "seed": "Another seed splits the images differently.",
    "input": "resize: stretch, center_crop or letterbox; the service does the same.",
    "data": "title and licence go into the model card; validation and test are the shares held back.",
    "training": "epochs of the whole network follow those of its last layer alone, in transfer.",
}
"""Comments above the top-level keys."""


def propose_for_folders(directory: Path) -> dict[str, Any]:
    """Propose a configuration for a folder of class folders.

    Raises:
        DataError: There are fewer than two class folders.
        OSError: The folder cannot be read.
    """
    labels = [folder.name for folder in class_folders(directory)]
    data = {"kind": "folders", "directory": str(directory)}
    return _propose(labels, "multiclass", data, directory.resolve().name)


def propose_for_table(path: Path, image_column: str, label_column: str | None) -> dict[str, Any]:
    """Propose a configuration for a CSV in the folder of its images.

    Args:
        path: The CSV.
        image_column: Column with the path of each image.
        label_column: Column with the label, or several separated by semicolons. None if each class has a column;
            classes are then all columns that hold only 0 and 1.

    Raises:
        DataError: The CSV lacks a column, or there are fewer than two labels.
        OSError: The CSV cannot be read.
    """
    rows = [row for _, row in read_rows(path, [image_column, *([label_column] if label_column else [])])]
    data = {"kind": "csv", "directory": str(path.parent), "file": path.name, "image_column": image_column}
    if label_column:
        values = {row[label_column] for row in rows}
        labels = sorted({label.strip() for value in values for label in value.split(SEPARATOR)} - {""})
        task: Task = "multilabel" if any(SEPARATOR in value for value in values) else "multiclass"
        return _propose(labels, task, data | {"label_column": label_column}, path.stem)
    names = list(rows[0]) if rows else []
    labels = [name for name in names if all(row[name].casefold() in BOOLEANS for row in rows)]
    return _propose(labels, "multilabel", data, path.stem)


def write_config(document: Mapping[str, Any], out: Path) -> None:
    """Write a configuration that is named after its file.

    Raises:
        FileExistsError: `out` exists.
        OSError: The file cannot be written.
    """
    name = re.sub("[^a-z0-9_-]+", "-", out.stem.lower()).strip("-_") or "model"
    header = HEADER.format(name=name, out=out)
    text = yaml.safe_dump(
        {"name": name, **document}, default_flow_style=None, allow_unicode=True, sort_keys=False, width=120
    )
    with out.open("x", encoding="utf-8") as file:
        file.write(header + _add_notes(text))


def _add_notes(text: str) -> str:
    lines = []
    for line in text.splitlines(keepends=True):
        note = NOTES.get(line.partition(":")[0])  # nested keys are indented, so they do not match
        lines += [f"# {note}\n", line] if note else [line]
    return "".join(lines)


def _propose(labels: Sequence[str], task: Task, data: Mapping[str, Any], title: str) -> dict[str, Any]:
    if len(labels) < MIN_LABELS:
        raise DataError(f"{title}: expected at least two labels, found {', '.join(labels) or 'none'}")
    return {
        "title": title,
        "description": f"Classifies photos: {', '.join(labels)}.",
        "labels": list(labels),
        "task": task,
        "seed": 1,
        "input": dict(INPUT),
        "data": {**data, "title": title, "licence": "not stated", "validation": 0.15, "test": 0.15},
        "model": dict(MODEL),
        "training": dict(TRAINING),
    }
