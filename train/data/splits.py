"""Splits your own images into training, validation and test images.

Images are identified by their content: copies count once, so no image is both trained on and evaluated with.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from train.data.download import OnProgress
from train.data.examples import Example, Skipped

MIN_GROUP = 3
"""A group of at least this many images has one in each part."""


class Parts(NamedTuple):
    """Images of each part, by the SHA-256 of their content."""

    train: Mapping[str, Example]
    validation: Mapping[str, Example]
    test: Mapping[str, Example]


def deduplicate(examples: Sequence[Example], on_progress: OnProgress) -> tuple[dict[str, Example], list[Skipped]]:
    """Read all images and skip copies.

    Args:
        examples: The images.
        on_progress: Receives the number of bytes read.

    Returns:
        The first image of each content, by its SHA-256, and the skipped images: further copies, all copies whose
        classes differ, and unreadable files.
    """
    copies, skipped = _group_copies(examples, on_progress)
    distinct = {}
    for digest, (first, *further) in copies.items():
        if any(example.classes != first.classes for example in further):
            names = [example.name for example in (first, *further)]
            skipped += [Skipped(name, _describe_contradiction(name, names)) for name in names]
        else:
            distinct[digest] = first
            skipped += [Skipped(example.name, f"is a copy of {first.name}") for example in further]
    return distinct, skipped


def split(images: Mapping[str, Example], validation: float, test: float, seed: int) -> Parts:
    """Split images so that each group, the images of the same classes, contributes its shares.

    Within a group, a hash of seed and content selects the images that are held back. So names and order of the files
    do not matter, and an additional image moves few others from one part to another. Rounding differences of one
    group are compensated in the next, as far as each group stays within one image of its shares. So many small
    groups, such as rare combinations of labels, contribute their shares together. The result comes close to iterative
    stratification (Sechidis et al., On the Stratification of Multi-Label Data, 2011).

    Args:
        images: Images by the SHA-256 of their content.
        validation: Share of the validation images, less than a half.
        test: Share of the test images, less than a half.
        seed: Another seed results in another split.
    """
    groups: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for digest in sorted(images, key=lambda digest: hashlib.sha256(f"{seed} {digest}".encode()).digest()):
        groups[images[digest].classes].append(digest)
    parts: tuple[dict[str, Example], ...] = ({}, {}, {})
    due_validation = due_test = 0.0
    for classes in sorted(groups):
        size = len(groups[classes])
        in_validation = _round_share(size, validation, due_validation)
        in_test = min(_round_share(size, test, due_test), size - in_validation)
        due_validation += size * validation - in_validation
        due_test += size * test - in_test
        for index, digest in enumerate(groups[classes]):
            part = 2 if index < in_test else 1 if index < in_test + in_validation else 0
            parts[part][digest] = images[digest]
    return Parts(*parts)


def _round_share(size: int, share: float, due: float) -> int:
    least, most = math.floor(size * share), math.ceil(size * share)
    if size >= MIN_GROUP:
        least, most = max(least, 1), min(most, (size - 1) // 2)
    return max(least, min(most, round(size * share + due)))


def _group_copies(
    examples: Sequence[Example], on_progress: OnProgress
) -> tuple[Mapping[str, list[Example]], list[Skipped]]:
    copies: dict[str, list[Example]] = defaultdict(list)
    skipped, bytes_read = [], 0
    with ThreadPoolExecutor() as pool:
        for example, content in zip(examples, pool.map(_read, examples), strict=True):
            if isinstance(content, OSError):
                skipped.append(Skipped(example.name, f"cannot be read: {content.strerror}"))
                continue
            copies[content.digest].append(example)
            bytes_read += content.size
            on_progress("reading images", bytes_read, None)
    return copies, skipped


class _Content(NamedTuple):
    digest: str
    size: int


def _read(example: Example) -> _Content | OSError:
    try:
        data = example.data
    except OSError as error:
        return error
    return _Content(hashlib.sha256(data).hexdigest(), len(data))


def _describe_contradiction(name: str, names: Sequence[str]) -> str:
    others = ", ".join(other for other in names if other != name)
    return f"is the same image as {others}, but has other classes"
