"""Early stopping: ends a run when the validation loss stops falling, and restores its best weights."""

from collections.abc import Sequence
from pathlib import Path

import keras

from train.training.checkpoint import load_checkpoint, save_checkpoint

BEST_FILE = "best.npz"


class EarlyStopping:
    """Monitors the validation loss; without patience it never stops a run.

    Args:
        run: Folder in which the best weights are saved.
        patience: Number of epochs without a lower loss after which the run stops; None never stops it.
        losses: Validation losses of the epochs before the run was resumed.
    """

    def __init__(self, run: Path, patience: int | None, losses: Sequence[float]) -> None:
        self._run, self._patience, self._losses = run, patience, list(losses)

    @property
    def should_stop(self) -> bool:
        """Whether the loss has not fallen for `patience` epochs."""
        if self._patience is None or not self._losses:
            return False
        return len(self._losses) - 1 - self._losses.index(min(self._losses)) >= self._patience

    def record(self, loss: float, weights: Sequence[keras.Variable]) -> None:
        """Record the loss of an epoch, and save its weights if they are the best so far.

        Raises:
            OSError: The weights cannot be written.
        """
        if self._patience is not None and loss < min(self._losses, default=float("inf")):
            save_checkpoint(self._run, len(self._losses) + 1, weights, BEST_FILE)
        self._losses.append(loss)

    def restore(self, weights: Sequence[keras.Variable]) -> None:
        """Restore the best weights.

        Raises:
            CheckpointError: The saved weights belong to another network.
            OSError: The weights cannot be read.
        """
        if self._patience is not None and self._losses:
            load_checkpoint(self._run, weights, BEST_FILE)
