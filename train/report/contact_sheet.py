"""The worst mistakes on one picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from train.data.examples import MAX_PIXELS, Example
from train.evaluation.evaluate import Evaluation
from vision.card import InputSpec
from vision.preprocess import load

TILE = 112
GAP = 4
COLUMNS = 8
MOST = 40
"""So many mistakes are shown at most."""
GROUND = (128, 128, 128)  # neither dark nor light pages stand out against it
_SPEC = InputSpec(height=TILE, width=TILE, resize="letterbox", interpolation="area", background=GROUND)


@dataclass(frozen=True, slots=True)
class Mistake:
    """An image with a wrong answer.

    Attributes:
        index: Which image of the set.
        missed: Class numbers that it is of and was not said to be.
        added: Class numbers that it was said to be of and is not.
    """

    index: int
    missed: tuple[int, ...]
    added: tuple[int, ...]


def worst_mistakes(evaluation: Evaluation, most: int = MOST) -> list[Mistake]:
    """Return the mistakes that the model was surest of, the surest first.

    How sure it was is the probability it gave to what is not so, the most in any of its wrong decisions.
    """
    decided, targets = evaluation.decided, evaluation.targets
    against = np.where(targets, 1 - evaluation.probabilities, evaluation.probabilities)
    sure = np.where(decided != targets, against, 0).max(axis=1)
    wrong = np.flatnonzero(~evaluation.right)
    order = wrong[np.argsort(-sure[wrong], kind="stable")][:most]
    return [
        Mistake(
            int(index),
            tuple(np.flatnonzero(targets[index] & ~decided[index]).tolist()),
            tuple(np.flatnonzero(decided[index] & ~targets[index]).tolist()),
        )
        for index in order
    ]


def contact_sheet(examples: Sequence[Example]) -> npt.NDArray[np.uint8]:
    """Put pictures in rows of `COLUMNS`, numbered from 1: uint8[H, W, 3], RGB.

    Args:
        examples: At least one.
    """
    rows, columns = -(-len(examples) // COLUMNS), min(len(examples), COLUMNS)
    sheet = np.full((rows * (TILE + GAP) - GAP, columns * (TILE + GAP) - GAP, 3), GROUND, np.uint8)
    for number, example in enumerate(examples):
        top, left = tile_corner(number)
        sheet[top : top + TILE, left : left + TILE] = load(example.data, _SPEC, max_pixels=MAX_PIXELS)
        place = (left + 4, top + TILE - 6)
        for color, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):  # white with a dark rim: seen on anything
            cv2.putText(sheet, str(number + 1), place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, color, thickness, cv2.LINE_AA)
    return sheet


def tile_corner(number: int) -> tuple[int, int]:
    """Tell where the top left corner of a picture is, the first being 0: row and column in pixels."""
    row, column = divmod(number, COLUMNS)
    return row * (TILE + GAP), column * (TILE + GAP)
