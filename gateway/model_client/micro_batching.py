"""One call to the model server for the requests that came while it computed.

Around each call there is work that does not depend on how many images it carries. While a worker has no more than a
few calls in flight, requests wait for each other without waiting for anything else: whoever comes first is sent at
once, and those who come while that is computed go together. A model server that batches does the same for all workers,
and needs many calls in flight for it.
"""

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceededError, GatewayError, ModelFailedError
from gateway.model_client.protocol import Array, Call, ModelServer, Signature, VersionStatus

# What one of them may have caused for all: by its rows, or by having less time than the others.
OF_ONE = (ModelFailedError, DeadlineExceededError)


@dataclass(slots=True, eq=False)
class _Pending:
    """What one request asks.

    Attributes:
        inputs: Its rows of each input.
        rows: How many.
        woken: Set when it is to make a call, or when its call has ended.
        company: All that are asked by the call that it is to make, itself first; empty while others make its call.
        answer: Its rows of the output.
        error: Why it has none. Without either it has to be asked about alone.
    """

    inputs: Mapping[str, Array]
    rows: int
    woken: threading.Event = field(default_factory=threading.Event)
    company: Sequence["_Pending"] = ()
    answer: Array | None = None
    error: GatewayError | None = None


@dataclass(slots=True)
class _Queue:
    """Those who ask the same of one version, with rows of the same shape; nobody waits while a call may be made."""

    in_flight: int = 0
    waiting: deque[_Pending] = field(default_factory=deque)


class MicroBatcher:
    """A `ModelServer` that is asked by few calls at a time; safe to use from many threads.

    Args:
        server: Asked.
        calls: Most calls in flight for one version of a model, at least 1.
        max_rows: Most rows that several requests are put together to.
    """

    def __init__(self, server: ModelServer, *, calls: int, max_rows: int) -> None:
        self._server = server
        self._calls = calls
        self._max_rows = max_rows
        self._queues: dict[tuple[object, ...], _Queue] = {}
        self._lock = threading.Lock()

    @property
    def queue_length(self) -> int:
        """Requests that wait for a call in flight to end."""
        with self._lock:
            return sum(len(line.waiting) for line in self._queues.values())

    def version_statuses(self, model: str, *, deadline: Deadline) -> list[VersionStatus]:
        """List the versions that the server knows of a model; see `ModelServer`."""
        return self._server.version_statuses(model, deadline=deadline)

    def signatures(self, model: str, version: int, *, deadline: Deadline) -> Mapping[str, Signature]:
        """List the entry points of one version; see `ModelServer`."""
        return self._server.signatures(model, version, deadline=deadline)

    def resolve_label(self, model: str, label: str, *, deadline: Deadline) -> int:
        """Say which version a label points to; see `ModelServer`."""
        return self._server.resolve_label(model, label, deadline=deadline)

    def predict(self, call: Call, inputs: Mapping[str, Array], *, deadline: Deadline, request_id: str = "") -> Array:
        """Run one entry point, for others too or by their call; see `ModelServer`.

        The server is told the id of the request that makes the call.
        """
        counts = {array.shape[:1] for array in inputs.values()}
        if call.takes_batches and len(counts) == 1 and counts != {()}:
            ((rows,),) = counts
            answer = self._together(call, _Pending(inputs, rows), deadline, request_id)
            if answer is not None:
                return answer
        return self._server.predict(call, inputs, deadline=deadline, request_id=request_id)

    def _together(self, call: Call, asked: _Pending, deadline: Deadline, request_id: str) -> Array | None:
        """Get an answer in company; None if it has to be asked for alone."""
        shapes = [(name, array.dtype.str, *array.shape[1:]) for name, array in sorted(asked.inputs.items())]
        key = (call.model, call.version, call.signature_name, call.output, *shapes)
        patience_s = deadline.remaining_s()
        with self._lock:
            line = self._queues.setdefault(key, _Queue())
            if line.in_flight < self._calls:
                line.in_flight += 1
                asked.company = (asked,)
            else:
                line.waiting.append(asked)
        if not asked.company and not asked.woken.wait(patience_s):
            with self._lock:
                if asked in line.waiting:
                    line.waiting.remove(asked)
                if not asked.company:
                    raise deadline.exceeded()
        if asked.company:
            try:
                self._ask(call, asked.company, deadline, request_id)
            finally:
                self._go_on(key, line)
        if asked.error is not None:
            # One of its own for each request: raising writes the traceback into the error.
            raise type(asked.error)(asked.error.detail, **asked.error.members) from asked.error.__cause__
        return asked.answer

    def _ask(self, call: Call, company: Sequence[_Pending], deadline: Deadline, request_id: str) -> None:
        """Make a call, and let each of the company know what came of it."""
        try:
            answer = self._server.predict(call, _joined(company), deadline=deadline, request_id=request_id)
        except GatewayError as error:
            if len(company) == 1 or not isinstance(error, OF_ONE):
                for asked in company:
                    asked.error = error
        else:
            _hand_out(answer, company)
        finally:
            for asked in company[1:]:
                asked.woken.set()

    def _go_on(self, key: tuple[object, ...], line: _Queue) -> None:
        """Have the next call made, by the first of those who waited."""
        company: list[_Pending] = []
        rows = 0
        with self._lock:
            while line.waiting and (not company or rows + line.waiting[0].rows <= self._max_rows):
                company.append(line.waiting.popleft())
                rows += company[-1].rows
            if company:
                company[0].company = company
            else:
                line.in_flight -= 1
                if not line.in_flight:
                    del self._queues[key]
        if company:
            company[0].woken.set()


def _joined(company: Sequence[_Pending]) -> Mapping[str, Array]:
    """Make the inputs of one call; of a single request without copying them."""
    if len(company) == 1:
        return company[0].inputs
    return {name: np.concatenate([asked.inputs[name] for asked in company]) for name in company[0].inputs}


def _hand_out(answer: Array, company: Sequence[_Pending]) -> None:
    """Give each its rows, unless the model has answered with more or fewer than it was asked for."""
    if len(company) == 1:
        company[0].answer = answer
        return
    ends = np.cumsum([asked.rows for asked in company])
    if answer.shape[:1] == (ends[-1],):
        for asked, rows in zip(company, np.split(answer, ends[:-1]), strict=True):
            asked.answer = rows
