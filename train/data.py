"""The data set that a configuration names, split into what is learnt from and what is measured."""

from pathlib import Path

from train.config import Config
from train.download import OnProgress
from train.errors import TrainError
from train.examples import Splits, hold_back
from train.mnist import load_mnist


class DataError(TrainError):
    """A data set that does not fit its configuration."""


def load_splits(config: Config, on_progress: OnProgress, directory: Path | None = None) -> Splits:
    """Load the data set; what is missing of it is downloaded first.

    The test images are the published ones, always the same; the validation images are held back from the
    training images with the configuration's seed.

    Args:
        config: The run's.
        on_progress: Told about downloads.
        directory: Where the files are, in place of the configuration's.

    Raises:
        DataError: Labels or numbers do not fit the configuration.
        MnistError: A file is not what its name says.
        DownloadError: A missing file could not be downloaded.
        OSError: A file cannot be read or written.
    """
    data = config.data.model_copy(update={"directory": directory}) if directory else config.data
    rest, test = load_mnist(data, on_progress)
    largest = max(example.label for example in (*rest, *test))
    if largest >= len(config.labels):
        raise DataError(f"class {largest} occurs in the data, but the configuration has {len(config.labels)} labels")
    if data.validation >= len(rest):
        raise DataError(f"data.validation: {data.validation} images cannot be held back from {len(rest)}")
    train, validation = hold_back(rest, data.validation, config.seed)
    return Splits(train, validation, test)
