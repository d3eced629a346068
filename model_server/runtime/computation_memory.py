"""Estimate how much memory a model needs to compute a call, before it computes it.

Intermediate results can be a hundred times as large as the input, and TensorFlow's kernels crash if the memory runs
out. The estimate is measured: TensorFlow traces every allocation while the model computes the first rows of the call.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

from model_server.errors import InvalidArgumentError, ServingError
from model_server.memory import MemoryBudget, remaining_s
from model_server.servable import Array, SignatureDef

RunMetadata: TypeAlias = Any
"""tensorflow.RunMetadata; the generated messages are untyped."""

Trace: TypeAlias = Callable[[Mapping[str, Array], float | None], RunMetadata]
"""Runs the model within a time limit in seconds and returns the trace."""

FREE_BYTES = 256 * 1024
"""Calls with no more input than this run without an estimate: one or two small photos need little memory."""
_SAMPLE_BYTES = 64 * 1024
_UNMEASURED_RATIO = 16
"""Memory per byte of input where a part of the input cannot be computed by itself."""
_MAX_ESTIMATES = 256
_STRING_BYTES = 64


class ComputationMemory:
    """Reserves the memory for each computation of one model."""

    def __init__(self, budget: MemoryBudget) -> None:
        """Take the memory from `budget`, which all models share."""
        self._budget = budget
        self._ratios: dict[object, float] = {}
        self._measuring = threading.Lock()

    @contextmanager
    def reserve(
        self, signature: SignatureDef, inputs: Mapping[str, Array], trace: Trace | None, timeout_s: float | None
    ) -> Iterator[float | None]:
        """Hold the memory that a call needs, and yield the seconds that remain for it.

        Args:
            signature: The signature to run.
            inputs: The inputs of the call.
            trace: Computes a part of them; None if the model may compute them only once.
            timeout_s: Time limit in seconds; None for no limit.

        Raises:
            InvalidArgumentError: A large input does not have the shape in the signature.
            ResourceExhaustedError: The call needs more memory than there is.
        """
        size = sum(map(input_bytes, inputs.values()))
        if size <= FREE_BYTES:
            yield timeout_s
            return
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        _check_shapes(signature, inputs)
        ratio = self._ratio(signature, inputs, size, trace, end_s)
        with self._budget.reserve(math.ceil(size * ratio), remaining_s(end_s)):
            yield remaining_s(end_s)

    def _ratio(
        self,
        signature: SignatureDef,
        inputs: Mapping[str, Array],
        size: int,
        trace: Trace | None,
        end_s: float | None,
    ) -> float:
        """Return the memory that a call takes for each byte of its input."""
        axis = _open_axis(signature, inputs)
        if axis is None or trace is None:
            return _UNMEASURED_RATIO
        shapes = {alias: (*array.shape[:axis], *array.shape[axis + 1 :]) for alias, array in inputs.items()}
        key = (id(signature), axis, tuple(sorted(shapes.items())))
        with self._measuring:
            if key not in self._ratios:
                if len(self._ratios) >= _MAX_ESTIMATES:
                    self._ratios.clear()
                self._ratios[key] = _measure(_sample(inputs, axis, size), trace, end_s)
            return self._ratios[key]


def input_bytes(array: Array) -> int:
    """Return the memory of an input; strings count with what they contain."""
    if array.dtype != object:
        return array.nbytes
    return _STRING_BYTES * array.size + sum(map(len, array.ravel().tolist()))


def peak_bytes(metadata: RunMetadata) -> int:
    """Return the most memory that was allocated at a time, from a trace."""
    records = sorted(
        (record.alloc_micros, record.alloc_bytes)
        for device in metadata.step_stats.dev_stats
        for node in device.node_stats
        for memory in node.memory
        for record in memory.allocation_records
    )
    peak = allocated = 0
    for _, change in records:
        allocated += change
        peak = max(peak, allocated)
    return peak


def _measure(sample: Mapping[str, Array], trace: Trace, end_s: float | None) -> float:
    size = sum(map(input_bytes, sample.values()))
    try:
        trace(sample, remaining_s(end_s))  # a model's first run also prepares its weights
        return 1 + peak_bytes(trace(sample, remaining_s(end_s))) / size
    except ServingError:  # the call itself reports it, or succeeds
        return _UNMEASURED_RATIO


def _sample(inputs: Mapping[str, Array], axis: int, size: int) -> Mapping[str, Array]:
    length = next(iter(inputs.values())).shape[axis]
    part = (*[slice(None)] * axis, slice(0, max(length * _SAMPLE_BYTES // size, 1)))
    return {alias: array[part] for alias, array in inputs.items()}


def _open_axis(signature: SignatureDef, inputs: Mapping[str, Array]) -> int | None:
    """Return the first axis of any length along which the inputs can be divided: rows, or else lines of one image."""
    shared_rank = min(array.ndim for array in inputs.values())
    for axis in range(shared_rank if len(inputs) == 1 else min(shared_rank, 1)):
        lengths = {array.shape[axis] for array in inputs.values()}
        sizes = [_size(signature.inputs[alias].tensor_shape, axis) for alias in inputs]
        if len(lengths) == 1 and max(lengths) > 1 and max(sizes) < 0:
            return axis
    return None


def _size(shape: Any, axis: int) -> int:
    return -1 if shape.unknown_rank else int(shape.dim[axis].size)


def _check_shapes(signature: SignatureDef, inputs: Mapping[str, Array]) -> None:
    """Check that large inputs have the shapes in the signature; TensorFlow Serving does not check any."""
    for alias, array in inputs.items():
        shape = signature.inputs[alias].tensor_shape
        sizes = [dim.size for dim in shape.dim]
        fits = len(sizes) == array.ndim and all(
            expected in (-1, size) for expected, size in zip(sizes, array.shape, strict=True)
        )
        if not shape.unknown_rank and not fits:
            expected = ",".join("?" if size < 0 else str(size) for size in sizes)
            raise InvalidArgumentError(
                f"input {alias} must have the shape [{expected}], but has the shape {list(array.shape)}"
            )
