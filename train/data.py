"""The data set that a configuration names, split into what is learnt from and what is measured."""

from collections.abc import Mapping
from pathlib import Path

from train.cifar10 import Cifar10Data, load_cifar10
from train.config import Config
from train.download import OnProgress
from train.errors import TrainError
from train.examples import Example, Splits, hold_back
from train.mnist import MnistData, load_mnist


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
        MnistError, Cifar10Error: A file is not what its name says.
        DownloadError: A missing file could not be downloaded.
        OSError: A file cannot be read or written.
    """
    data = config.data.model_copy(update={"directory": directory}) if directory else config.data
    rest, test, further = _published(data, on_progress)
    largest = max(number for example in (*rest, *test) for number in example.classes)
    if largest >= len(config.labels):
        raise DataError(f"class {largest} occurs in the data, but the configuration has {len(config.labels)} labels")
    if data.validation >= len(rest):
        raise DataError(f"data.validation: {data.validation} images cannot be held back from {len(rest)}")
    train, validation = hold_back(rest, data.validation, config.seed)
    return Splits(train, validation, test, further)


def _published(
    data: MnistData | Cifar10Data, on_progress: OnProgress
) -> tuple[list[Example], list[Example], Mapping[str, list[Example]]]:
    if isinstance(data, Cifar10Data):
        return load_cifar10(data, on_progress)
    return *load_mnist(data, on_progress), {}
