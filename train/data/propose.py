"""A configuration for one's own pictures, to begin with: written once, then edited like any other."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from train.config.datasets import SEPARATOR
from train.data.csv_table import YES_AND_NO, read_rows
from train.data.examples import DataError
from train.data.folders import class_folders
from vision.card import Task

FEWEST_LABELS = 2
INPUT: Mapping[str, Any] = {"height": 224, "width": 224, "resize": "stretch", "interpolation": "area"}
MODEL: Mapping[str, Any] = {"kind": "application", "name": "MobileNetV2", "dropout": 0.3}
# The last layer alone: what a few hundred photos suffice for, in minutes and without a graphics card.
TRAINING: Mapping[str, Any] = {
    "epochs": 0,
    "batch_size": 32,
    "learning_rate": 0.0001,
    "weight_decay": 0.01,
    "transfer": {"frozen_epochs": 60, "frozen_learning_rate": 0.001},
}
HEADER = """\
# Trains `{name}`, starting from a network that knows ImageNet. Once it is trained, write here on what it was,
# for how long, and what score to expect.
#
#   python -m train fit {out}
#   python -m train evaluate runs/{name}
#   python -m train export runs/{name}
"""
NOTES: Mapping[str, str] = {
    "title": "For people who use the model, as the description is.",
    "labels": "The order gives the classes their numbers; leave it once a version is served.",
    "task": "multiclass: a picture is of exactly one class; multilabel: of any number.",
    "seed": "Another one splits the pictures in another way.",
    "input": "resize: stretch, center_crop or letterbox; the service does the same.",
    "data": "title and licence go into the model card; validation and test are the shares held back.",
    "training": "epochs of the whole network come after those of its last layer alone, in transfer.",
}


def propose_for_folders(directory: Path) -> dict[str, Any]:
    """Propose a configuration for a folder of class folders.

    Raises:
        DataError: There are fewer than two.
        OSError: The folder cannot be read.
    """
    labels = [folder.name for folder in class_folders(directory)]
    return _proposal(labels, "multiclass", {"kind": "folders", "directory": str(directory)}, directory.resolve().name)


def propose_for_table(path: Path, image_column: str, label_column: str | None) -> dict[str, Any]:
    """Propose a configuration for a CSV that lies in the folder of its pictures.

    Args:
        path: The CSV.
        image_column: Path of each picture.
        label_column: Its label, or several with semicolons between them; None where each class has a column, which
            are those that hold 0 or 1 in all rows.

    Raises:
        DataError: The CSV lacks a column, or there are fewer than two labels.
        OSError: It cannot be read.
    """
    rows = [row for _, row in read_rows(path, [image_column, *([label_column] if label_column else [])])]
    data = {"kind": "csv", "directory": str(path.parent), "file": path.name, "image_column": image_column}
    if label_column:
        values = {row[label_column] for row in rows}
        labels = sorted({label.strip() for value in values for label in value.split(SEPARATOR)} - {""})
        task: Task = "multilabel" if any(SEPARATOR in value for value in values) else "multiclass"
        return _proposal(labels, task, data | {"label_column": label_column}, path.stem)
    names = list(rows[0]) if rows else []
    labels = [name for name in names if all(row[name].casefold() in YES_AND_NO for row in rows)]
    return _proposal(labels, "multilabel", data, path.stem)


def write_config(document: Mapping[str, Any], out: Path) -> None:
    """Write a configuration named after its file.

    Raises:
        FileExistsError: There is such a file.
        OSError: It cannot be written.
    """
    name = re.sub("[^a-z0-9_-]+", "-", out.stem.lower()).strip("-_") or "model"
    header = HEADER.format(name=name, out=out)
    text = yaml.safe_dump(
        {"name": name, **document}, default_flow_style=None, allow_unicode=True, sort_keys=False, width=120
    )
    with out.open("x", encoding="utf-8") as file:
        file.write(header + _noted(text))


def _noted(text: str) -> str:
    lines = []
    for line in text.splitlines(keepends=True):
        note = NOTES.get(line.partition(":")[0])  # nested keys are indented
        lines += [f"# {note}\n", line] if note else [line]
    return "".join(lines)


def _proposal(labels: Sequence[str], task: Task, data: Mapping[str, Any], title: str) -> dict[str, Any]:
    if len(labels) < FEWEST_LABELS:
        raise DataError(f"{title}: expected at least two labels, found {', '.join(labels) or 'none'}")
    return {
        "title": title,
        "description": f"Tells what a photo shows: {', '.join(labels)}.",
        "labels": list(labels),
        "task": task,
        "seed": 1,
        "input": dict(INPUT),
        "data": {**data, "title": title, "licence": "not stated", "validation": 0.15, "test": 0.15},
        "model": dict(MODEL),
        "training": dict(TRAINING),
    }
