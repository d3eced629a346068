"""The images that a run was started with, so that a later change of the data set is noticed."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from train.data.examples import Example, Splits
from train.data.whole_file import replace_file
from train.errors import TrainError

DATA_FILE = "data.json"
PARTS = ("train", "validation", "test")
DIGEST_BYTES = 8


@dataclass(frozen=True, slots=True)
class Reuse:
    """Images of a part that a run has learnt from, because the data set has changed since it was started.

    Attributes:
        part: Name of the part, `validation` or `test`.
        reused: Number of these images.
        images: Number of all images of the part.
    """

    part: str
    reused: int
    images: int


def record_data(run: Path, splits: Splits, *, is_resumed: bool) -> None:
    """Write a digest of the content of each image, part by part, or compare it with the record of a resumed run.

    A new run replaces the record of one that was killed at its start in the same folder.

    Raises:
        TrainError: The run to resume was started with other training or validation images.
        OSError: An image cannot be read, or the record cannot be written.
    """
    digests = {part: _digest_all(getattr(splits, part)) for part in PARTS}
    recorded = _read_record(run) if is_resumed else None
    if recorded is None:
        with replace_file(run / DATA_FILE) as temporary:
            temporary.write_text(json.dumps(digests), encoding="utf-8")
        return
    for part in ("train", "validation"):
        before, now = set(recorded[part]), set(digests[part])
        if before != now:
            raise TrainError(
                f"{run} was started with other {part} images: {len(now - before)} are new and {len(before - now)} are"
                " missing; restore the data set, or start another run without --resume"
            )


def find_reuse(run: Path, splits: Splits) -> list[Reuse]:
    """Return how many validation and test images a run has trained on; none of a run without a record.

    A test image counts also if it was a validation image of the run, which is part of what the run has learnt from.

    Raises:
        TrainError: The record is damaged.
        OSError: An image cannot be read.
    """
    recorded = _read_record(run)
    if recorded is None:
        return []
    sources = {"validation": set(recorded["train"]), "test": {*recorded["train"], *recorded["validation"]}}
    reuses = []
    for part, source in sources.items():
        now = _digest_all(getattr(splits, part))
        source -= set(recorded[part])
        reused = sum(digest in source for digest in now)
        if reused:
            reuses.append(Reuse(part, reused, len(now)))
    return reuses


def _read_record(run: Path) -> dict[str, list[str]] | None:
    path = run / DATA_FILE
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {part: list(record[part]) for part in PARTS}
    except (ValueError, KeyError, TypeError) as error:
        raise TrainError(f"{path} is damaged; delete it, which leaves changes of the data set unnoticed") from error


def _digest_all(examples: Sequence[Example]) -> list[str]:
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_digest, examples))


def _digest(example: Example) -> str:
    return example.sha256[: 2 * DIGEST_BYTES]
