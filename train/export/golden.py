"""Golden images: a few images stored with each version, with the probabilities of the trained network."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from train.data.examples import Example, to_targets
from train.errors import TrainError
from train.evaluation.evaluate import Evaluation
from train.export.precision import Form, TfliteWeights
from vision.decode import sniff

SCHEMA = 1
FOLDER = Path("assets.extra/golden")
"""Path in the directory of a version; TensorFlow ignores it."""
INDEX = "golden.json"
MAX_IMAGES = 20
"""Limits the size of a version, which stores the images."""
TOLERANCE = 1e-4
"""The largest accepted difference of a probability between two ways to run a model, which round sums differently."""
TFLITE_TOLERANCES: Mapping[TfliteWeights, float] = {"float32": TOLERANCE, "int8": 0.15}
"""The same for TensorFlow Lite, by the type of the weights. Kernels for int8 round each activation, and on other
processors differently; docs/decisions/0019 has measurements."""


class GoldenError(TrainError):
    """The golden images are missing or cannot be read."""


@dataclass(frozen=True, slots=True)
class Golden:
    """One golden image.

    Attributes:
        example: The image and its true classes.
        probabilities: float32[K], computed by the trained network.
        tflite: float32[K], computed by the TensorFlow Lite form; None if the version has none.
    """

    example: Example
    probabilities: npt.NDArray[np.float32]
    tflite: npt.NDArray[np.float32] | None = None

    def probabilities_of(self, form: Form) -> npt.NDArray[np.float32]:
        """Return the probabilities of one form, which the version must have."""
        if form == "saved_model":
            return self.probabilities
        if self.tflite is None:
            raise GoldenError("the golden images record no probabilities of the TensorFlow Lite form")
        return self.tflite


def choose_golden(examples: Sequence[Example], evaluation: Evaluation) -> list[Example]:
    """Return one example of each class, up to `MAX_IMAGES`; a correctly classified one if possible.

    Golden images prove that two ways to run a model agree, and people use them to try it.

    Args:
        examples: The images to choose from.
        evaluation: The evaluation of `examples`.
    """
    index_by_class: dict[int, int] = {}
    for index in (*np.flatnonzero(evaluation.correct), *np.flatnonzero(~evaluation.correct)):
        for class_id in examples[index].classes:
            index_by_class.setdefault(class_id, int(index))
    indices = dict.fromkeys(index_by_class[class_id] for class_id in sorted(index_by_class))
    return [examples[index] for index in list(indices)[:MAX_IMAGES]]


def golden_evaluation(
    goldens: Sequence[Golden], thresholds: npt.NDArray[np.float32] | None = None, form: Form = "saved_model"
) -> Evaluation:
    """Return the recorded probabilities of a form as an evaluation.

    Args:
        goldens: At least one.
        thresholds: Thresholds of the model, as in `Evaluation`.
        form: The form; ``tflite`` requires that the version has it.
    """
    probabilities = np.stack([golden.probabilities_of(form) for golden in goldens])
    targets = to_targets([golden.example for golden in goldens], probabilities.shape[1])
    return Evaluation(probabilities, targets.astype(bool), thresholds)


def write_golden(
    version: Path, goldens: Sequence[Golden], labels: Sequence[str], tflite: TfliteWeights = "int8"
) -> None:
    """Write the images unchanged, and `INDEX` with the labels and probabilities of each.

    Args:
        version: Directory of the version.
        goldens: The images, in a format that `vision.decode` accepts.
        labels: The name of each class.
        tflite: Type of the weights of the TensorFlow Lite form, which decides how far it may differ elsewhere.

    Raises:
        OSError: The folder already exists, or a file cannot be written.
    """
    folder = version / FOLDER
    folder.mkdir(parents=True)
    entries = []
    for number, golden in enumerate(goldens):
        name = f"{number:02}.{sniff(golden.example.data)}"
        (folder / name).write_bytes(golden.example.data)
        entries.append(
            {
                "file": name,
                **_true_classes(golden.example, labels),
                "probabilities": golden.probabilities.tolist(),
                **({} if golden.tflite is None else {"tflite_probabilities": golden.tflite.tolist()}),
            }
        )
    tolerances = {"tolerance": TOLERANCE, "tflite_tolerance": TFLITE_TOLERANCES[tflite]}
    document = {"schema": SCHEMA, **tolerances, "images": entries}
    (folder / INDEX).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def read_golden(version: Path) -> list[Golden]:
    """Read the golden images of a version.

    Raises:
        GoldenError: A file is missing or does not have the format that `write_golden` writes.
    """
    folder = version / FOLDER
    try:
        document = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return [
            Golden(
                Example((folder / entry["file"]).read_bytes(), _class_ids(entry), entry["file"]),
                np.array(entry["probabilities"], np.float32),
                np.array(entry["tflite_probabilities"], np.float32) if "tflite_probabilities" in entry else None,
            )
            for entry in document["images"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GoldenError(f"{folder}: the golden images cannot be read: {error!r}") from error


def largest_difference(version: Path, other: Path, form: Form) -> float:
    """Return the largest difference between the probabilities that two versions recorded for the same images.

    Raises:
        GoldenError: Golden images are missing, or the versions have not the same ones.
    """
    goldens, others = (read_golden(path) for path in (version, other))
    if [golden.example for golden in goldens] != [golden.example for golden in others]:
        raise GoldenError(f"{version} and {other} have different golden images or classes")
    pairs = (golden_evaluation(images, form=form).probabilities for images in (goldens, others))
    return float(np.abs(np.subtract(*pairs)).max())


def _true_classes(example: Example, labels: Sequence[str]) -> dict[str, Any]:
    if len(example.classes) == 1:
        return {"class_id": example.classes[0], "class": labels[example.classes[0]]}
    return {"class_ids": list(example.classes), "classes": [labels[number] for number in example.classes]}


def _class_ids(entry: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(map(int, entry["class_ids"] if "class_ids" in entry else (entry["class_id"],)))
