"""Models whose calls are computed in batches.

What is done to the arrays, and the errors, are those of tensorflow_serving/batching/batching_session.cc: the calls
of a batch share its failure, too. Two things are different on purpose. A call without rows is refused, where
tensorflow_model_server does not answer until another call joins its batch; it may be for ever. And whoever has
waited until his deadline gets an error and is left out of the batch, if that has not begun.
"""

import logging
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
from model_server.servable import Array, Servable, SignatureDef

_LOG = logging.getLogger(__name__)

_MAX_PADDED_RANK = 6
_GRACE_S = 0.1
"""A computation that reaches its deadline stops and says so; so long after it, a call no longer waits for that."""


class Batching:
    """Makes batching models of loaded ones, by the flags of the server; all share the same threads."""

    def __init__(self, parameters: BatchingParameters, *, per_model: bool) -> None:
        """Start the threads.

        Args:
            parameters: the server's.
            per_model: go by the file in each version's directory instead, and leave models without one alone.
                The number of threads is the server's all the same.

        Raises:
            InvalidArgumentError: there would be no thread.
        """
        self._parameters = parameters
        self._per_model = per_model
        self._scheduler: BatchScheduler[Call] = BatchScheduler(parameters.num_batch_threads)

    def wrap(self, servable: Servable, path: Path) -> Servable:
        """Return `servable`, loaded from `path`, as one that batches its calls, if it is to.

        Raises:
            InvalidArgumentError: the parameters cannot be used.
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
        """End the threads."""
        self._scheduler.close()


@dataclass(slots=True, eq=False)
class Call:
    """One call, or a part of one, that waits to be computed; implements `model_server.batching.scheduler.Task`."""

    inputs: Mapping[str, Array]
    rows: int
    deadline_s: float | None
    """On the monotonic clock; None for never."""
    has_begun: bool = False
    outputs: Mapping[str, Array] = field(default_factory=dict)
    error: ServingError | None = None
    done: threading.Event = field(default_factory=threading.Event)
    """Set when there are outputs or an error."""

    def split(self, rows: Sequence[int]) -> list[Self]:
        """Take the call apart into calls of so many rows."""
        ends = np.cumsum(rows)
        return [
            type(self)({name: array[end - count : end] for name, array in self.inputs.items()}, count, self.deadline_s)
            for count, end in zip(rows, ends, strict=True)
        ]

    def result(self) -> Mapping[str, Array]:
        """Wait for the outputs.

        Raises:
            ServingError: the batch failed, or was not done in time.
        """
        wait_s = None if self.deadline_s is None else max(self.deadline_s + _GRACE_S - time.monotonic(), 0)
        if self.done.wait(wait_s):
            if self.error:
                # One of its own for each call: raising writes the traceback into the error.
                raise ServingError(self.error.message, self.error.code) from self.error
            return self.outputs
        if self.has_begun:
            raise DeadlineExceededError("Timed out waiting for notification")
        raise ResourceExhaustedError("Run() timeout exceeded while waiting in batching queue")


class BatchingServable:
    """A model that computes calls of one signature together; implements `model_server.servable.Servable`."""

    def __init__(self, wrapped: Servable, parameters: BatchingParameters, scheduler: BatchScheduler[Call]) -> None:
        """Batch the calls to a model, which is then closed with this one.

        Args:
            wrapped: the model.
            parameters: how to batch, checked.
            scheduler: brings the threads.
        """
        self.signatures: Mapping[str, SignatureDef] = wrapped.signatures
        self._wrapped = wrapped
        self._parameters = parameters
        self._scheduler = scheduler
        self._queues: dict[tuple[str, frozenset[str]], Queue[Call]] = {}
        """By signature and outputs: only calls that ask for the same can be computed together."""

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
        """Close the model, after the batches of those who have given up."""
        for queue in self._queues.values():
            self._scheduler.finish(queue)
        self._wrapped.close()

    def _queue(self, signature: str, outputs: Sequence[str]) -> Queue[Call]:
        key = signature, frozenset(outputs)
        queue = self._queues.get(key)
        if queue is None:
            process = partial(self._process, signature, outputs)
            queue = self._queues.setdefault(key, Queue(self._parameters, process))
        return queue

    def _process(self, signature: str, outputs: Sequence[str], calls: Sequence[Call]) -> None:
        """Compute a batch, and tell each of its calls what came of it."""
        now_s = time.monotonic()
        waiting = [call for call in calls if call.deadline_s is None or call.deadline_s > now_s]
        if not waiting:
            return
        for call in waiting:
            call.has_begun = True
        try:
            self._compute(signature, outputs, waiting, now_s)
        except ServingError as error:
            _fail(waiting, error)
        except Exception:  # noqa: BLE001  # nobody may wait for ever
            _LOG.exception("A batch of signature %s failed", signature)
            _fail(waiting, ServingError("Internal error, see the server's log", Code.INTERNAL))

    def _compute(self, signature: str, outputs: Sequence[str], calls: Sequence[Call], now_s: float) -> None:
        rows = sum(call.rows for call in calls)
        padded_rows = self._parameters.padded(rows)
        infos = self.signatures[signature].inputs
        merged = {
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
        results = self._wrapped.run(signature, merged, outputs, timeout_s)
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
        InvalidArgumentError: there is no input, or no such size, or it is 0.
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
    """Join what several calls gave for one input.

    Args:
        arrays: one for each call, all with at least one row.
        name: the tensor's, for messages.
        repeat_last: how many rows to append, copies of the first row of the last array.
        pad: make the rows equal in shape first.

    Raises:
        ServingError: the arrays do not go together.
    """
    if pad:
        arrays = _padded(arrays, name)
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


def _padded(arrays: Sequence[Array], name: str) -> list[Array]:
    """Fill up each dimension but the first to the largest, by an array's first element, behind what is there."""
    ranks = {array.ndim for array in arrays}
    if len(ranks) > 1:
        raise FailedPreconditionError(f"Tensors with name '{name}' from different tasks have different ranks.")
    if max(ranks) > _MAX_PADDED_RANK:
        raise InvalidArgumentError(f"Only tensors with rank from 1 to {_MAX_PADDED_RANK} can be padded.")
    shape = np.max([array.shape[1:] for array in arrays], axis=0)
    return [_filled_up(array, (len(array), *shape)) for array in arrays]


def _filled_up(array: Array, shape: tuple[int, ...]) -> Array:
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
