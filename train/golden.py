"""Golden images: a handful that travel with a model, and what the trained network said about them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from train.errors import TrainError
from train.evaluate import Evaluation
from train.examples import Example
from vision.decode import sniff

SCHEMA = 1
FOLDER = Path("assets.extra/golden")
"""In a version's directory; TensorFlow itself does not look at it."""
INDEX = "golden.json"
TOLERANCE = 1e-4
"""The most that a probability may differ between two ways to the same model; sums are rounded in another order."""


class GoldenError(TrainError):
    """Golden images that are missing or cannot be read."""


@dataclass(frozen=True, slots=True)
class Golden:
    """One golden image.

    Attributes:
        example: The image and its right class.
        probabilities: float32[K], what the trained network said.
    """

    example: Example
    probabilities: npt.NDArray[np.float32]


def choose(examples: Sequence[Example], answered: Evaluation) -> list[Example]:
    """Return the first example of each class that occurs; of those answered rightly, if there is one.

    They show that two ways to a model agree, and are what people try first.
    """
    right = answered.answers == answered.labels
    first: dict[int, Example] = {}
    for index in (*np.flatnonzero(right), *np.flatnonzero(~right)):
        first.setdefault(examples[index].label, examples[index])
    return [first[label] for label in sorted(first)]


def evaluation(goldens: Sequence[Golden]) -> Evaluation:
    """Return what training noted, in the form of an evaluation."""
    labels = np.array([golden.example.label for golden in goldens], np.int32)
    return Evaluation(np.stack([golden.probabilities for golden in goldens]), labels)


def write_golden(version: Path, goldens: Sequence[Golden], labels: Sequence[str]) -> None:
    """Write the images as they are, and `INDEX` with label and probabilities of each.

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
                "class_id": golden.example.label,
                "class": labels[golden.example.label],
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
                Example((folder / entry["file"]).read_bytes(), int(entry["class_id"])),
                np.array(entry["probabilities"], np.float32),
            )
            for entry in document["images"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GoldenError(f"{folder}: no golden images that can be read: {error!r}") from error
