"""The metrics of each epoch, as CSV and for TensorBoard."""

import csv
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf
import yaml

from train.config.training_config import TrainingConfig
from train.data.whole_file import named_errors, replace_file
from train.errors import TrainError
from train.training.trainer import Metrics

LOG_FILE = "log.csv"
TENSORBOARD_FOLDER = "tensorboard"
VALIDATION_PREFIX = "val_"


class Log:
    """Appends the metrics of each epoch to `LOG_FILE` and for TensorBoard.

    TensorBoard gets the folders `train` and `validation`, which it shows as two lines in one chart, and the
    configuration as text.

    Args:
        run: Folder of the run.
        config: Its configuration.
        first: Number of epochs before the run was resumed; lines of later epochs are dropped.

    Raises:
        TrainError: The lines of a resumed run are damaged.
        OSError: A file cannot be read or written.

    Attributes:
        rows: The remaining lines; none if the file of a resumed run is missing.
    """

    def __init__(self, run: Path, config: TrainingConfig, first: int) -> None:
        self._path, self._folder = run / LOG_FILE, run / TENSORBOARD_FOLDER
        self.rows = self._read(first) if first else []
        self._columns = list(self.rows[0]) if self.rows else None
        with replace_file(self._path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            if self._columns:
                writer = csv.DictWriter(file, self._columns, lineterminator="\n")
                writer.writeheader()
                writer.writerows(self.rows)
        with _summary_errors(self._folder):
            self._train, self._validation = (
                tf.summary.create_file_writer(str(self._folder / part)) for part in ("train", "validation")
            )
            if not first:
                document = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
                with self._train.as_default(step=0):
                    tf.summary.text("configuration", f"```yaml\n{document}```")

    def values(self, metric: str) -> dict[int, float]:
        """Return a metric by epoch.

        Raises:
            TrainError: A line has no such number.
        """
        try:
            return {int(row["epoch"]): float(row[metric]) for row in self.rows}
        except (KeyError, ValueError) as error:
            raise self._damage() from error

    def write(self, epoch: int, metrics: Metrics) -> None:
        """Write the metrics of an epoch; those of the validation images have the prefix `val_`.

        Raises:
            OSError: A file cannot be written.
        """
        values = {"epoch": epoch, **metrics}
        with named_errors(self._path), self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns or [*values], extrasaction="ignore", lineterminator="\n")
            if not self._columns:
                writer.writeheader()
            writer.writerow(values)
        self._columns = list(writer.fieldnames)
        with _summary_errors(self._folder):
            for name, value in metrics.items():
                part = self._validation if name.startswith(VALIDATION_PREFIX) else self._train
                with part.as_default(step=epoch + 1):
                    tf.summary.scalar(name.removeprefix(VALIDATION_PREFIX), value)
            self._train.flush()
            self._validation.flush()

    def _read(self, first: int) -> list[dict[str, str]]:
        """Return the lines of the epochs before `first`."""
        if not self._path.exists():
            return []
        try:
            with self._path.open(encoding="utf-8", newline="") as file:
                rows = [row for row in csv.DictReader(file, strict=True) if int(row["epoch"]) < first]
        except (UnicodeDecodeError, csv.Error, KeyError, ValueError) as error:
            raise self._damage() from error
        if any(None in (*row, *row.values()) for row in rows):  # a line has more or fewer fields than the first one
            raise self._damage()
        return rows

    def _damage(self) -> TrainError:
        return TrainError(f"{self._path} is damaged; restore it, or start another run without --resume")


@contextmanager
def _summary_errors(folder: Path) -> Iterator[None]:
    """Raise the errors of TensorFlow's writers as those of a file.

    Raises:
        OSError: A file cannot be written.
    """
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
    except tf.errors.OpError as error:
        raise OSError(errno.EIO, error.message, str(folder)) from error
