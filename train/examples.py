"""Labelled images, and how they become model inputs: through `vision`, just as in the gateway."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from vision.card import InputSpec
from vision.preprocess import load

MAX_PIXELS = 50_000_000
"""Of one training image."""


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


@dataclass(frozen=True, slots=True)
class Splits:
    """A data set: what is learnt from, what is watched meanwhile, and what is measured at the end.

    Attributes:
        further_tests: Other images to measure with, by name, such as the same ones in another encoding.
    """

    train: Sequence[Example]
    validation: Sequence[Example]
    test: Sequence[Example]
    further_tests: Mapping[str, Sequence[Example]] = field(default_factory=dict)


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
    """Decode and preprocess every example.

    Raises:
        vision.decode.ImageError: One cannot be decoded.
        OSError: A file cannot be read.
    """
    images = np.empty((len(examples), *spec.shape), np.uint8)
    for index, example in enumerate(examples):
        images[index] = load(example.data, spec, max_pixels=MAX_PIXELS)
    return Inputs(images, to_targets(examples, class_count))


def to_targets(examples: Sequence[Example], class_count: int) -> npt.NDArray[np.float32]:
    """Return float32[N, K], 1 where an example is of a class, else 0."""
    targets = np.zeros((len(examples), class_count), np.float32)
    for row, example in zip(targets, examples, strict=True):
        row[list(example.classes)] = 1
    return targets
