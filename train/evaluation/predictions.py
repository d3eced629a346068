"""The predictions of a run for each test image, as a table for people and for comparing runs image by image."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from train.data.examples import Example
from train.evaluation.curves import log_losses
from train.evaluation.evaluate import Evaluation
from train.evaluation.run_files import unusable_file

PREDICTIONS_FILE = "predictions.csv"
"""File name in the folder of a run."""
COLUMNS = ("image", "sha256", "classes", "predicted", "probability", "correct", "log_loss")


class ImageResult(NamedTuple):
    """How well one test image is classified.

    Attributes:
        correct: Whether the predicted classes are exactly the true ones.
        log_loss: Mean cross-entropy of its decisions, in nats.
    """

    correct: bool
    log_loss: float


def write_predictions(run: Path, evaluation: Evaluation, examples: Sequence[Example], labels: Sequence[str]) -> None:
    """Write one row for each test image into the folder of a run, replacing any earlier table.

    Args:
        run: Folder of the run.
        evaluation: The evaluation of `examples`.
        examples: The test images.
        labels: Name of each class.

    Raises:
        OSError: The table cannot be written, or an image cannot be read.
    """
    losses = log_losses(evaluation.probabilities, evaluation.targets, multilabel=evaluation.thresholds is not None)
    with (run / PREDICTIONS_FILE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for index, example in enumerate(examples):
            decisions = zip(labels, evaluation.decisions[index], strict=True)
            writer.writerow(
                (
                    example.name,
                    example.sha256,
                    ";".join(labels[number] for number in example.classes),
                    ";".join(label for label, is_predicted in decisions if is_predicted),
                    f"{evaluation.probabilities[index].max():.6f}",
                    int(evaluation.correct[index]),
                    f"{losses[index].mean():.6f}",
                )
            )


def read_results(run: Path) -> dict[str, ImageResult]:
    """Return the result of each test image of a run by the SHA-256 of the image.

    Raises:
        TrainError: The run has not been evaluated, or the table does not have the format that is written.
    """
    path = run / PREDICTIONS_FILE
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {
                row["sha256"]: ImageResult(row["correct"] == "1", float(row["log_loss"]))
                for row in csv.DictReader(file)
            }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise unusable_file(path, error) from error
