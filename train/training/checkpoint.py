"""Everything that a run goes on from, in one file that is there whole or not at all."""

import os
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from train.errors import TrainError

CHECKPOINT_FILE = "checkpoint.npz"


class CheckpointError(TrainError):
    """A checkpoint that does not belong to the run."""


def save_checkpoint(run: Path, epoch: int, variables: Sequence[keras.Variable], name: str = CHECKPOINT_FILE) -> None:
    """Write the state after so many epochs in place of the one before of that name.

    Raises:
        OSError: It cannot be written; the one before is still there.
    """
    temporary = run / f"{name}.tmp"
    with temporary.open("wb") as file:
        np.savez(file, epoch, *(variable.numpy() for variable in variables))
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(run / name)


def load_checkpoint(run: Path, variables: Sequence[keras.Variable], name: str = CHECKPOINT_FILE) -> int:
    """Bring variables into the state that was saved; return how many epochs it comes after, 0 for none saved.

    Raises:
        CheckpointError: What was saved are other variables.
        OSError: It cannot be read.
    """
    path = run / name
    if not path.exists():
        return 0
    with np.load(path) as saved:
        epoch, *values = (saved[f"arr_{index}"] for index in range(len(saved.files)))
    if [value.shape for value in values] != [tuple(variable.shape) for variable in variables]:
        raise CheckpointError(f"{path} is of another network or optimizer than the configuration's; start anew")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return int(epoch)
