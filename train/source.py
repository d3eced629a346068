"""What the sources of one's own pictures have in common."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import Field

from train.errors import TrainError
from train.section import Section

OpenFraction: TypeAlias = Annotated[float, Field(gt=0, lt=0.5)]

SHOWN = 10
"""So many of the things wrong with a source are told at most."""


class DataError(TrainError):
    """Pictures or labels that do not fit each other or the configuration."""


class OwnData(Section):
    """Pictures on disk that nobody has split yet; see `train.splits` for how that is done.

    Attributes:
        directory: Where the pictures are.
        validation: Share of the pictures that is kept back to watch the training with, and to calibrate with.
        test: Share that is kept back to measure with.
        cache: Folder that keeps the pictures as model inputs, so that each is decoded once; see `train.pictures`.
        title: Name, for the model card.
        licence: Likewise.
    """

    directory: Path
    validation: OpenFraction = 0.15
    test: OpenFraction = 0.15
    cache: Path = Path("data/cache")
    title: str
    licence: str = Field(min_length=1)


def enumerate_faults(faults: Sequence[str]) -> str:
    """Write the first faults as a line each, and how many more there are."""
    more = [f"  and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
    return "\n".join([*(f"  {fault}" for fault in faults[:SHOWN]), *more])
