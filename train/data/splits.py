"""Splits your own images into training, validation and test images.

Images are identified by their content: copies count once, and images that look alike are in the same part, so no image
is both trained on and evaluated with.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from train.data.contents import Content
from train.data.examples import Example, Skipped
from train.data.near_duplicates import Group

MIN_GROUP = 3
"""A stratum of at least this many images, or groups of them, has one in each part."""


class Parts(NamedTuple):
    """Images of each part, by the SHA-256 of their content."""

    train: Mapping[str, Example]
    validation: Mapping[str, Example]
    test: Mapping[str, Example]


def deduplicate(
    examples: Sequence[Example], contents: Sequence[Content | OSError]
) -> tuple[dict[str, Example], list[Skipped]]:
    """Skip copies.

    Args:
        examples: The images.
        contents: Their contents, or why they cannot be read.

    Returns:
        The first image of each content, by its SHA-256, and the skipped images: further copies, all copies whose
        classes differ, and unreadable files.
    """
    copies, skipped = _group_copies(examples, contents)
    distinct = {}
    for digest, (first, *further) in copies.items():
        if any(example.classes != first.classes for example in further):
            names = [example.name for example in (first, *further)]
            skipped += [Skipped(name, _describe_contradiction(name, names)) for name in names]
        else:
            distinct[digest] = replace(first, known_sha256=digest)
            skipped += [Skipped(example.name, f"is a copy of {first.name}") for example in further]
    return distinct, skipped


class NearDuplicates(NamedTuple):
    """Groups of images that look alike.

    Attributes:
        together: Groups that are kept in one part of the data set.
        divided: Groups that are not, since too little of one of their classes would be left for the other parts.
    """

    together: Sequence[Group]
    divided: Sequence[Group]


def choose_together(groups: Sequence[Group], images: Mapping[str, Example]) -> NearDuplicates:
    """Choose the groups of images that look alike which are kept together.

    A group is divided if it holds more than half of the images of a class, or if fewer than `MIN_GROUP` groups and
    single images would be left of a class: photos of a fixed camera, for example, all look alike to a perceptual hash.

    Args:
        groups: Groups of images that look alike.
        images: All images, by their SHA-256.
    """
    sizes = Counter(number for example in images.values() for number in example.classes)
    counts = {group: Counter(number for digest in group for number in images[digest].classes) for group in groups}
    units = Counter(sizes)
    for count in counts.values():
        units.subtract({number: members - 1 for number, members in count.items()})
    together: list[Group] = []
    divided: list[Group] = []
    for group, count in counts.items():
        is_minority = all(2 * members <= sizes[number] for number, members in count.items())
        is_separable = all(units[number] >= MIN_GROUP for number, members in count.items() if members > 1)
        (together if is_minority and is_separable else divided).append(group)
    return NearDuplicates(together, divided)


def split(
    images: Mapping[str, Example], validation: float, test: float, seed: int, together: Sequence[Group] = ()
) -> Parts:
    """Split images so that each stratum, the images of the same classes, contributes its shares.

    Within a stratum, a hash of seed and content selects the images that are held back. So names and order of the files
    do not matter, and an additional image moves few others from one part to another. Rounding differences of one
    stratum are compensated in the next, as far as each stays within one image of its shares. So many small
    strata, such as rare combinations of labels, contribute their shares together. The result comes close to iterative
    stratification (Sechidis et al., On the Stratification of Multi-Label Data, 2011).

    Args:
        images: Images by the SHA-256 of their content.
        validation: Share of the validation images, less than a half.
        test: Share of the test images, less than a half.
        seed: Another seed results in another split.
        together: Groups of images that are not separated; each counts in the stratum of its first image.
    """
    strata: dict[tuple[int, ...], list[Group]] = defaultdict(list)
    group_of = {digest: group for group in together for digest in group}
    grouped: set[str] = set()
    for digest in sorted(images, key=lambda digest: hashlib.sha256(f"{seed} {digest}".encode()).digest()):
        if digest not in grouped:
            group = group_of.get(digest, (digest,))
            strata[images[digest].classes].append(group)
            grouped.update(group)
    parts: tuple[dict[str, Example], ...] = ({}, {}, {})
    due_validation = due_test = 0.0
    for classes in sorted(strata):
        size = _count(strata[classes])
        in_validation = _round_share(size, validation, due_validation)
        in_test = min(_round_share(size, test, due_test), size - in_validation)
        divided = _divide(strata[classes], in_validation, in_test)
        due_validation += size * validation - _count(divided[1])
        due_test += size * test - _count(divided[2])
        for part, groups in zip(parts, divided, strict=True):
            part.update((digest, images[digest]) for group in groups for digest in group)
    return Parts(*parts)


def _divide(groups: Sequence[Group], in_validation: int, in_test: int) -> tuple[list[Group], list[Group], list[Group]]:
    """Divide groups in their order among training, validation and test images.

    Groups that are larger than what a part still lacks are passed over. If that leaves a part empty although there are
    enough groups, it gets the smallest one of the part that has the most groups.
    """
    train: list[Group] = []
    validation: list[Group] = []
    test: list[Group] = []
    for group in groups:
        if len(group) <= in_test - _count(test):
            test.append(group)
        elif len(group) <= in_validation - _count(validation):
            validation.append(group)
        else:
            train.append(group)
    parts = (train, validation, test)
    if len(groups) >= MIN_GROUP:
        for part in parts:
            if not part:
                donor = max(parts, key=len)
                smallest = min(donor, key=len)
                donor.remove(smallest)
                part.append(smallest)
    return parts


def _count(groups: Sequence[Group]) -> int:
    return sum(map(len, groups))


def _round_share(size: int, share: float, due: float) -> int:
    least, most = math.floor(size * share), math.ceil(size * share)
    if size >= MIN_GROUP:
        least, most = max(least, 1), min(most, (size - 1) // 2)
    return max(least, min(most, round(size * share + due)))


def _group_copies(
    examples: Sequence[Example], contents: Sequence[Content | OSError]
) -> tuple[Mapping[str, list[Example]], list[Skipped]]:
    copies: dict[str, list[Example]] = defaultdict(list)
    skipped = []
    for example, content in zip(examples, contents, strict=True):
        if isinstance(content, OSError):
            skipped.append(Skipped(example.name, f"cannot be read: {content.strerror}"))
        else:
            copies[content.sha256].append(example)
    return copies, skipped


def _describe_contradiction(name: str, names: Sequence[str]) -> str:
    others = ", ".join(other for other in names if other != name)
    return f"is the same image as {others}, but has other classes"
