"""Micro-batching: join the requests that arrive while the model server computes into one call.

Every call costs work that does not depend on how many images it carries. A worker therefore keeps only a few calls in
flight for each computation. A request is sent at once while fewer are in flight; otherwise it is queued, and the next
call takes as many queued requests as fit. No request ever waits for others to arrive. A model server that batches by
itself does the same across all workers, but needs many calls in flight to do so.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gateway.deadline import Deadline
from gateway.errors import GatewayError, ModelFailedError
from gateway.model_client.protocol import Array, Call, ModelServer, Signature, TensorSpec, VersionStatus

MAX_SINGLES = 4
"""Requests of a failed call that are repeated one by one; more are halved, which finds the one at fault sooner."""
REPEATS_PER_HALVING = 4
"""Calls for each time that the requests of a failed call can be halved: enough to find two requests at fault."""


@dataclass(slots=True, eq=False)
class _Allowance:
    """The calls that may still be made because of one failed call."""

    calls: int


@dataclass(slots=True, eq=False)
class _Trial:
    """Some of the requests of a failed call, which are repeated together."""

    allowance: _Allowance


@dataclass(slots=True, eq=False)
class _Pending:
    """One request in a queue or in a call.

    Attributes:
        inputs: Its rows of each input.
        row_count: Number of these rows.
        deadline: Time limit on the request.
        ready: Set once `batch`, `output` or `error` is.
        batch: The requests whose call this one makes, itself among them; empty while another request makes its call.
        output: Its rows of the output.
        error: Why it has no output.
        trial: The requests that it is repeated with, because a call that it shared has failed; otherwise None.
        abandoned: Whether its thread has stopped waiting for the output.
    """

    inputs: Mapping[str, Array]
    row_count: int
    deadline: Deadline
    ready: threading.Event = field(default_factory=threading.Event)
    batch: Sequence["_Pending"] = ()
    output: Array | None = None
    error: GatewayError | None = None
    trial: _Trial | None = None
    abandoned: bool = False


@dataclass(slots=True)
class _Queue:
    """The requests for one computation whose rows have the same shape; empty while another call may be made."""

    calls_in_flight: int = 0
    pending: deque[_Pending] = field(default_factory=deque)


class MicroBatcher:
    """A `ModelServer` that joins requests into few calls to another; safe to use from many threads.

    A call is made by the request of its batch that may wait longest, and lasts no longer than that. If the model server
    fails to compute a batch, one of its requests may be the cause: the batch is repeated in halves, and in the end each
    request by itself, until the cause is found or the calls that one failure may cost are used up. These calls are
    queued ahead of newer requests and count towards the same limit. A batch that was not answered in time is not
    repeated, because the model server may still be computing it.

    Args:
        server: The model server that is called.
        calls: Maximum number of calls in flight for one computation, at least 1.
        max_rows: Maximum number of rows of a call that several requests share.
    """

    def __init__(self, server: ModelServer, *, calls: int, max_rows: int) -> None:
        self._server = server
        self._max_calls = calls
        self._max_rows = max_rows
        self._queues: dict[tuple[object, ...], _Queue] = {}
        self._lock = threading.Lock()

    @property
    def queue_length(self) -> int:
        """Number of requests that wait for a call in flight to end."""
        with self._lock:
            return sum(len(queue.pending) for queue in self._queues.values())

    def version_statuses(self, model: str, *, deadline: Deadline) -> list[VersionStatus]:
        """List the versions of a model; see `ModelServer`."""
        return self._server.version_statuses(model, deadline=deadline)

    def signatures(self, model: str, version: int, *, deadline: Deadline) -> Mapping[str, Signature]:
        """List the signatures of one version; see `ModelServer`."""
        return self._server.signatures(model, version, deadline=deadline)

    def resolve_label(self, model: str, label: str, *, deadline: Deadline) -> int:
        """Return the version that a label points to; see `ModelServer`."""
        return self._server.resolve_label(model, label, deadline=deadline)

    def predict(self, call: Call, inputs: Mapping[str, Array], *, deadline: Deadline, request_id: str = "") -> Array:
        """Run one signature, possibly in one call with other requests; see `ModelServer`.

        The model server receives the id of the request that makes the call.
        """
        row_count = _row_count(inputs) if call.takes_batches else None
        if row_count is None:
            return self._server.predict(call, inputs, deadline=deadline, request_id=request_id)
        pending = _Pending(inputs, row_count, deadline)
        key = _queue_key(call, inputs)
        queue = self._enqueue(key, pending)
        while pending.output is None:
            self._await_ready(queue, pending)
            if pending.batch:
                failure = None
                try:
                    failure = self._call_server(call, pending, request_id)
                finally:
                    self._end_call(key, queue, pending, failure)
            if pending.error is not None:
                # Raising writes the traceback into an error, so each request raises a copy of its own.
                error = pending.error
                raise type(error)(error.detail, **error.members) from error.__cause__
        return pending.output

    def _enqueue(self, key: tuple[object, ...], pending: _Pending) -> _Queue:
        """Queue a request whose deadline has not passed; it is dispatched at once while a call may be made."""
        pending.deadline.remaining_s()
        with self._lock:
            queue = self._queues.setdefault(key, _Queue())
            queue.pending.append(pending)
            self._dispatch_next(queue)
        return queue

    def _await_ready(self, queue: _Queue, pending: _Pending) -> None:
        """Wait until a request has its output, its error or a call to make.

        Raises:
            DeadlineExceededError: It has none of them when its deadline passes.
        """
        if pending.ready.wait(max(0.0, pending.deadline.at_s - time.monotonic())):
            return
        with self._lock:
            if pending.ready.is_set():
                return
            pending.abandoned = True
            if pending in queue.pending:
                queue.pending.remove(pending)
        raise pending.deadline.exceeded()

    def _call_server(self, call: Call, leader: _Pending, request_id: str) -> ModelFailedError | None:
        """Make one call for a batch and set the outputs or errors; a request left with neither must be repeated.

        Returns:
            Why requests must be repeated.
        """
        batch = leader.batch
        if len(batch) > 1:
            with self._lock:
                batch = leader.batch = [pending for pending in batch if not pending.abandoned]
        try:
            output = self._server.predict(call, _join_inputs(batch), deadline=leader.deadline, request_id=request_id)
            return _split_output(output, batch)
        except GatewayError as error:
            if isinstance(error, ModelFailedError) and len(batch) > 1:
                return error
            for pending in batch:
                pending.error = error
            return None
        except BaseException:
            leader.abandoned = True  # its thread raises this error; the other requests are repeated
            raise

    def _end_call(
        self, key: tuple[object, ...], queue: _Queue, leader: _Pending, failure: ModelFailedError | None
    ) -> None:
        """Wake the requests of a call that are done, queue the others again, and make the next calls."""
        with self._lock:
            queue.calls_in_flight -= 1
            batch, leader.batch = leader.batch, ()
            repeated = [
                pending
                for pending in batch
                if pending.output is None and pending.error is None and not pending.abandoned
            ]
            if repeated:
                allowance = leader.trial.allowance if leader.trial else _Allowance(_max_repeats(len(batch)))
                queue.pending.extendleft(reversed(_split_trial(repeated, allowance, failure)))
            for pending in batch:
                if pending.output is not None or pending.error is not None:
                    pending.ready.set()
            self._dispatch_next(queue)
            if queue.calls_in_flight == 0:
                del self._queues[key]

    def _dispatch_next(self, queue: _Queue) -> None:
        """Dispatch batches while the limit allows, each to the request that may wait longest; call it locked."""
        while queue.pending and queue.calls_in_flight < self._max_calls:
            batch = self._take_batch(queue)
            leader = max(batch, key=lambda pending: pending.deadline.at_s)
            leader.batch = batch
            queue.calls_in_flight += 1
            leader.ready.set()

    def _take_batch(self, queue: _Queue) -> Sequence[_Pending]:
        """Remove from the queue the first request and those that share its call."""
        batch = [queue.pending.popleft()]
        row_count = batch[0].row_count
        while queue.pending and queue.pending[0].trial is batch[0].trial:
            row_count += queue.pending[0].row_count
            if row_count > self._max_rows:
                break
            batch.append(queue.pending.popleft())
        return batch


def _max_repeats(requests: int) -> int:
    """Return how many calls may follow a failed one that several requests have shared."""
    return REPEATS_PER_HALVING * math.ceil(math.log2(requests))


def _split_trial(
    requests: Sequence[_Pending], allowance: _Allowance, failure: ModelFailedError | None
) -> list[_Pending]:
    """Divide the requests of a failed call into those of the next ones, and return them in order.

    Requests for which no call is left get the failure as their error.
    """
    size = 1 if len(requests) <= MAX_SINGLES else math.ceil(len(requests) / 2)
    repeated: list[_Pending] = []
    for start in range(0, len(requests), size):
        trial = _Trial(allowance)
        for pending in requests[start : start + size]:
            if allowance.calls:
                pending.trial = trial
                pending.ready.clear()
                repeated.append(pending)
            else:
                pending.error = failure or ModelFailedError("A call that several requests shared failed unexpectedly.")
        allowance.calls = max(0, allowance.calls - 1)
    return repeated


def _row_count(inputs: Mapping[str, Array]) -> int | None:
    """Return the number of rows that all inputs have; None if they differ or an input is a scalar."""
    counts = {array.shape[:1] for array in inputs.values()}
    if len(counts) != 1 or counts == {()}:
        return None
    return int(counts.pop()[0])


def _queue_key(call: Call, inputs: Mapping[str, Array]) -> tuple[object, ...]:
    """Return what two requests must share to go into one call."""
    shapes = [(name, array.dtype.str, *array.shape[1:]) for name, array in sorted(inputs.items())]
    return (call.model, call.version, call.signature_name, call.output, *shapes)


def _join_inputs(batch: Sequence[_Pending]) -> Mapping[str, Array]:
    """Concatenate the inputs of a batch; those of a single request are not copied."""
    if len(batch) == 1:
        return batch[0].inputs
    return {name: np.concatenate([pending.inputs[name] for pending in batch]) for name in batch[0].inputs}


def _split_output(output: Array, batch: Sequence[_Pending]) -> ModelFailedError | None:
    """Assign each request its rows, or return an error if the model returned more or fewer rows than it received."""
    if len(batch) == 1:
        batch[0].output = output
        return None
    ends = np.cumsum([pending.row_count for pending in batch])
    if output.shape[:1] != (ends[-1],):
        return ModelFailedError(f"The model returned {TensorSpec.of(output)} for {ends[-1]} images.")
    for pending, rows in zip(batch, np.split(output, ends[:-1]), strict=True):
        pending.output = rows
    return None
