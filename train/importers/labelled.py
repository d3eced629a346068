"""Calibrate an imported network on labelled images, as `train.verification.assess` does for one that was trained."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from train.config.datasets import SEPARATOR
from train.data.class_labels import find_class, find_folder_class
from train.data.csv_table import parse_boolean, read_rows
from train.data.examples import DataError, Example, format_problems, to_inputs
from train.data.folders import class_folders, is_image, list_files
from train.evaluation.assessment import compute_coverage
from train.evaluation.calibrate import Calibration, calibrate
from train.evaluation.evaluate import card_thresholds, evaluate
from train.export.forms import Samples
from train.importers.foreign import ForeignClassifier
from vision.card import Card

ANSWERED_ACCURACY = 0.99
"""Accuracy of the answers at or above `abstain_below`; the default of a training configuration."""
FILE, LABEL, INDEX = "file", "label", "index"
"""Columns of a table of labelled images."""


@dataclass(frozen=True, slots=True)
class LabelledCalibration:
    """What labelled images tell of an imported network.

    Attributes:
        examples: The images with their classes.
        samples: The same, decoded.
        calibration: What was chosen on them.
        metrics: Members of the card's metrics: accuracy, calibration error and log loss. The last two are
            cross-validated, since the temperature was chosen on the same images, and also given before calibration.
    """

    examples: Sequence[Example]
    samples: Samples
    calibration: Calibration
    metrics: Mapping[str, Any]

    def complete(self, card: Card) -> Card:
        """Return the card with the thresholds and the metrics; an `abstain_below` that it states is kept."""
        chosen = self.calibration
        if chosen.thresholds is not None:
            card = dataclasses.replace(card, threshold=chosen.thresholds)
        elif card.abstain_below is None:
            card = dataclasses.replace(card, abstain_below=chosen.abstain_below)
        return dataclasses.replace(card, metrics={**card.metrics, **self.metrics})


def calibrate_on(path: Path, classifier: ForeignClassifier) -> LabelledCalibration:
    """Choose temperature and thresholds of a foreign model on labelled images.

    Args:
        path: The images, see `read_labelled`.
        classifier: The model.

    Raises:
        DataError: The images or their labels cannot be used.
    """
    card = classifier.card
    examples = read_labelled(path, card)
    inputs = to_inputs(examples, card.input, len(card.labels))
    before = evaluate(classifier.predict, inputs, card_thresholds(card))
    calibration = calibrate(before, card.task, ANSWERED_ACCURACY)
    after = evaluate(partial(classifier.predict, temperature=calibration.temperature), inputs, calibration.thresholds)
    metrics: dict[str, Any] = {
        "accuracy": after.accuracy,
        "images": len(inputs.images),
        "temperature": calibration.temperature,
    }
    if calibration.fit is not None:
        metrics |= {
            "calibration_error": calibration.fit.calibration_error_after,
            "calibration_error_before": calibration.fit.calibration_error_before,
            "log_loss": calibration.fit.log_loss_after,
            "log_loss_before": calibration.fit.log_loss_before,
        }
    abstain_below = calibration.abstain_below if card.abstain_below is None else card.abstain_below
    if abstain_below is not None:
        metrics["answered"] = compute_coverage(after, abstain_below)
    return LabelledCalibration(examples, Samples(inputs, calibration.thresholds), calibration, metrics)


def read_labelled(path: Path, card: Card) -> list[Example]:
    """Read labelled images: a folder with a folder for each class, or a CSV file.

    A CSV file has the column `file`, relative to its folder or to one below, and `label`, `index` or, for a multi-label
    card, one column for each label; several labels in one column are separated by `;`.

    Raises:
        DataError: A label is not one of the card's, a file is missing, or there are no images.
        OSError: The table cannot be read.
    """
    examples = _read_table(path, card) if path.is_file() else _read_folders(path, card)
    if not examples:
        raise DataError(f"{path}: expected labelled images, found none")
    return examples


def _read_folders(directory: Path, card: Card) -> list[Example]:
    if card.task == "multilabel":
        raise DataError(
            f"{directory}: the card's task is multilabel; name a CSV file, as a folder gives one label each"
        )
    return [
        Example(file, (find_folder_class(folder, card.labels, "card"),), str(file.relative_to(directory)))
        for folder in class_folders(directory)
        for file in list_files(folder)
        if is_image(file)
    ]


def _read_table(path: Path, card: Card) -> list[Example]:
    files: dict[str, list[Path]] = {}
    for file in list_files(path.parent):
        files.setdefault(file.name, []).append(file)
    examples, problems = [], []
    for line, row in read_rows(path, [FILE]):
        file = path.parent / row[FILE]
        try:
            file = file if file.is_file() else _find_file(files.get(file.name, []), row[FILE], path.parent)
            examples.append(Example(file, _classes_of(row, card), row[FILE]))
        except (DataError, ValueError) as error:
            problems.append(f"line {line}: {error}")
    if problems:
        raise DataError(f"{path}: {len(problems)} rows cannot be used:\n{format_problems(problems)}")
    return examples


def _classes_of(row: Mapping[str, str], card: Card) -> tuple[int, ...]:
    separator = SEPARATOR if card.task == "multilabel" else None
    cells = row.get(INDEX, row.get(LABEL))
    if cells is None:
        if set(card.labels) - row.keys():
            raise DataError(f"expected a column {LABEL}, {INDEX} or one for each label of the card")
        return tuple(number for number, label in enumerate(card.labels) if parse_boolean(label, row[label]))
    values = [cells] if separator is None else [value.strip() for value in cells.split(separator) if value.strip()]
    if INDEX not in row:
        return tuple(sorted({find_class(value, card.labels, "card") for value in values}))
    return tuple(sorted({_class_of_index(value, len(card.labels)) for value in values}))


def _find_file(files: Sequence[Path], name: str, directory: Path) -> Path:
    """Return the one file of a name."""
    if not files:
        raise DataError(f"{name} is not a file in {directory}")
    if len(files) > 1:
        paths = ", ".join(str(file.relative_to(directory)) for file in files[:2])
        raise DataError(f"{name} is the name of {len(files)} files, such as {paths}; give the path")
    return files[0]


def _class_of_index(value: str, labels: int) -> int:
    if not value.isdecimal() or int(value) >= labels:
        raise DataError(f"expected an {INDEX} of 0 to {labels - 1}, received {value!r}")
    return int(value)
