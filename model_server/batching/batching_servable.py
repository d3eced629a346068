"""Compute the calls of a model in batches.

Merging, padding and errors are those of tensorflow_serving/batching/batching_session.cc; the calls of a batch share
its failure, too. Two differences are intended: a call without rows is refused, whereas tensorflow_model_server does
not answer it until another call joins its batch, which may never happen. A call whose deadline has passed gets an
error, and is dropped from its batch if the computation has not started.
"""

import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np

from model_server.batching.parameters import PER_MODEL_FILE, BatchingParameters, read_parameters
from model_server.batching.scheduler import BatchScheduler, Queue
from model_server.errors import (
    Code,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    ResourceExhaustedError,
    ServingError,
)
from model_server.memory import MAX_REQUEST_BYTES, check_request_bytes
from model_server.servable import Array, Servable, SignatureDef

_LOG = logging.getLogger(__name__)

_MAX_PADDED_RANK = 6
_GRACE_S = 0.1
"""How long after its deadline a call still waits for the computation, which stops at the deadline and reports it."""


class Batching:
    """Wraps loaded models so that they batch their calls. All models share the same threads."""

    def __init__(self, parameters: BatchingParameters, *, per_model: bool) -> None:
        """Start the threads.

        Args:
            parameters: The server's parameters.
            per_model: Use the file in each version's directory instead, and do not batch models without one. The
                number of threads remains the server's.

        Raises:
            InvalidArgumentError: `num_batch_threads` is less than 1.
        """
        self._parameters = parameters
        self._per_model = per_model
        self._scheduler: BatchScheduler[Call] = BatchScheduler(parameters.num_batch_threads)

    def wrap(self, servable: Servable, path: Path) -> Servable:
        """Return `servable`, loaded from `path`, wrapped for batching; unchanged if it should not batch.

        Raises:
            InvalidArgumentError: The parameters are invalid.
        """
        parameters = self._parameters
        if self._per_model:
            file = path / PER_MODEL_FILE
            if not file.exists():
                return servable
            parameters = read_parameters(file)
        parameters.check()
        return BatchingServable(servable, parameters, self._scheduler)

    def close(self) -> None:
        """Stop the threads."""
        self._scheduler.close()


@dataclass(slots=True, eq=False)
class Call:
    """A call, or a part of one, that waits to be computed; implements `model_server.batching.scheduler.Task`."""

    inputs: Mapping[str, Array]
    rows: int
    deadline_s: float | None
    """On the monotonic clock; None for no deadline."""
    has_started: bool = False
    outputs: Mapping[str, Array] = field(default_factory=dict)
    error: ServingError | None = None
    done: threading.Event = field(default_factory=threading.Event)
    """Set when `outputs` or `error` is set."""

    def split(self, rows: Sequence[int]) -> list[Self]:
        """Split the call into parts with the given numbers of rows."""
        ends = np.cumsum(rows)
        return [
            type(self)({name: array[end - count : end] for name, array in self.inputs.items()}, count, self.deadline_s)
            for count, end in zip(rows, ends, strict=True)
        ]

    def result(self) -> Mapping[str, Array]:
        """Wait for the outputs.

        Raises:
            ServingError: The batch failed, or was not done by the deadline.
        """
        wait_s = None if self.deadline_s is None else max(self.deadline_s + _GRACE_S - time.monotonic(), 0)
        if self.done.wait(wait_s):
            if self.error:
                # A separate error for each call: raising stores the traceback in the error.
                raise ServingError(self.error.message, self.error.code) from self.error
            return self.outputs
        if self.has_started:
            raise DeadlineExceededError("Timed out waiting for notification")
        raise ResourceExhaustedError("Run() timeout exceeded while waiting in batching queue")


class BatchingServable:
    """A model that computes calls of one signature together; implements `model_server.servable.Servable`."""

    def __init__(self, servable: Servable, parameters: BatchingParameters, scheduler: BatchScheduler[Call]) -> None:
        """Batch the calls to `servable`.

        Args:
            servable: The model; it is closed together with this one.
            parameters: How to batch; must be valid.
            scheduler: Provides the threads.
        """
        self.signatures: Mapping[str, SignatureDef] = servable.signatures
        self._servable = servable
        self._parameters = parameters
        self._scheduler = scheduler
        self._queues: dict[tuple[str, frozenset[str]], Queue[Call]] = {}
        """By signature and outputs: only calls with the same ones can be computed together."""

    def run(
        self, signature: str, inputs: Mapping[str, Array], outputs: Sequence[str], timeout_s: float | None
    ) -> dict[str, Array]:
        """Compute outputs; see `Servable.run`."""
        call = Call(inputs, count_rows(inputs), None if timeout_s is None else time.monotonic() + timeout_s)
        parts = self._scheduler.submit(self._queue(signature, outputs), call)
        results = [part.result() for part in parts]
        if len(results) == 1:
            return dict(results[0])
        return {alias: np.concatenate([result[alias] for result in results]) for alias in outputs}

    def close(self) -> None:
        """Close the model when all batches are computed, including those whose callers have given up."""
        for queue in self._queues.values():
            self._scheduler.finish(queue)
        self._servable.close()

    def _queue(self, signature: str, outputs: Sequence[str]) -> Queue[Call]:
        key = signature, frozenset(outputs)
        queue = self._queues.get(key)
        if queue is None:
            process = partial(self._process, signature, outputs)
            queue = self._queues.setdefault(key, Queue(self._parameters, process))
        return queue

    def _process(self, signature: str, outputs: Sequence[str], calls: Sequence[Call]) -> None:
        """Compute a batch, and set the outputs or the error of each of its calls."""
        now_s = time.monotonic()
        pending = [call for call in calls if call.deadline_s is None or call.deadline_s > now_s]
        if not pending:
            return
        for call in pending:
            call.has_started = True
        try:
            self._compute(signature, outputs, pending, now_s)
        except ServingError as error:
            _fail(pending, error)
        except Exception:  # noqa: BLE001  # no call may wait forever
            _LOG.exception("A batch of signature %s failed", signature)
            _fail(pending, ServingError("Internal error, see the server's log", Code.INTERNAL))

    def _compute(self, signature: str, outputs: Sequence[str], calls: Sequence[Call], now_s: float) -> None:
        rows = sum(call.rows for call in calls)
        padded_rows = self._parameters.padded_size(rows)
        infos = self.signatures[signature].inputs
        batch = {
            alias: merge(
                [call.inputs[alias] for call in calls],
                name=infos[alias].name,
                repeat_last=padded_rows - rows,
                pad=self._parameters.pad_variable_length_inputs,
            )
            for alias in calls[0].inputs
        }
        deadlines = [call.deadline_s for call in calls if call.deadline_s is not None]
        timeout_s = max(deadlines) - now_s if len(deadlines) == len(calls) else None
        results = self._servable.run(signature, batch, outputs, timeout_s)
        _check_rows(results, padded_rows)
        start = 0
        for call in calls:
            call.outputs = {alias: array[start : start + call.rows] for alias, array in results.items()}
            call.done.set()
            start += call.rows


