"""Golden images: a handful that travel with a model, and what the trained network said about them."""

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
from vision.decode import sniff

SCHEMA = 1
FOLDER = Path("assets.extra/golden")
"""In a version's directory; TensorFlow itself does not look at it."""
INDEX = "golden.json"
MOST = 20
"""So many images are chosen at most; they travel with every version."""
TOLERANCE = 1e-4
"""The most that a probability may differ between two ways to the same model; sums are rounded in another order."""


class GoldenError(TrainError):
    """Golden images that are missing or cannot be read."""


@dataclass(frozen=True, slots=True)
class Golden:
    """One golden image.

    Attributes:
        example: The image and its right classes.
        probabilities: float32[K], what the trained network said.
    """

    example: Example
    probabilities: npt.NDArray[np.float32]


def choose(examples: Sequence[Example], answered: Evaluation) -> list[Example]:
    """Return an example of each class that occurs, of the first `MOST`; one answered rightly, if there is one.

    They show that two ways to a model agree, and are what people try first.
    """
    chosen: dict[int, int] = {}
    for index in (*np.flatnonzero(answered.right), *np.flatnonzero(~answered.right)):
        for class_id in examples[index].classes:
            chosen.setdefault(class_id, int(index))
    of_classes = [chosen[class_id] for class_id in sorted(chosen)]
    return [examples[index] for index in list(dict.fromkeys(of_classes))[:MOST]]


def evaluation(goldens: Sequence[Golden], thresholds: npt.NDArray[np.float32] | None = None) -> Evaluation:
    """Return what training noted, in the form of an evaluation.

    Args:
        goldens: At least one.
        thresholds: Of the model, as `Evaluation` has them.
    """
    probabilities = np.stack([golden.probabilities for golden in goldens])
    targets = to_targets([golden.example for golden in goldens], probabilities.shape[1])
    return Evaluation(probabilities, targets.astype(bool), thresholds)


def write_golden(version: Path, goldens: Sequence[Golden], labels: Sequence[str]) -> None:
    """Write the images as they are, and `INDEX` with labels and probabilities of each.

    Args:
        version: The version's directory.
        goldens: The images; encoded in a format that `vision.decode` knows.
        labels: The name of each class.

    Raises:
        OSError: The folder exists or a file cannot be written.
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
                **_right_classes(golden.example, labels),
                "probabilities": [float(value) for value in golden.probabilities],
            }
        )
    document = {"schema": SCHEMA, "tolerance": TOLERANCE, "images": entries}
    (folder / INDEX).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def read_golden(version: Path) -> list[Golden]:
    """Read what `write_golden` wrote.

    Raises:
        GoldenError: A file is missing or not of this form.
    """
    folder = version / FOLDER
    try:
        document = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return [
            Golden(
                Example((folder / entry["file"]).read_bytes(), _class_numbers(entry), entry["file"]),
                np.array(entry["probabilities"], np.float32),
            )
            for entry in document["images"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GoldenError(f"{folder}: no golden images that can be read: {error!r}") from error


def _right_classes(example: Example, labels: Sequence[str]) -> dict[str, Any]:
    if len(example.classes) == 1:
        return {"class_id": example.classes[0], "class": labels[example.classes[0]]}
    return {"class_ids": list(example.classes), "classes": [labels[number] for number in example.classes]}


def _class_numbers(entry: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(map(int, entry["class_ids"] if "class_ids" in entry else (entry["class_id"],)))
