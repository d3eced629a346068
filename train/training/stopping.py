"""Early stopping: ends a stage of a run when the monitored metric stops improving, and restores the best weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import keras

from train.training.checkpoint import load_checkpoint, save_checkpoint

BEST_FILE = "best.npz"


class EarlyStopping:
    """Monitors a metric of the validation images; without patience it never stops a stage and restores nothing.

    Args:
        run: Folder in which the best weights are saved.
        patience: Number of epochs of a stage without an improvement after which the stage stops; None never stops it.
        values: Values of the metric in the epochs before the run was resumed.
        mode: Whether lower (`min`) or higher (`max`) values are better.
        finished: Number of these epochs that belong to stages that have ended.
    """

    def __init__(
        self,
        run: Path,
        patience: int | None,
        values: Sequence[float],
        mode: Literal["min", "max"] = "min",
        finished: int = 0,
    ) -> None:
        self._run, self._patience = run, patience
        self._sign = 1 if mode == "min" else -1
        self._costs = [self._sign * value for value in values]
        self._finished = finished

    @property
    def should_stop(self) -> bool:
        """Whether the metric has not improved for `patience` epochs of the stage."""
        costs = self._costs[self._finished :]
        if self._patience is None or not costs:
            return False
        return len(costs) - 1 - costs.index(min(costs)) >= self._patience

    def record(self, value: float, weights: Sequence[keras.Variable]) -> None:
        """Record the metric of an epoch, and save the weights if they are the best of all stages so far.

        Raises:
            OSError: The weights cannot be written.
        """
        cost = self._sign * value
        if self._patience is not None and cost < min(self._costs, default=float("inf")):
            save_checkpoint(self._run, len(self._costs) + 1, weights, BEST_FILE)
        self._costs.append(cost)

    def end_stage(self, weights: Sequence[keras.Variable]) -> None:
        """Restore the best weights of all stages so far, from which the next stage starts.

        Raises:
            CheckpointError: The saved weights belong to another network.
            OSError: The weights cannot be read.
        """
        if self._patience is not None and self._costs:
            load_checkpoint(self._run, weights, BEST_FILE)
        self._finished = len(self._costs)
