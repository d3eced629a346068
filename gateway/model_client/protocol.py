"""What the gateway needs of a model server: a Protocol, and the values that pass through it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.deadline import Deadline

Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Element type and shape of one input or output of a signature.

    Attributes:
        dtype: `numpy.dtype.name`, such as `uint8` or `float32`; `string` for bytes.
        shape: Length of each dimension, None where any is taken; None where even the rank is open.
    """

    dtype: str
    shape: tuple[int | None, ...] | None

    def accepts(self, array: Array) -> bool:
        """Tell whether element type, rank and every fixed dimension agree."""
        dtype = "string" if array.dtype.kind in "OSU" else array.dtype.name
        return dtype == self.dtype and self.accepts_shape(array.shape)

    def accepts_shape(self, shape: tuple[int, ...]) -> bool:
        """Tell whether rank and every fixed dimension agree."""
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            wanted in (None, found) for wanted, found in zip(self.shape, shape, strict=True)
        )

    def __str__(self) -> str:
        """Write it as in `uint8[N, 28, 28, 1]`."""
        dimensions = "…" if self.shape is None else ", ".join("N" if d is None else str(d) for d in self.shape)
        return f"{self.dtype}[{dimensions}]"


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs and outputs of one entry point of a model, by name."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """One version of a model as the model server reports it.

    Attributes:
        version: Its number.
        state: `START`, `LOADING`, `AVAILABLE`, `UNLOADING` or `END`.
        message: Why it failed; empty when it did not.
    """

    version: int
    state: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """Which computation of which model is asked for.

    Attributes:
        model: Name the model is served under.
        version: Its number.
        signature_name: Entry point, usually `serving_default`.
        signature: What that entry point takes; what is sent is checked against it.
        output: Name of the one output that is wanted.
    """

    model: str
    version: int
    signature_name: str
    signature: Signature
    output: str

    @property
    def takes_batches(self) -> bool:
        """Whether the inputs take any number of rows; exported by other hands, some take a single one."""
        return all(spec.shape is None or spec.shape[:1] == (None,) for spec in self.signature.inputs.values())


class ModelServer(Protocol):
    """A server of models, such as TensorFlow Serving.

    Every method raises `ModelUnavailableError` when the server is away, `DeadlineExceededError` when it does not
    answer in time, and `VersionGoneError` when it does not serve that model or version.
    """

    def version_statuses(self, model: str, *, deadline: Deadline) -> list[VersionStatus]:
        """List the versions that the server knows of a model, loaded or not."""

    def signatures(self, model: str, version: int, *, deadline: Deadline) -> Mapping[str, Signature]:
        """List the entry points of one version by name."""

    def resolve_label(self, model: str, label: str, *, deadline: Deadline) -> int:
        """Say which version a label points to; `VersionGoneError` where the model has no such label."""

    def predict(self, call: Call, inputs: Mapping[str, Array], *, deadline: Deadline, request_id: str = "") -> Array:
        """Run one entry point.

        Raises:
            ModelContractError: an input's name, element type or shape is not the signature's; nothing was sent.
            ModelFailedError: the server refused or failed the computation.
        """
