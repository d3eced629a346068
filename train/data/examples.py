"""Labelled images, and their conversion to model inputs by `vision`, as in the gateway."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from train.data.image_loading import load
from train.errors import TrainError
from vision.card import InputSpec
from vision.decode import ImageError

CHUNK = 64
"""Number of images that a thread decodes at a time."""
MAX_LISTED = 10
"""Number of problems that a message lists."""
TEST = "test"
"""Name of a data set's own test images among its test sets."""


class DataError(TrainError):
    """Images or labels that contradict each other or the configuration."""


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled image.

    Attributes:
        source: The encoded image, or the path of its file.
        classes: Class numbers, ascending: exactly one, or any number if the task is multilabel.
        name: Where the image comes from, for messages.
        known_sha256: SHA-256 of the encoded image, if it has been computed already.
    """

    source: bytes | Path
    classes: tuple[int, ...]
    name: str = ""
    known_sha256: str | None = field(default=None, compare=False)

    @property
    def data(self) -> bytes:
        """The encoded image, as a client would send it; a file is read on each access.

        Raises:
            OSError: The file cannot be read.
        """
        return self.source.read_bytes() if isinstance(self.source, Path) else self.source

    @property
    def sha256(self) -> str:
        """SHA-256 of the encoded image, hexadecimal.

        Raises:
            OSError: The file cannot be read.
        """
        return self.known_sha256 or hashlib.sha256(self.data).hexdigest()

    @property
    def size(self) -> int:
        """Size of the encoded image, in bytes.

        Raises:
            OSError: The file does not exist any more.
        """
        return self.source.stat().st_size if isinstance(self.source, Path) else len(self.source)


@dataclass(frozen=True, slots=True)
class DecodedExamples(Sequence[Example]):
    """A sequence of examples with their decoded pixels.

    Attributes:
        examples: The examples.
        images: Pixels of the examples, uint8[N, H, W, C].
        spec: The input specification for which they were decoded.
    """

    examples: Sequence[Example]
    images: npt.NDArray[np.uint8] = field(compare=False)
    spec: InputSpec

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.examples)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        """Return one example, or a slice of the examples without their pixels."""
        return self.examples[index]


class Skipped(NamedTuple):
    """An image that is in no split, and the reason: a predicate such as "cannot be decoded"."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Splits:
    """A data set, split for training.

    Attributes:
        train: Images to train on.
        validation: Images to monitor the training and to calibrate with.
        test: Images to evaluate with.
        further_tests: Further test sets by name, such as the test images in another encoding.
        skipped: Images that could not be used.
        near_duplicates: Groups of images that look alike, each of them within one part.
        notes: What else is worth knowing about the files, in sentences.
    """

    train: Sequence[Example]
    validation: Sequence[Example]
    test: Sequence[Example]
    further_tests: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    skipped: Sequence[Skipped] = ()
    near_duplicates: Sequence[Sequence[Example]] = ()
    notes: Sequence[str] = ()

    @property
    def tests(self) -> dict[str, Sequence[Example]]:
        """All test sets by name, beginning with the data set's own under `TEST`."""
        return {TEST: self.test, **self.further_tests}


@dataclass(frozen=True, slots=True)
class Inputs:
    """Examples as model inputs.

    Attributes:
        images: uint8[N, H, W, C].
        targets: float32[N, K], 1 for each class of the image, else 0.
    """

    images: npt.NDArray[np.uint8]
    targets: npt.NDArray[np.float32]


Predict: TypeAlias = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
"""A model: maps images uint8[N, H, W, C] to probabilities float32[N, K]."""


def hold_back(examples: Sequence[Example], count: int, seed: int) -> tuple[list[Example], list[Example]]:
    """Draw `count` examples at random, the same ones for the same seed.

    Returns:
        The remaining and the drawn examples, each in their original order.

    Raises:
        ValueError: There are at most `count` examples.
    """
    if count >= len(examples):
        raise ValueError(f"{count} of {len(examples)} examples cannot be held back")
    drawn = set(np.random.default_rng(seed).permutation(len(examples))[:count].tolist())
    remaining = [example for index, example in enumerate(examples) if index not in drawn]
    return remaining, [examples[index] for index in sorted(drawn)]


def to_inputs(examples: Sequence[Example], spec: InputSpec, class_count: int) -> Inputs:
    """Decode and preprocess all examples that are not decoded for this specification already.

    Raises:
        DataError: An image cannot be decoded.
        OSError: A file cannot be read.
    """
    if isinstance(examples, DecodedExamples) and examples.spec == spec:
        return Inputs(examples.images, to_targets(examples, class_count))
    images = np.empty((len(examples), *spec.shape), np.uint8)

    def fill(start: int) -> None:
        for index, example in enumerate(examples[start : start + CHUNK], start):
            try:
                images[index] = load(example.data, spec)
            except ImageError as error:
                raise DataError(f"{example.name}: {error}") from error

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(fill, range(0, len(examples), CHUNK)):
            pass
    return Inputs(images, to_targets(examples, class_count))


def to_targets(examples: Sequence[Example], class_count: int) -> npt.NDArray[np.float32]:
    """Return float32[N, K], 1 for each class of an example, else 0."""
    targets = np.zeros((len(examples), class_count), np.float32)
    for row, example in zip(targets, examples, strict=True):
        row[list(example.classes)] = 1
    return targets


def format_problems(problems: Sequence[str]) -> str:
    """Format the first problems, one a line, and the number of further ones."""
    further = [f"  and {len(problems) - MAX_LISTED} more"] if len(problems) > MAX_LISTED else []
    return "\n".join([*(f"  {problem}" for problem in problems[:MAX_LISTED]), *further])
