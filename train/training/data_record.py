"""The images that a run was started with, so that a later change of the data set is noticed."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.data.examples import Example, Splits
from train.data.whole_file import replace_file
from train.errors import TrainError

DATA_FILE = "data.json"
PARTS = ("train", "validation", "test")
LEARNT = ("train", "validation")
"""Parts that a run learns from: by its weights, or by its choice of an epoch, thresholds and temperature."""
EARLIER = "earlier"
"""Member of the record with these parts of the runs whose network a run started from."""
DIGEST_BYTES = 8


@dataclass(frozen=True, slots=True)
class Reuse:
    """Images of a part that a run has learned from, because the data set has changed since it was started.

    Attributes:
        part: Name of the part, `validation` or `test`.
        reused: Number of these images.
        images: Number of all images of the part.
    """

    part: str
    reused: int
    images: int


def record_data(run: Path, splits: Splits, *, is_resumed: bool, weights: Path | None = None) -> None:
    """Write a digest of the content of each image, part by part, or compare it with the record of a resumed run.

    A new run replaces the record of one that was killed at its start in the same folder.

    Args:
        run: Folder of the run.
        splits: Its images.
        is_resumed: Whether the run is continued.
        weights: File of the initial weights. If it lies in the folder of an earlier run, the record also has the images
            which that one has learned from.

    Raises:
        TrainError: The run to resume was started with other training or validation images.
        OSError: An image cannot be read, or the record cannot be written.
    """
    digests = {part: _digest_all(getattr(splits, part)) for part in PARTS}
    recorded = _read_record(run) if is_resumed else None
    if recorded is None:
        earlier = _read_record(weights.parent) if weights else None
        record: dict[str, Any] = dict(digests)
        if earlier:
            record[EARLIER] = {part: sorted({*earlier[part], *earlier[EARLIER][part]}) for part in LEARNT}
        with replace_file(run / DATA_FILE) as temporary:
            temporary.write_text(json.dumps(record), encoding="utf-8")
        return
    for part in LEARNT:
        before, now = set(recorded[part]), set(digests[part])
        if before != now:
            raise TrainError(
                f"{run} was started with other {part} images: {len(now - before)} are new and {len(before - now)} are"
                " missing; restore the data set, or start another run without --resume"
            )


def find_reuse(run: Path, splits: Splits) -> list[Reuse]:
    """Return how many validation and test images a run has trained on; none of a run without a record.

    A test image also counts if it was a validation image of the run, because the run has learned from those as well.
    An image of either part counts if the run started from the network of an earlier one that has learned from it.

    Raises:
        TrainError: The record is damaged.
        OSError: An image cannot be read.
    """
    recorded = _read_record(run)
    if recorded is None:
        return []
    reuses = []
    for part, parts in {"validation": LEARNT[:1], "test": LEARNT}.items():
        now = _digest_all(getattr(splits, part))
        source = {digest for name in parts for digest in recorded[name]} - set(recorded[part])
        source.update(digest for name in parts for digest in recorded[EARLIER][name])
        reused = sum(digest in source for digest in now)
        if reused:
            reuses.append(Reuse(part, reused, len(now)))
    return reuses


def recognise_images(run: Path) -> Callable[[Example], bool]:
    """Return a function that tells whether a run was trained or evaluated with an image; with none, without a record.

    Raises:
        TrainError: The record is damaged.
    """
    recorded = _read_record(run) or {}
    digests = {digest for part in PARTS for digest in recorded.get(part, ())}
    return lambda example: _digest(example) in digests


def _read_record(run: Path) -> dict[str, Any] | None:
    path = run / DATA_FILE
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        earlier = record.get(EARLIER, {part: [] for part in LEARNT})
        return {part: list(record[part]) for part in PARTS} | {EARLIER: {part: list(earlier[part]) for part in LEARNT}}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainError(f"{path} is damaged; delete it, which leaves changes of the data set unnoticed") from error


def _digest_all(examples: Sequence[Example]) -> list[str]:
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_digest, examples))


def _digest(example: Example) -> str:
    return example.sha256[: 2 * DIGEST_BYTES]
