"""The files that `evaluate` writes into the folder of a run, and what to do if one cannot be used."""

from pathlib import Path

from train.commands import train_command
from train.errors import TrainError


def unusable_file(path: Path, error: Exception) -> TrainError:
    """Return the error that says what is wrong with a file of an evaluation, and which command writes it again.

    Args:
        path: The file, in the folder of its run.
        error: What reading it raised.
    """
    if isinstance(error, FileNotFoundError):
        problem = "it does not exist"
    elif isinstance(error, OSError):
        problem = f"it cannot be read ({error.strerror})"
    else:
        problem = "it is damaged, or of another version"
    return TrainError(f"{path} cannot be used: {problem}; write it with: {train_command('evaluate', path.parent)}")
