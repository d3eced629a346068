"""Loads the data set that a configuration names, split into training, validation and test images."""

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
    """Load the data set; missing files of a published one are downloaded first.

    A published set keeps its test images, and its validation images are drawn from the training images with the
    configuration's seed. Your own images are split as `train.data.splits` describes; unusable images are skipped.

    Args:
        config: Configuration of the run.
        on_progress: Receives the progress of downloads and decoding.
        directory: Folder of the files, instead of the configuration's.

    Raises:
        DataError: Labels, numbers or images contradict the configuration.
        MnistError, Cifar10Error: A file does not hold what its name promises.
        DownloadError: A missing file could not be downloaded.
        OSError: A file cannot be read or written.
    """
    data = config.data.model_copy(update={"directory": directory}) if directory else config.data
    if isinstance(data, OwnData):
        return load_own_data(config, data, on_progress)
    examples, test, further_tests = _load_published(data, on_progress)
    largest = max(number for example in (*examples, *test) for number in example.classes)
    if largest >= len(config.labels):
        raise DataError(f"class {largest} occurs in the data, but the configuration has {len(config.labels)} labels")
    if data.validation >= len(examples):
        raise DataError(f"data.validation: {data.validation} images cannot be held back from {len(examples)}")
    train, validation = hold_back(examples, data.validation, config.seed)
    return Splits(train, validation, test, further_tests)


def _load_published(
    data: MnistData | Cifar10Data, on_progress: OnProgress
) -> tuple[list[Example], list[Example], Mapping[str, list[Example]]]:
    if isinstance(data, Cifar10Data):
        return load_cifar10(data, on_progress)
    return *load_mnist(data, on_progress), {}
