"""Queues of calls, and the threads that take batches from them.

The rules are those of tensorflow/core/kernels/batching_util/shared_batch_scheduler.h: a call goes into the last
batch of its queue, or begins a new one. A batch may be taken when it is full, when another one stands behind it, or
when it has waited for `batch_timeout_micros`; the queues take turns.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, Self, TypeVar

from model_server.batching.parameters import BatchingParameters
from model_server.errors import InvalidArgumentError, UnavailableError


class Task(Protocol):
    """A call that is to be computed together with others."""

    @property
    def rows(self) -> int:
        """How much of a batch it takes, at least 1."""

    def split(self, rows: Sequence[int]) -> list[Self]:
        """Take the call apart into calls of so many rows."""


TaskT = TypeVar("TaskT", bound=Task)


@dataclass(slots=True)
class _Batch(Generic[TaskT]):
    tasks: list[TaskT] = field(default_factory=list)
    rows: int = 0
    opened_s: float = 0.0
    """When the first task came."""


class Queue(Generic[TaskT]):
    """Batches that wait. It has no lock and no clock of its own; `BatchScheduler` brings both."""

    def __init__(self, parameters: BatchingParameters, process: Callable[[list[TaskT]], None]) -> None:
        """Start empty.

        Args:
            parameters: sizes and times.
            process: computes a batch and tells each of its tasks what came of it; it must not raise.
        """
        self.process = process
        self.is_closed = False
        """Set when no more tasks come, so that there is nothing to wait for."""
        self.running = 0
        """Batches that were taken and are not done."""
        self._parameters = parameters
        self._timeout_s = parameters.batch_timeout_micros / 1e6
        self._batches: deque[_Batch[TaskT]] = deque([_Batch()])
        """The last one is open; it alone may be empty."""

    def add(self, task: TaskT, now_s: float) -> list[TaskT]:
        """Put a task at the end of the queue.

        Returns:
            What was put there: the task, or the tasks that it was split into.

        Raises:
            InvalidArgumentError: the task has too many rows.
            UnavailableError: the queue is full.
        """
        limit = self._parameters.max_batch_size
        if task.rows > limit:
            raise InvalidArgumentError(f"Task size {task.rows} is larger than maximum input batch size {limit}")
        free = self._parameters.rows_per_batch - self._batches[-1].rows
        if task.rows <= free:
            tasks = [task]
        else:
            self._check_room(task.rows, free)
            tasks = self._split(task, free)
        for part in tasks:
            self._append(part, now_s)
        return tasks

    @property
    def is_empty(self) -> bool:
        """Whether no task waits."""
        return not self._batches[0].tasks

    def due_s(self) -> float:
        """Return from what time on a batch may be taken; infinity if there is none."""
        if self.is_empty:
            return math.inf
        first = self._batches[0]
        is_full = len(self._batches) > 1 or first.rows >= self._parameters.rows_per_batch
        if is_full or self.is_closed:
            return first.opened_s
        return first.opened_s + self._timeout_s

    def take(self) -> list[TaskT]:
        """Take the first batch out."""
        tasks = self._batches.popleft().tasks
        if not self._batches:
            self._batches.append(_Batch())
        return tasks

    def _append(self, task: TaskT, now_s: float) -> None:
        if self._batches[-1].rows + task.rows > self._parameters.rows_per_batch:
            self._batches.append(_Batch())
        batch = self._batches[-1]
        if not batch.tasks:
            batch.opened_s = now_s
        batch.tasks.append(task)
        batch.rows += task.rows

    def _check_room(self, rows: int, free: int) -> None:
        """Refuse a task that does not fit into the open batch, where there may be no further batches for it."""
        waiting, most = len(self._batches), self._parameters.batches_per_queue
        full = "The batch scheduling queue to which this task was submitted is full; "
        if not self._parameters.enable_large_batch_splitting:
            if waiting >= most:
                raise UnavailableError(f"{full}currently {waiting} batches enqueued and max_enqueued_batches is {most}")
            return
        capacity = (most - waiting) * self._parameters.rows_per_batch + free
        if rows > capacity:
            raise UnavailableError(
                f"{full}task size is {rows} but scheduling capacity is only {capacity} "
                f"(num_enqueued_batches={waiting}, max_enqueued_batches={most}, "
                f"open_batch_size={self._batches[-1].rows}, "
                f"max_execution_batch_size={self._parameters.rows_per_batch})"
            )

    def _split(self, task: TaskT, free: int) -> list[TaskT]:
        if not self._parameters.enable_large_batch_splitting:
            return [task]
        most = self._parameters.rows_per_batch
        whole, rest = divmod(task.rows - free, most)
        return task.split([rows for rows in (free, *[most] * whole, rest) if rows])


class BatchScheduler(Generic[TaskT]):
    """The threads that compute batches, those of all models."""

    def __init__(self, threads: int) -> None:
        """Start the threads: as many batches are computed at once.

        Raises:
            InvalidArgumentError: there would be no thread.
        """
        if threads < 1:
            raise InvalidArgumentError(f"num_batch_threads must be positive; was {threads}")
        lock = threading.Lock()
        self._work = threading.Condition(lock)
        """Notified when a batch may be taken, or when it becomes known when that will be."""
        self._progress = threading.Condition(lock)
        """Notified when a batch is done."""
        self._queues: deque[Queue[TaskT]] = deque()
        """Those that are not empty, the next in turn in front."""
        self._closed = False
        for number in range(threads):
            threading.Thread(target=self._work_off, name=f"batch-{number}", daemon=True).start()

    def submit(self, queue: Queue[TaskT], task: TaskT) -> list[TaskT]:
        """Put a task into a queue; see `Queue.add`.

        Raises:
            InvalidArgumentError: the task has too many rows.
            UnavailableError: the queue is full.
        """
        with self._work:
            before_s = queue.due_s()
            tasks = queue.add(task, time.monotonic())
            if before_s == math.inf:
                self._queues.append(queue)
            if queue.due_s() != before_s:
                self._work.notify()
        return tasks

    def finish(self, queue: Queue[TaskT]) -> None:
        """Have computed what waits in a queue that gets no more tasks, and wait until that is done."""
        with self._progress:
            queue.is_closed = True
            self._work.notify()
            self._progress.wait_for(lambda: queue.is_empty and not queue.running)

    def close(self) -> None:
        """End each thread when its batch is done. What waits is left undone."""
        with self._work:
            self._closed = True
            self._work.notify_all()

    def _work_off(self) -> None:
        while (taken := self._wait_for_batch()) is not None:
            queue, tasks = taken
            queue.process(tasks)
            del taken, tasks  # or this thread would keep their arrays until its next batch
            with self._progress:
                queue.running -= 1
                self._progress.notify_all()

    def _wait_for_batch(self) -> tuple[Queue[TaskT], list[TaskT]] | None:
        with self._work:
            while not self._closed:
                now_s = time.monotonic()
                due_s = [queue.due_s() for queue in self._queues]
                turn = next((turn for turn, due in enumerate(due_s) if due <= now_s), None)
                if turn is not None:
                    return self._take(turn)
                self._work.wait(min(due_s) - now_s if due_s else None)
        return None

    def _take(self, turn: int) -> tuple[Queue[TaskT], list[TaskT]]:
        queue = self._queues[turn]
        self._queues.rotate(-turn - 1)
        tasks = queue.take()
        queue.running += 1
        if queue.is_empty:
            self._queues.pop()
        if self._queues:
            self._work.notify()  # another thread has to look after the rest while this one computes
        return queue, tasks
