"""Loads your own images: lists, deduplicates, splits and decodes them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from train.config.datasets import FolderData, TableData
from train.config.training_config import TrainingConfig
from train.data.contents import Content, read_contents
from train.data.csv_table import read_table
from train.data.decoded_cache import decode_cached
from train.data.download import OnProgress
from train.data.examples import MAX_LISTED, DataError, DecodedExamples, Example, Skipped, Splits, format_problems
from train.data.folders import Listing, list_images
from train.data.near_duplicates import Group, find_near_duplicates
from train.data.splits import MIN_GROUP, NearDuplicates, choose_together, deduplicate, split

CONTENTS_FILE = "contents.json"


class DistinctImages(NamedTuple):
    """Images of a data set, each content once.

    Attributes:
        images: Images by the SHA-256 of their content.
        near_duplicates: SHA-256 of images that look alike; empty if the configuration ignores them.
        skipped: Copies, images with contradictory classes and unreadable files.
        other_files: Names of files that are not images.
    """

    images: Mapping[str, Example]
    near_duplicates: Sequence[Group]
    skipped: list[Skipped]
    other_files: Sequence[str]


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
    images, groups, skipped, other_files = list_distinct(config, data, on_progress)
    near_duplicates = choose_together(groups, images)
    parts: dict[str, DecodedExamples] = {}
    divided = split(images, data.validation, data.test, config.seed, near_duplicates.together)
    for name, part in divided._asdict().items():
        parts[name], undecodable = decode_cached(part, config.input, data.cache / config.name / name, on_progress)
        skipped += undecodable
    _check_parts(parts, config.labels, skipped)
    return Splits(
        parts["train"],
        parts["validation"],
        parts["test"],
        skipped=skipped,
        near_duplicates=[[images[digest] for digest in group] for group in near_duplicates.together],
        notes=[*_describe_other_files(other_files), *_describe_near_duplicates(near_duplicates)],
    )


def list_distinct(config: TrainingConfig, data: FolderData | TableData, on_progress: OnProgress) -> DistinctImages:
    """List the images of a folder or a CSV file, and find copies and near-duplicates.

    Args:
        config: Configuration of the run.
        data: Its section `data`, with the folder to read from.
        on_progress: Receives the progress of reading.

    Raises:
        DataError: Labels or rows contradict the configuration.
        OSError: A folder or the CSV cannot be read, or the cache cannot be written.
    """
    if isinstance(data, FolderData):
        examples, other_files = list_images(data, config.labels)
    else:
        examples, other_files = Listing(read_table(data, config.labels, config.task), [])
    contents = read_contents(examples, data.cache / config.name / CONTENTS_FILE, on_progress)
    images, skipped = deduplicate(examples, contents)
    hashes = _hashes(images, contents) if data.near_duplicates == "group" else {}
    return DistinctImages(images, find_near_duplicates(hashes, data.near_duplicate_distance), skipped, other_files)


def _hashes(images: Mapping[str, Example], contents: Sequence[Content | OSError]) -> dict[str, int]:
    return {
        content.sha256: content.perceptual_hash
        for content in contents
        if isinstance(content, Content) and content.perceptual_hash is not None and content.sha256 in images
    }


def _describe_other_files(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    further = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return [f"Ignored, since they are not images: {', '.join(names[:MAX_LISTED])}{further}"]


def _describe_near_duplicates(near_duplicates: NearDuplicates) -> list[str]:
    notes = []
    if near_duplicates.together:
        images = sum(map(len, near_duplicates.together))
        notes.append(
            f"{images} images are near-duplicates: {len(near_duplicates.together)} groups, each kept in one part. "
            "List them with: python -m train duplicates CONFIG"
        )
    if near_duplicates.divided:
        images = sum(map(len, near_duplicates.divided))
        notes.append(
            f"{images} images look alike but are too large a share of their classes to be kept in one part, so they are"
            " split like other images; the test may be too easy. A smaller data.near_duplicate_distance separates them"
        )
    return notes


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
