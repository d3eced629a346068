"""The worst mistakes of a model, as a list and as one image of numbered tiles."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from train.data.examples import Example
from train.data.image_loading import load
from train.evaluation.evaluate import Evaluation
from vision.card import InputSpec

TILE = 112
GAP = 4
COLUMNS = 8
MAX_MISTAKES = 40
BACKGROUND = (128, 128, 128)  # visible on both the light and the dark page
_SPEC = InputSpec(height=TILE, width=TILE, resize="letterbox", interpolation="area", background=BACKGROUND)


@dataclass(frozen=True, slots=True)
class Mistake:
    """An image that is classified incorrectly.

    Attributes:
        index: Position of the image in its set.
        false_negatives: True classes that were not predicted.
        false_positives: Predicted classes that are not true.
    """

    index: int
    false_negatives: tuple[int, ...]
    false_positives: tuple[int, ...]


def worst_mistakes(evaluation: Evaluation, count: int = MAX_MISTAKES) -> list[Mistake]:
    """Return up to `count` mistakes, the most confident first.

    The confidence of a mistake is the highest probability that the model gave to one of its wrong decisions.
    """
    decisions, targets = evaluation.decisions, evaluation.targets
    wrong_probabilities = np.where(targets, 1 - evaluation.probabilities, evaluation.probabilities)
    confidence = np.where(decisions != targets, wrong_probabilities, 0).max(axis=1)
    wrong = np.flatnonzero(~evaluation.correct)
    order = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    return [
        Mistake(
            int(index),
            tuple(np.flatnonzero(targets[index] & ~decisions[index]).tolist()),
            tuple(np.flatnonzero(decisions[index] & ~targets[index]).tolist()),
        )
        for index in order
    ]


def contact_sheet(examples: Sequence[Example]) -> npt.NDArray[np.uint8]:
    """Arrange images in rows of `COLUMNS`, numbered from 1: uint8[H, W, 3], RGB.

    Args:
        examples: At least one image.
    """
    rows, columns = -(-len(examples) // COLUMNS), min(len(examples), COLUMNS)
    sheet = np.full((rows * (TILE + GAP) - GAP, columns * (TILE + GAP) - GAP, 3), BACKGROUND, np.uint8)
    for number, example in enumerate(examples):
        top, left = tile_corner(number)
        sheet[top : top + TILE, left : left + TILE] = load(example.data, _SPEC)
        position = (left + 4, top + TILE - 6)
        for color, thickness in (
            ((0, 0, 0), 3),
            ((255, 255, 255), 1),
        ):  # white with a dark outline is legible on any image
            cv2.putText(sheet, str(number + 1), position, cv2.FONT_HERSHEY_SIMPLEX, 0.45, color, thickness, cv2.LINE_AA)
    return sheet


def tile_corner(number: int) -> tuple[int, int]:
    """Return the top left corner of a tile, counted from 0: row and column in pixels."""
    row, column = divmod(number, COLUMNS)
    return row * (TILE + GAP), column * (TILE + GAP)
