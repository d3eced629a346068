"""Early stopping: when a run has been at its best, and the weights that it had then."""

from collections.abc import Sequence
from pathlib import Path

import keras

from train.training.checkpoint import load_checkpoint, save_checkpoint

BEST_FILE = "best.npz"


class EarlyStopping:
    """Watches the loss of the validation images; without patience it only looks on.

    Args:
        run: Where the best weights are kept.
        patience: So many epochs without a lower loss are enough.
        losses: Of the epochs before a break.
    """

    def __init__(self, run: Path, patience: int | None, losses: Sequence[float]) -> None:
        self._run, self._patience, self._losses = run, patience, list(losses)

    @property
    def over(self) -> bool:
        """Whether patience is at an end."""
        if self._patience is None or not self._losses:
            return False
        return len(self._losses) - 1 - self._losses.index(min(self._losses)) >= self._patience

    def note(self, loss: float, weights: Sequence[keras.Variable]) -> None:
        """Take note of an epoch, and keep its weights if there are no better ones.

        Raises:
            OSError: They cannot be written.
        """
        if self._patience is not None and loss < min(self._losses, default=float("inf")):
            save_checkpoint(self._run, len(self._losses) + 1, weights, BEST_FILE)
        self._losses.append(loss)

    def restore(self, weights: Sequence[keras.Variable]) -> None:
        """Bring back the best weights.

        Raises:
            CheckpointError: Others were kept.
            OSError: They cannot be read.
        """
        if self._patience is not None and self._losses:
            load_checkpoint(self._run, weights, BEST_FILE)
