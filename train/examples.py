"""Labelled images, and how they become model inputs: through `vision`, just as in the gateway."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
        data: The encoded image, as a client would send it.
        label: Class number.
    """

    data: bytes
    label: int


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
        labels: int32[N].
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int32]


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


def to_inputs(examples: Sequence[Example], spec: InputSpec) -> Inputs:
    """Decode and preprocess every example.

    Raises:
        vision.decode.ImageError: One cannot be decoded.
    """
    images = np.empty((len(examples), *spec.shape), np.uint8)
    for index, example in enumerate(examples):
        images[index] = load(example.data, spec, max_pixels=MAX_PIXELS)
    return Inputs(images, np.array([example.label for example in examples], np.int32))
