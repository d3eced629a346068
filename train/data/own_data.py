"""One's own pictures: listed, split and decoded."""

from collections import Counter
from collections.abc import Mapping, Sequence

from train.config.datasets import FolderData, TableData
from train.config.training_config import TrainingConfig
from train.data.csv_table import read_table
from train.data.decoded_cache import decode_once
from train.data.download import OnProgress
from train.data.examples import DataError, Decoded, LeftOut, Splits, enumerate_faults
from train.data.folders import list_pictures
from train.data.splits import FEW, distinct, split


def load_own_data(config: TrainingConfig, data: FolderData | TableData, on_progress: OnProgress) -> Splits:
    """List, deduplicate, split and decode the pictures of a folder or a CSV file.

    Raises:
        DataError: Labels, rows or pictures do not fit the configuration.
        OSError: A file cannot be read or written.
    """
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
