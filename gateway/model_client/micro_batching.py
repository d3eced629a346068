"""Micro-batching: join the requests that arrive while the model server computes into one call.

Every call costs work that does not depend on how many images it carries. A worker therefore keeps only a few calls in
flight for each computation. A request is sent at once while fewer are in flight; otherwise it is queued, and the next
call takes as many queued requests as fit. No request ever waits for others to arrive. A model server that batches by
itself does the same across all workers, but needs many calls in flight to do so.
"""

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceededError, GatewayError, ModelFailedError
from gateway.model_client.protocol import Array, Call, ModelServer, Signature, VersionStatus

PER_REQUEST_ERRORS = (ModelFailedError, DeadlineExceededError)
"""Errors that one request may have caused for its whole batch: by its rows, or by having less time than the others."""


@dataclass(slots=True, eq=False)
class _Pending:
    """One request in a queue or in a call.

    Attributes:
        inputs: Its rows of each input.
        row_count: Number of these rows.
        ready: Set once `batch`, `output` or `error` is.
        batch: The requests whose call this one makes, itself first; empty while another request makes its call.
        output: Its rows of the output.
        error: Why it has no output.
        needs_own_call: Whether it must not share a call, because one that it shared has failed.
        abandoned: Whether its thread has stopped waiting for the output.
    """

    inputs: Mapping[str, Array]
    row_count: int
    ready: threading.Event = field(default_factory=threading.Event)
    batch: Sequence["_Pending"] = ()
    output: Array | None = None
    error: GatewayError | None = None
    needs_own_call: bool = False
    abandoned: bool = False


@dataclass(slots=True)
class _Queue:
    """The requests for one computation whose rows have the same shape; empty while another call may be made."""

    calls_in_flight: int = 0
    pending: deque[_Pending] = field(default_factory=deque)


class MicroBatcher:
    """A `ModelServer` that joins requests into few calls to another; safe to use from many threads.

    A batch that fails by an error that one of its requests may have caused is repeated, each request in a call of its
    own. These calls are queued ahead of newer requests and count towards the same limit.

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
        pending = _Pending(inputs, row_count)
        key = _queue_key(call, inputs)
        queue = self._enqueue(key, pending, deadline)
        while pending.output is None:
            self._await_ready(queue, pending, deadline)
            if pending.batch:
                try:
                    self._call_server(call, pending, deadline, request_id)
                finally:
                    self._end_call(key, queue, pending.batch)
            if pending.error is not None:
                # Raising writes the traceback into an error, so each request raises a copy of its own.
                error = pending.error
                raise type(error)(error.detail, **error.members) from error.__cause__
        return pending.output

    def _enqueue(self, key: tuple[object, ...], pending: _Pending, deadline: Deadline) -> _Queue:
        """Queue a request whose deadline has not passed; it is dispatched at once while a call may be made."""
        deadline.remaining_s()
        with self._lock:
            queue = self._queues.setdefault(key, _Queue())
            queue.pending.append(pending)
            self._dispatch_next(queue)
        return queue

    def _await_ready(self, queue: _Queue, pending: _Pending, deadline: Deadline) -> None:
        """Wait until a request has its output, its error or a call to make.

        Raises:
            DeadlineExceededError: It has none of them when its deadline passes.
        """
        if pending.ready.wait(max(0.0, deadline.at_s - time.monotonic())):
            return
        with self._lock:
            if pending.ready.is_set():
                return
            pending.abandoned = True
            if pending in queue.pending:
                queue.pending.remove(pending)
        raise deadline.exceeded()

    def _call_server(self, call: Call, leader: _Pending, deadline: Deadline, request_id: str) -> None:
        """Make one call for a batch and set the outputs or errors; a request left with neither must be repeated."""
        batch = leader.batch
        try:
            output = self._server.predict(call, _join_inputs(batch), deadline=deadline, request_id=request_id)
            _split_output(output, batch)
        except GatewayError as error:
            if len(batch) == 1 or not isinstance(error, PER_REQUEST_ERRORS):
                for pending in batch:
                    pending.error = error
        except BaseException:
            leader.abandoned = True  # its thread raises this error; the other requests are repeated
            raise

    def _end_call(self, key: tuple[object, ...], queue: _Queue, batch: Sequence[_Pending]) -> None:
        """Wake the requests of a call that are done, queue the others again, and make the next calls."""
        with self._lock:
            queue.calls_in_flight -= 1
            repeated: list[_Pending] = []
            for pending in batch:
                if pending.output is not None or pending.error is not None:
                    pending.batch = ()
                    pending.ready.set()
                elif not pending.abandoned:
                    pending.batch = ()
                    pending.ready.clear()
                    pending.needs_own_call = True
                    repeated.append(pending)
            queue.pending.extendleft(reversed(repeated))
            self._dispatch_next(queue)
            if queue.calls_in_flight == 0:
                del self._queues[key]

    def _dispatch_next(self, queue: _Queue) -> None:
        """Dispatch batches while the limit allows, each to its first request, which makes the call; call it locked."""
        while queue.pending and queue.calls_in_flight < self._max_calls:
            leader = queue.pending.popleft()
            leader.batch = (leader, *self._take_companions(queue, leader))
            queue.calls_in_flight += 1
            leader.ready.set()

    def _take_companions(self, queue: _Queue, leader: _Pending) -> Sequence[_Pending]:
        """Remove from the queue the requests that share the call of the leader."""
        companions: list[_Pending] = []
        row_count = leader.row_count
        while queue.pending and not (leader.needs_own_call or queue.pending[0].needs_own_call):
            row_count += queue.pending[0].row_count
            if row_count > self._max_rows:
                break
            companions.append(queue.pending.popleft())
        return companions


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


def _split_output(output: Array, batch: Sequence[_Pending]) -> None:
    """Assign each request its rows, unless the model returned another number of rows than it received."""
    if len(batch) == 1:
        batch[0].output = output
        return
    ends = np.cumsum([pending.row_count for pending in batch])
    if output.shape[:1] == (ends[-1],):
        for pending, rows in zip(batch, np.split(output, ends[:-1]), strict=True):
            pending.output = rows
