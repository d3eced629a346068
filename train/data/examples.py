"""Labelled images, and how they become model inputs: through `vision`, just as in the gateway."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from train.errors import TrainError
from vision.card import InputSpec
from vision.preprocess import load

MAX_PIXELS = 50_000_000
"""Of one training image."""
CHUNK = 64
"""So many are decoded by a thread at once."""
MAX_FAULTS = 10
"""So many of the things wrong with a source are told at most."""
TEST = "test"
"""Name of a data set's own test images among its sets to measure with."""


class DataError(TrainError):
    """Pictures or labels that do not fit each other or the configuration."""


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled image.

    Attributes:
        source: The encoded image, or the file that holds it.
        classes: Numbers of the classes that it is of: exactly one, or of a multi-label set any number, ascending.
        name: Where it comes from, for messages.
    """

    source: bytes | Path
    classes: tuple[int, ...]
    name: str = ""

    @property
    def data(self) -> bytes:
        """The encoded image, as a client would send it; a file is read anew each time.

        Raises:
            OSError: The file cannot be read.
        """
        return self.source.read_bytes() if isinstance(self.source, Path) else self.source

    @property
    def size(self) -> int:
        """Of the encoded image, in bytes.

        Raises:
            OSError: The file is gone.
        """
        return self.source.stat().st_size if isinstance(self.source, Path) else len(self.source)


@dataclass(frozen=True, slots=True)
class Decoded(Sequence[Example]):
    """Examples whose pixels are there already.

    Attributes:
        examples: What this is a sequence of.
        images: uint8[N, H, W, C], the pixels.
        spec: What they were made for.
    """

    examples: Sequence[Example]
    images: npt.NDArray[np.uint8] = field(compare=False)
    spec: InputSpec

    def __len__(self) -> int:
        """Count the examples."""
        return len(self.examples)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        """Give one example, or some without their pixels."""
        return self.examples[index]


class LeftOut(NamedTuple):
    """A picture of the source that is in no split, and why: what follows "it"."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Splits:
    """A data set: what is learnt from, what is watched meanwhile, and what is measured at the end.

    Attributes:
        further_tests: Other images to measure with, by name, such as the same ones in another encoding.
        left_out: What could not be used.
    """

    train: Sequence[Example]
    validation: Sequence[Example]
    test: Sequence[Example]
    further_tests: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    left_out: Sequence[LeftOut] = ()

    @property
    def tests(self) -> dict[str, Sequence[Example]]:
        """Return all sets to measure with by name: the data set's own under `TEST`, first."""
        return {TEST: self.test, **self.further_tests}


@dataclass(frozen=True, slots=True)
class Inputs:
    """Examples as the network takes them.

    Attributes:
        images: uint8[N, H, W, C].
        targets: float32[N, K], 1 where an image is of a class, else 0.
    """

    images: npt.NDArray[np.uint8]
    targets: npt.NDArray[np.float32]


Predict: TypeAlias = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
"""A model: uint8[N, H, W, C] to float32[N, K] probabilities."""


def hold_back(examples: Sequence[Example], count: int, seed: int) -> tuple[list[Example], list[Example]]:
    """Choose `count` examples at random; the same ones for the same seed.

    Returns:
        The others, then the chosen ones, each in the order they had.

    Raises:
        ValueError: There are no more than `count` examples.
    """
    if count >= len(examples):
        raise ValueError(f"{count} of {len(examples)} examples cannot be held back")
    chosen = set(np.random.default_rng(seed).permutation(len(examples))[:count].tolist())
    kept = [example for index, example in enumerate(examples) if index not in chosen]
    return kept, [examples[index] for index in sorted(chosen)]


def to_inputs(examples: Sequence[Example], spec: InputSpec, class_count: int) -> Inputs:
    """Decode and preprocess every example, unless that was done already.

    Raises:
        vision.decode.ImageError: One cannot be decoded.
        OSError: A file cannot be read.
    """
    if isinstance(examples, Decoded) and examples.spec == spec:
        return Inputs(examples.images, to_targets(examples, class_count))
    images = np.empty((len(examples), *spec.shape), np.uint8)

    def fill(start: int) -> None:
        for index, example in enumerate(examples[start : start + CHUNK], start):
            images[index] = load(example.data, spec, max_pixels=MAX_PIXELS)

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(fill, range(0, len(examples), CHUNK)):
            pass
    return Inputs(images, to_targets(examples, class_count))


def to_targets(examples: Sequence[Example], class_count: int) -> npt.NDArray[np.float32]:
    """Return float32[N, K], 1 where an example is of a class, else 0."""
    targets = np.zeros((len(examples), class_count), np.float32)
    for row, example in zip(targets, examples, strict=True):
        row[list(example.classes)] = 1
    return targets


def enumerate_faults(faults: Sequence[str]) -> str:
    """Write the first faults as a line each, and how many more there are."""
    more = [f"  and {len(faults) - MAX_FAULTS} more"] if len(faults) > MAX_FAULTS else []
    return "\n".join([*(f"  {fault}" for fault in faults[:MAX_FAULTS]), *more])
