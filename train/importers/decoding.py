"""Compare what a network says of photos that are decoded at reduced size and in full.

Unless a card says otherwise, `vision` decodes JPEGs that are much larger than the input at a half, a quarter or an
eighth of their size. Networks that are trained here have seen such photos; those trained elsewhere have not.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from train.data.image_loading import MAX_PIXELS, load
from vision.card import Decoding, InputSpec
from vision.decode import ImageError, inspect
from vision.preprocess import is_decoded_smaller

BATCH = 16
"""Number of photos that are classified at a time."""
MAX_DIFFERING = 0.01
"""Share of photos whose class may differ if it is unknown which class is right."""

PredictInputs: TypeAlias = Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]
"""A network: maps inputs of a card's dtype and layout, one row for each image, to probabilities float32[N, K]."""


@dataclass(frozen=True, slots=True)
class DecodingComparison:
    """Predictions for the photos that are large enough to be decoded at reduced size, in both ways.

    Attributes:
        image_count: Number of images that were looked at.
        photo_count: Number of photos that were compared.
        same_class: Share of these photos with the same class of highest probability; 1 if there are none.
        score_difference: Mean absolute difference of the highest probability; 0 if there are none.
        accuracy_scaled: Share of them whose class is right at reduced size; None if it is unknown.
        accuracy_full: The same in full.
    """

    image_count: int
    photo_count: int
    same_class: float = 1.0
    score_difference: float = 0.0
    accuracy_scaled: float | None = None
    accuracy_full: float | None = None

    @property
    def recommended(self) -> Decoding:
        """The value of `input.decoding` that fits the network.

        It is ``full`` if more photos are right then. If it is unknown what is right, more than `MAX_DIFFERING` must
        have another class. Else it is ``scaled``, which takes less time.
        """
        if self.accuracy_scaled is not None and self.accuracy_full is not None:
            return "full" if self.accuracy_full > self.accuracy_scaled else "scaled"
        return "full" if 1 - self.same_class > MAX_DIFFERING else "scaled"

    @property
    def metrics(self) -> dict[str, Any]:
        """The member `decoding` of a card's metrics."""
        accuracies = {"accuracy_scaled": self.accuracy_scaled, "accuracy_full": self.accuracy_full}
        return {
            "photos": self.photo_count,
            "same_class": self.same_class,
            "mean_difference_of_largest": self.score_difference,
            **{name: value for name, value in accuracies.items() if value is not None},
        }

    def __str__(self) -> str:
        """Return one line for people: what was found, and what to write in the card."""
        if not self.photo_count:
            return (
                f"input.decoding makes no difference: none of {self.image_count} images is a JPEG of much larger size"
            )
        plural = "s" if self.photo_count > 1 else ""
        figures = (
            f"{self.photo_count} large photo{plural}: {self.same_class:.1%} the same class decoded at reduced size as "
            "in full"
        )
        if self.accuracy_scaled is not None and self.accuracy_full is not None:
            figures += f" ({self.accuracy_scaled:.1%} right, {self.accuracy_full:.1%} in full)"
        if self.recommended == "full":
            return f'{figures}; set input.decoding to "full" in the card to decode them as in training'
        return f'{figures}; input.decoding can be "scaled", which takes less time'


def compare_decoding(
    paths: Sequence[Path], spec: InputSpec, predict: PredictInputs, targets: Sequence[int] | None = None
) -> DecodingComparison:
    """Classify the large photos of a collection at reduced size and in full.

    Images that cannot be decoded are left out.

    Args:
        paths: Image files.
        spec: Input of the network; its `decoding` does not matter.
        predict: The network.
        targets: The right class of each file, if it is known.

    Raises:
        OSError: A file cannot be read.
        ValueError: There is not one target for each path.
    """
    if targets is not None and len(targets) != len(paths):
        raise ValueError(f"expected one target for each of {len(paths)} images, found {len(targets)}")
    specs = [dataclasses.replace(spec, decoding=decoding) for decoding in get_args(Decoding)]
    indices: list[int] = []
    scores: list[npt.NDArray[np.float32]] = []
    for start in range(0, len(paths), BATCH):
        batch = {index: _load_large(paths[index], specs) for index in range(start, min(start + BATCH, len(paths)))}
        pairs = {index: pair for index, pair in batch.items() if pair is not None}
        if pairs:
            indices += pairs
            scores.append(np.stack([predict(np.stack(inputs)) for inputs in zip(*pairs.values(), strict=True)]))
    if not indices:
        return DecodingComparison(len(paths), 0)
    both = np.concatenate(scores, axis=1)  # float32[2, N, K]
    classes, highest = both.argmax(axis=2), both.max(axis=2)
    right = None if targets is None else classes == np.array(targets)[indices]
    return DecodingComparison(
        image_count=len(paths),
        photo_count=len(indices),
        same_class=float(np.mean(classes[0] == classes[1])),
        score_difference=float(np.abs(highest[0] - highest[1]).mean()),
        accuracy_scaled=None if right is None else float(right[0].mean()),
        accuracy_full=None if right is None else float(right[1].mean()),
    )


def _load_large(path: Path, specs: Sequence[InputSpec]) -> list[npt.NDArray[Any]] | None:
    """Return a photo for the first input, which decodes it at reduced size, and the others; None for other images."""
    data = path.read_bytes()
    try:
        if is_decoded_smaller(inspect(data, max_pixels=MAX_PIXELS), specs[0]):
            return [load(data, spec) for spec in specs]
    except ImageError:
        pass
    return None
