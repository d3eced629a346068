"""The interface of a model server: a Protocol, and the values that its methods take and return."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from gateway.deadline import Deadline
from gateway.errors import ModelFailedError
from vision.model_io import Shape, to_text

Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Element type and shape of one input or output of a signature.

    Attributes:
        dtype: `numpy.dtype.name`, such as `uint8` or `float32`; `string` for bytes.
        shape: Length of each dimension, None for any length; None if the rank is not fixed either.
    """

    dtype: str
    shape: Shape

    @classmethod
    def of(cls, array: Array) -> Self:
        """Return that of an array."""
        return cls("string" if array.dtype.kind in "OSU" else _dtype_name(array.dtype), array.shape)

    def accepts(self, array: Array) -> bool:
        """Return whether an array has the element type, the rank and every fixed dimension."""
        dtype = array.dtype
        name = "string" if dtype.kind in "OSU" else _dtype_name(dtype)
        return name == self.dtype and self.accepts_shape(array.shape)

    def accepts_shape(self, shape: tuple[int, ...]) -> bool:
        """Return whether a shape has the rank and every fixed dimension."""
        if self.shape is None:
            return True
        if len(shape) != len(self.shape):
            return False
        for expected, length in zip(self.shape, shape, strict=True):  # a generator for all() takes twice the time
            if expected is not None and expected != length:
                return False
        return True

    def __str__(self) -> str:
        """Format it as in `uint8[N, 28, 28, 1]`."""
        return to_text(self)


_dtype_name = cache(lambda dtype: dtype.name)
"""NumPy computes the name again at each access."""


def require_shape(model: str, output: Array, rows: int, row_shape: Shape) -> None:
    """Refuse an output without so many rows of a shape, in which None means any length; None for any shape.

    Raises:
        ModelFailedError: It has another number of rows, or they have another shape.
    """
    lengths = output.shape[1:] if row_shape is None else row_shape
    expected = TensorSpec(_dtype_name(output.dtype), (rows, *lengths))
    if not expected.accepts_shape(output.shape):
        raise ModelFailedError(f"{model} returned {TensorSpec.of(output)}; expected {expected}.")


def append_confidence(model: str, scores: Array, confidence: Array) -> Array:
    """Append the confidence of each row to its scores: [N, K] and [N] become [N, K + 1].

    Raises:
        ModelFailedError: There is not one number per row.
    """
    if scores.ndim == 0 or confidence.size != len(scores):
        received = f"{TensorSpec.of(scores)} and {TensorSpec.of(confidence)}"
        raise ModelFailedError(f"{model} returned {received}; expected one confidence per image.")
    return np.column_stack([scores.reshape(len(scores), -1), confidence.reshape(-1)])


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs and outputs, by name, of one way to call a model."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """State of one version of a model, as the model server reports it.

    Attributes:
        version: Its number.
        state: `START`, `LOADING`, `AVAILABLE`, `UNLOADING` or `END`.
        message: Why it failed; empty if it did not.
    """

    version: int
    state: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One computation of one version of a model.

    Attributes:
        model: Name under which the model is served.
        version: Its number.
        signature_name: Name of the signature, usually `serving_default`.
        signature: The signature, which inputs are checked against.
        output: Name of the output to return.
        confidence: Name of a second output, one number per row, that is appended to each row of `output` as its last
            column; None for no such output.
        takes_batches: Whether the inputs and the output have any number of rows; models of other tools may have one.
    """

    model: str
    version: int
    signature_name: str
    signature: Signature
    output: str
    confidence: str | None = None
    takes_batches: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compute `takes_batches` once instead of for every request."""
        output = self.signature.outputs.get(self.output)
        specs = [*self.signature.inputs.values(), *([output] if output else [])]
        shapes = [spec.shape for spec in specs]
        takes_batches = all(shape is None or shape[:1] == (None,) for shape in shapes)
        object.__setattr__(self, "takes_batches", takes_batches)

    def split_row(self, row: Array) -> tuple[Array, float | None]:
        """Split a row of the output into the scores of an image and the model's confidence in them, if it has one."""
        return (row, None) if self.confidence is None else (row[:-1], float(row[-1]))


class ModelServer(Protocol):
    """A server of models, such as TensorFlow Serving.

    Every method raises `ModelUnavailableError` if the server cannot be reached, `DeadlineExceededError` if it does not
    answer in time, and `VersionGoneError` if it does not serve that model or version.
    """

    def version_statuses(self, model: str, *, deadline: Deadline) -> list[VersionStatus]:
        """List the versions of a model that the server knows, loaded or not."""

    def signatures(self, model: str, version: int, *, deadline: Deadline) -> Mapping[str, Signature]:
        """List the signatures of one version by name."""

    def resolve_label(self, model: str, label: str, *, deadline: Deadline) -> int:
        """Return the version that a label points to.

        Raises:
            VersionGoneError: The model has no such label.
        """

    def predict(self, call: Call, inputs: Mapping[str, Array], *, deadline: Deadline, request_id: str = "") -> Array:
        """Run one signature and return one of its outputs.

        Raises:
            ModelContractError: The name, element type or shape of an input is not the signature's; nothing was sent.
            ModelFailedError: The server refused the computation, or it failed.
        """
