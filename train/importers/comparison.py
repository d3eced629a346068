"""Compare an imported model with what its own framework says: in this process, or as recorded elsewhere.

A comparison with our own reading of a file would find our reading right, whatever it is.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from train.errors import TrainError
from train.importers.foreign import ForeignClassifier
from vision.card import Activation
from vision.postprocess import ROUNDING, SUM_TOLERANCE, activation_of_logits, to_probabilities

IMAGE_RANK = 4  # of a batch

Array = npt.NDArray[Any]


class ComparisonError(TrainError):
    """The imported model answers otherwise than its framework, or the record of its answers cannot be used."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How an imported model compares with its framework.

    Attributes:
        framework: Name and version of the framework.
        images: Number of compared images.
        outputs: What the framework returned: `probabilities`, or the scores and what was applied to them.
        largest_difference: Largest difference of a probability.
    """

    framework: str
    images: int
    outputs: str
    largest_difference: float

    def provenance(self) -> dict[str, Any]:
        """Return the member `compared_with` of a card's provenance."""
        return {
            "framework": self.framework,
            "images": self.images,
            "largest_difference": float(f"{self.largest_difference:.1e}"),
        }


@dataclass(frozen=True, slots=True)
class Record:
    """What a framework returned for some images.

    Attributes:
        images: uint8[N, H, W, C] of the card's size and colours, or None.
        inputs: float32[N, ...] as the network took them, or None.
        outputs: float32[N, K], scores or probabilities.
        framework: Name and version of the framework.
    """

    images: npt.NDArray[np.uint8] | None
    inputs: Array | None
    outputs: npt.NDArray[np.float32]
    framework: str


