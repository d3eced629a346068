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
        OSError: A file cannot be read or written.

    Attributes:
        rows: The remaining lines.
    """

    def __init__(self, run: Path, config: TrainingConfig, first: int) -> None:
        self._path, self._folder = run / LOG_FILE, run / TENSORBOARD_FOLDER
        lines = self._path.read_text(encoding="utf-8").splitlines()[: first + 1] if first else []
        with replace_file(self._path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        self.rows = list(csv.DictReader(lines))
        self._columns = lines[0].split(",") if lines else None
        with _summary_errors(self._folder):
            self._train, self._validation = (
                tf.summary.create_file_writer(str(self._folder / part)) for part in ("train", "validation")
            )
            if not first:
                document = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
                with self._train.as_default(step=0):
                    tf.summary.text("configuration", f"```yaml\n{document}```")

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
