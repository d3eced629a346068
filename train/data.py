"""The data set that a configuration names, split into what is learnt from and what is measured."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from train.cifar10 import Cifar10Data, load_cifar10
from train.config import Config
from train.download import OnProgress
from train.examples import Decoded, Example, LeftOut, Splits, hold_back
from train.folders import FolderData, list_pictures
from train.mnist import MnistData, load_mnist
from train.pictures import decode_once
from train.source import DataError, OwnData, enumerate_faults
from train.splits import FEW, distinct, split
from train.table import TableData, read_table


def load_splits(config: Config, on_progress: OnProgress, directory: Path | None = None) -> Splits:
    """Load the data set; what is missing of a published one is downloaded first.

    Of a published set the test images are the published ones; the validation images are held back from the training
    images with the configuration's seed. One's own pictures are split as `train.splits` tells; what cannot be used
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
        return _own(config, data, on_progress)
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


def _own(config: Config, data: FolderData | TableData, on_progress: OnProgress) -> Splits:
    if isinstance(data, FolderData):
        examples = list_pictures(data, config.labels)
    else:
        examples = read_table(data, config.labels, config.task)
    pictures, left_out = distinct(examples, on_progress)
    parts: dict[str, Decoded] = {}
    for name, part in split(pictures, data.validation, data.test, config.seed)._asdict().items():
        parts[name], unreadable = decode_once(part, config.input, data.cache / config.name / name, on_progress)
        left_out += unreadable
    _check_parts(parts, config.labels, left_out)
    return Splits(parts["train"], parts["validation"], parts["test"], left_out=left_out)


def _check_parts(parts: Mapping[str, Decoded], labels: Sequence[str], left_out: Sequence[LeftOut]) -> None:
    reasons = f"; left out:\n{enumerate_faults([' '.join(each) for each in left_out])}" if left_out else ""
    counts = Counter(number for part in parts.values() for example in part for number in example.classes)
    learnt = {number for example in parts["train"] for number in example.classes}
    for number, label in enumerate(labels):
        if number not in learnt:
            raise DataError(
                f"class '{label}': expected pictures to learn from, found none among the {counts[number]} that can be"
                f" used; {FEW} of the same classes are enough{reasons}"
            )
    for name, part in parts.items():
        if not part:
            raise DataError(f"data.{name}: expected a picture at least, found none{reasons}")