def read_record(path: Path) -> Record:
    """Read a file that `numpy.savez` wrote, with the arrays `outputs` and `images` or `inputs`, perhaps `framework`.

    Raises:
        ComparisonError: It cannot be read, or lacks an array.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays: dict[str, Array] = dict(file.items())
    except OSError as error:
        raise ComparisonError(f"{path}: {error.strerror or error}") from error
    except (ValueError, AttributeError, TypeError, EOFError, zipfile.BadZipFile) as error:  # TypeError: of numpy.save
        raise ComparisonError(
            f"{path}: expected a file that numpy.savez wrote, with arrays of numbers; it is damaged or not one"
        ) from error
    if "outputs" not in arrays or not {"images", "inputs"} & arrays.keys():
        listed = ", ".join(sorted(arrays)) or "none"
        raise ComparisonError(f"{path}: expected the arrays outputs and images or inputs, received {listed}")
    outputs = arrays["outputs"]
    if outputs.dtype.kind not in "fiu" or not outputs.ndim or not outputs.size or not np.isfinite(outputs).all():
        raise ComparisonError(
            f"{path}: expected outputs of float32[images, labels], all finite, received {outputs.dtype}"
            f" {[*outputs.shape]}"
        )
    outputs = outputs.reshape(len(outputs), -1).astype(np.float32)
    images, inputs = arrays.get("images"), arrays.get("inputs")
    for name, array in {"images": images, "inputs": inputs}.items():
        if array is not None and array.shape[:1] != (len(outputs),):
            raise ComparisonError(
                f"{path}: expected {name} for each of {len(outputs)} outputs, received {[*array.shape]}"
            )
    if images is not None and images.dtype != np.uint8:
        raise ComparisonError(
            f"{path}: expected images of uint8, received {images.dtype}; use inputs for normalised ones"
        )
    framework = str(arrays["framework"]) if "framework" in arrays else "the framework of the record"
    return Record(images, inputs, outputs, framework)


def compare_record(classifier: ForeignClassifier, path: Path) -> Comparison:
    """Compare a model with a record of what its framework returned.

    Args:
        classifier: The model.
        path: File of the record, see `read_record`.

    Raises:
        ComparisonError: They differ by more than the model's tolerance, or the record is of another model.
    """
    record, card = read_record(path), classifier.card
    parts = []
    if record.images is not None:
        shape = (card.input.height, card.input.width, card.input.channels)
        if record.images.shape[1:] != shape:
            raise ComparisonError(f"{path}: expected images of {[*shape]}, received {[*record.images.shape[1:]]}")
        parts.append(classifier.predict(record.images))
    if record.inputs is not None:
        parts.append(classifier.answer(_to_layout(record.inputs, classifier, path)))
    expected, outputs = _recorded_probabilities(record.outputs, classifier, path)
    return _require_agreement(Comparison(record.framework, len(expected), outputs, 0.0), parts, expected, classifier)


def compare_framework(classifier: ForeignClassifier, images: npt.NDArray[np.uint8]) -> Comparison | None:
    """Compare a model with its framework in this process; None if only its weights are known here.

    Raises:
        ComparisonError: They differ by more than the model's tolerance.
    """
    framework = classifier.model.framework
    if not framework:
        return None
    comparison = Comparison(framework, len(images), "", 0.0)
    return _require_agreement(comparison, [classifier.predict(images)], classifier.original(images), classifier)


def _require_agreement(
    comparison: Comparison,
    parts: list[npt.NDArray[np.float32]],
    expected: npt.NDArray[np.float32],
    classifier: ForeignClassifier,
) -> Comparison:
    tolerance = classifier.model.tolerance
    differences = np.array([np.nan_to_num(np.abs(part - expected), nan=np.inf) for part in parts])
    largest = float(differences.max())
    if largest > tolerance:
        part, image, label = np.unravel_index(differences.argmax(), differences.shape)
        of_outputs = f" ({comparison.outputs})" if comparison.outputs else ""
        raise ComparisonError(
            f"the imported model differs from {comparison.framework}{of_outputs} by up to {largest:.2g} of a"
            f" probability; at most {tolerance:g} is accepted. Image {image}, {classifier.card.labels[label]}:"
            f" {expected[image, label]:.4f} there, {parts[part][image, label]:.4f} here. Compare input.color, mean and"
            " std, and output.activation in the card with the training."
        )
    return Comparison(comparison.framework, comparison.images, comparison.outputs, largest)


def _recorded_probabilities(
    outputs: npt.NDArray[np.float32], classifier: ForeignClassifier, path: Path
) -> tuple[npt.NDArray[np.float32], str]:
    """Return recorded outputs as probabilities, and what they were: by their values, never by what fits the model."""
    card, labels = classifier.card, len(classifier.card.labels)
    count = outputs.shape[1]
    if count not in {labels, 1} or (count == 1 and labels > 2):  # noqa: PLR2004  # one unit tells two labels apart
        raise ComparisonError(f"{path}: expected outputs for {labels} labels, received {count} an image")
    activation = activation_of_logits(card, count)
    kind: Activation = "none" if _are_probabilities(outputs, activation) else activation
    probabilities = to_probabilities(outputs, kind)
    if count < labels:
        probabilities = np.concatenate([1 - probabilities, probabilities], axis=1)
    return probabilities, "probabilities" if kind == "none" else f"scores, of which {kind}"


def _are_probabilities(outputs: npt.NDArray[np.float32], activation: Activation) -> bool:
    in_range = bool(((outputs >= -ROUNDING) & (outputs <= 1 + ROUNDING)).all())
    return in_range and (activation == "sigmoid" or bool((np.abs(outputs.sum(axis=1) - 1) < SUM_TOLERANCE).all()))


def _to_layout(inputs: Array, classifier: ForeignClassifier, path: Path) -> Array:
    """Return recorded inputs in the layout that the model takes, which their shape tells."""
    row, spec = classifier.model.row, classifier.card.input
    arranged, is_image = inputs, inputs.ndim == IMAGE_RANK == len(row) + 1
    if is_image and inputs.shape[1:] != row:
        is_nchw, wants_nchw = inputs.shape[1] == spec.channels, spec.layout == "NCHW"
        if is_nchw != wants_nchw:
            arranged = inputs.transpose(0, 2, 3, 1) if is_nchw else inputs.transpose(0, 3, 1, 2)
    if arranged.shape[1:] != row if is_image else arranged[0].size != np.prod(row):
        raise ComparisonError(f"{path}: expected inputs of {[*row]} an image, received {[*inputs.shape[1:]]}")
    return arranged.reshape(-1, *row)