def _fail(calls: Sequence[Call], error: ServingError) -> None:
    for call in calls:
        call.error = error
        call.done.set()


def count_rows(inputs: Mapping[str, Array]) -> int:
    """Return the size of the first dimension, which all inputs share.

    Raises:
        InvalidArgumentError: There is no input, an input is a scalar, the sizes differ, or the size is 0.
    """
    if not inputs:
        raise InvalidArgumentError("Batching Run() must have at least one input tensor")
    if any(array.ndim == 0 for array in inputs.values()):
        raise InvalidArgumentError("Batching Run() input tensors must have at least one dimension")
    sizes = {len(array) for array in inputs.values()}
    if len(sizes) > 1:
        raise InvalidArgumentError("Batching Run() input tensors must have equal 0th-dimension size")
    rows = sizes.pop()
    if not rows:
        raise InvalidArgumentError(
            "Batching Run() input tensors must have at least one row; without any, tensorflow_model_server would "
            "not answer before another request joins the batch"
        )
    return rows


def merge(arrays: Sequence[Array], *, name: str, repeat_last: int = 0, pad: bool = False) -> Array:
    """Concatenate the arrays of several calls for one input.

    Args:
        arrays: One array per call, each with at least one row.
        name: Name of the tensor, for messages.
        repeat_last: Number of rows to append: copies of the first row of the last array.
        pad: Pad the rows to the same shape first.

    Raises:
        ServingError: The arrays differ in shape or type.
    """
    if pad:
        arrays = _pad(arrays, name)
    elif any(array.shape[1:] != arrays[0].shape[1:] for array in arrays):
        raise FailedPreconditionError(
            f"Tensors with name '{name}' from different tasks have different shapes and padding is turned off. "
            "Set pad_variable_length_inputs to true, or ensure that all tensors with the same name have equal "
            "dimensions starting with the first dim."
        )
    for array in arrays:
        if array.dtype != arrays[0].dtype:
            raise ServingError(
                "Tensor concat operation failed: INVALID_ARGUMENT: Cannot concatenate tensors that have different "
                f"data types. Got {arrays[0].dtype} and {array.dtype}.",
                Code.INTERNAL,
            )
    if repeat_last:
        arrays = [*arrays, np.repeat(arrays[-1][:1], repeat_last, axis=0)]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _pad(arrays: Sequence[Array], name: str) -> list[Array]:
    """Pad each dimension but the first to the largest size; an array's first element is the padding, at the end."""
    ranks = {array.ndim for array in arrays}
    if len(ranks) > 1:
        raise FailedPreconditionError(f"Tensors with name '{name}' from different tasks have different ranks.")
    if max(ranks) > _MAX_PADDED_RANK:
        raise InvalidArgumentError(f"Only tensors with rank from 1 to {_MAX_PADDED_RANK} can be padded.")
    shape = np.max([array.shape[1:] for array in arrays], axis=0)
    padded_bytes = sum(len(array) * math.prod(shape.tolist()) * array.itemsize for array in arrays)
    check_request_bytes(padded_bytes, MAX_REQUEST_BYTES, f"Tensors with name '{name}', padded to the same shape, take")
    return [_pad_to(array, (len(array), *shape)) for array in arrays]


def _pad_to(array: Array, shape: tuple[int, ...]) -> Array:
    if array.shape == shape:
        return array
    if not array.size:
        raise InvalidArgumentError("Got empty tensor in batch of non-empty tensors.")
    result = np.full(shape, array.flat[0], array.dtype)
    result[tuple(map(slice, array.shape))] = array
    return result


def _check_rows(outputs: Mapping[str, Array], rows: int) -> None:
    for array in outputs.values():
        if array.ndim == 0:
            raise FailedPreconditionError("Batched output tensor has 0 dimensions")
        if len(array) != rows:
            raise FailedPreconditionError(
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the "
                "input tensors"
            )
