"""The data set that a configuration names, split into what is learnt from and what is measured."""

from collections.abc import Mapping
from pathlib import Path

from train.config.datasets import Cifar10Data, MnistData, OwnData
from train.config.training_config import TrainingConfig
from train.data.cifar10 import load_cifar10
from train.data.download import OnProgress
from train.data.examples import DataError, Example, Splits, hold_back
from train.data.mnist import load_mnist
from train.data.own_data import load_own_data


def load_splits(config: TrainingConfig, on_progress: OnProgress, directory: Path | None = None) -> Splits:
    """Load the data set; what is missing of a published one is downloaded first.

    Of a published set the test images are the published ones; the validation images are held back from the training
    images with the configuration's seed. One's own pictures are split as `train.data.splits` tells; what cannot be used
    of them is left out.

    Args:
        config: The run's.
        on_progress: Told about downloads.
        directory: Where the files are, in place of the configuration's.

    Raises:
        DataError: Labels, numbers or pictures do not fit the configuration.
        MnistError, Cifar10Error: A file is not what its name says.
        DownloadError: A missing file could not be downloaded.
        OSError: A file cannot be read or written.
    """
    data = config.data.model_copy(update={"directory": directory}) if directory else config.data
    if isinstance(data, OwnData):
        return load_own_data(config, data, on_progress)
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
