"""Checkpoints: the complete state of a run in one file, written atomically."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from train.data.whole_file import replace_file
from train.errors import TrainError
from train.training.run_folder import CHECKPOINT_FILE


class CheckpointError(TrainError):
    """A checkpoint that is damaged, or of another network or optimiser than the run's."""


def save_checkpoint(run: Path, epoch: int, variables: Sequence[keras.Variable], name: str = CHECKPOINT_FILE) -> None:
    """Save the state after `epoch` epochs, and replace an earlier checkpoint of that name.

    Raises:
        OSError: The file cannot be written; the earlier checkpoint is unchanged.
    """
    with replace_file(run / name) as temporary:
        np.savez(temporary, epoch, *(variable.numpy() for variable in variables))


def load_checkpoint(run: Path, variables: Sequence[keras.Variable], name: str = CHECKPOINT_FILE) -> int:
    """Restore variables from a checkpoint; return the number of epochs before it, or 0 if there is none.

    Raises:
        CheckpointError: The checkpoint is damaged or holds variables of other shapes.
        OSError: The file cannot be read.
    """
    path = run / name
    if not path.exists():
        return 0
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            epoch, *values = (arrays[f"arr_{index}"] for index in range(len(arrays.files)))
    except (EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} is damaged; delete it, and start again without --resume") from error
    if [value.shape for value in values] != [tuple(variable.shape) for variable in variables]:
        raise CheckpointError(
            f"{path} belongs to another network or optimizer than the configuration's; start again without --resume"
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return int(epoch)
