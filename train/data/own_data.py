"""Loads your own images: lists, deduplicates, splits and decodes them."""

from collections import Counter
from collections.abc import Mapping, Sequence

from train.config.datasets import FolderData, TableData
from train.config.training_config import TrainingConfig
from train.data.csv_table import read_table
from train.data.decoded_cache import decode_cached
from train.data.download import OnProgress
from train.data.examples import DataError, DecodedExamples, Skipped, Splits, format_problems
from train.data.folders import list_images
from train.data.splits import MIN_GROUP, deduplicate, split


def load_own_data(config: TrainingConfig, data: FolderData | TableData, on_progress: OnProgress) -> Splits:
    """Load the images of a folder or a CSV file.

    Args:
        config: Configuration of the run.
        data: Its section `data`, with the folder to read from.
        on_progress: Receives the progress of reading and decoding.

    Raises:
        DataError: Labels, rows or images contradict the configuration.
        OSError: A file cannot be read or written.
    """
    if isinstance(data, FolderData):
        examples = list_images(data, config.labels)
    else:
        examples = read_table(data, config.labels, config.task)
    images, skipped = deduplicate(examples, on_progress)
    parts: dict[str, DecodedExamples] = {}
    for name, part in split(images, data.validation, data.test, config.seed)._asdict().items():
        parts[name], undecodable = decode_cached(part, config.input, data.cache / config.name / name, on_progress)
        skipped += undecodable
    _check_parts(parts, config.labels, skipped)
    return Splits(parts["train"], parts["validation"], parts["test"], skipped=skipped)


def _check_parts(parts: Mapping[str, DecodedExamples], labels: Sequence[str], skipped: Sequence[Skipped]) -> None:
    reasons = f"; skipped:\n{format_problems([' '.join(each) for each in skipped])}" if skipped else ""
    counts = Counter(number for part in parts.values() for example in part for number in example.classes)
    trained = {number for example in parts["train"] for number in example.classes}
    for number, label in enumerate(labels):
        if number not in trained:
            raise DataError(
                f"class '{label}': expected images to train on, found none among its {counts[number]} usable ones;"
                f" {MIN_GROUP} of the same classes are enough{reasons}"
            )
    for name, part in parts.items():
        if not part:
            raise DataError(f"data.{name}: expected at least one image, found none{reasons}")
