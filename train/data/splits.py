"""One's own pictures, split into what is learnt from, what is watched meanwhile, and what is measured at the end.

What a picture is, is told by its content: copies count once, so no picture can be learnt from and measured with.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from train.data.download import OnProgress
from train.data.examples import Example, LeftOut

FEW = 3
"""From so many pictures on, a group has one in each part."""


class Parts(NamedTuple):
    """Pictures by the SHA-256 of their content."""

    train: Mapping[str, Example]
    validation: Mapping[str, Example]
    test: Mapping[str, Example]


def distinct(examples: Sequence[Example], on_progress: OnProgress) -> tuple[dict[str, Example], list[LeftOut]]:
    """Read every picture, and leave out what is there already.

    Args:
        examples: The pictures.
        on_progress: Told about the bytes read.

    Returns:
        The first of each content, by its SHA-256, and what was left out: further copies, all copies that differ in
        their classes, and files that cannot be read.
    """
    copies, left_out = _copies(examples, on_progress)
    kept = {}
    for digest, (first, *further) in copies.items():
        if any(example.classes != first.classes for example in further):
            names = [example.name for example in (first, *further)]
            left_out += [LeftOut(name, _contradiction(name, names)) for name in names]
        else:
            kept[digest] = first
            left_out += [LeftOut(example.name, f"is a copy of {first.name}") for example in further]
    return kept, left_out


def split(pictures: Mapping[str, Example], validation: float, test: float, seed: int) -> Parts:
    """Split pictures so that each group, those of the same classes, gives its shares.

    Within a group a number made of seed and content tells which pictures are kept back, so that the order and the
    names of the files do not matter, and a further picture moves few of the others from one part to another. What
    rounding takes from one group is made good in the next, as far as each stays within one picture of its shares: so
    many small groups, such as the rare combinations of a multi-label set, together give their shares too. That comes
    near to iterative stratification (Sechidis et al., On the Stratification of Multi-Label Data, 2011).

    Args:
        pictures: By the SHA-256 of their content.
        validation: Share of the pictures, less than a half.
        test: Likewise.
        seed: Another one gives another split.
    """
    groups: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for digest in sorted(pictures, key=lambda digest: hashlib.sha256(f"{seed} {digest}".encode()).digest()):
        groups[pictures[digest].classes].append(digest)
    parts: tuple[dict[str, Example], ...] = ({}, {}, {})
    due_validation = due_test = 0.0
    for classes in sorted(groups):
        size = len(groups[classes])
        in_validation = _rounded(size, validation, due_validation)
        in_test = min(_rounded(size, test, due_test), size - in_validation)
        due_validation += size * validation - in_validation
        due_test += size * test - in_test
        for index, digest in enumerate(groups[classes]):
            part = 2 if index < in_test else 1 if index < in_test + in_validation else 0
            parts[part][digest] = pictures[digest]
    return Parts(*parts)


def _rounded(size: int, share: float, due: float) -> int:
    least, most = math.floor(size * share), math.ceil(size * share)
    if size >= FEW:
        least, most = max(least, 1), min(most, (size - 1) // 2)
    return max(least, min(most, round(size * share + due)))


def _copies(examples: Sequence[Example], on_progress: OnProgress) -> tuple[Mapping[str, list[Example]], list[LeftOut]]:
    copies: dict[str, list[Example]] = defaultdict(list)
    left_out, done = [], 0
    with ThreadPoolExecutor() as pool:
        for example, content in zip(examples, pool.map(_read, examples), strict=True):
            if isinstance(content, OSError):
                left_out.append(LeftOut(example.name, f"cannot be read: {content.strerror}"))
                continue
            copies[content.digest].append(example)
            done += content.size
            on_progress("reading pictures", done, None)
    return copies, left_out


class _Content(NamedTuple):
    digest: str
    size: int


def _read(example: Example) -> _Content | OSError:
    try:
        data = example.data
    except OSError as error:
        return error
    return _Content(hashlib.sha256(data).hexdigest(), len(data))


def _contradiction(name: str, names: Sequence[str]) -> str:
    others = ", ".join(other for other in names if other != name)
    return f"is the same picture as {others}, of other classes"
