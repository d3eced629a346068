"""Queue calls, and compute them in batches on a fixed set of threads.

The rules are those of tensorflow/core/kernels/batching_util/shared_batch_scheduler.h: a call joins the last batch of
its queue, or starts a new one. A batch is due when it is full, when another one is queued behind it, or when it has
waited for `batch_timeout_micros`. The threads serve the queues in turn.
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
    """A call that can be computed together with others."""

    @property
    def rows(self) -> int:
        """Rows that the call adds to a batch, at least 1."""

    def split(self, rows: Sequence[int]) -> list[Self]:
        """Split the call into parts with the given numbers of rows."""


TaskT = TypeVar("TaskT", bound=Task)


@dataclass(slots=True)
class _Batch(Generic[TaskT]):
    tasks: list[TaskT] = field(default_factory=list)
    rows: int = 0
    opened_s: float = 0.0
    """Arrival time of the first task, on the monotonic clock."""


class Queue(Generic[TaskT]):
    """Batches that wait to be computed. Without a lock or a clock; `BatchScheduler` provides both."""

    def __init__(self, parameters: BatchingParameters, process: Callable[[list[TaskT]], None]) -> None:
        """Start empty.

        Args:
            parameters: Sizes and times.
            process: Computes a batch and sets the result of each of its tasks. Must not raise.
        """
        self.process = process
        self.is_closed = False
        """Set when no more tasks will arrive: a batch need not wait for its timeout."""
        self.running = 0
        """Batches that are being computed."""
        self._parameters = parameters
        self._timeout_s = parameters.batch_timeout_micros / 1e6
        self._batches: deque[_Batch[TaskT]] = deque([_Batch()])
        """The last batch is open for tasks. Only this one may be empty."""

    def add(self, task: TaskT, now_s: float) -> list[TaskT]:
        """Append a task to the queue.

        Returns:
            The task, or the parts that it was split into.

        Raises:
            InvalidArgumentError: The task has too many rows.
            UnavailableError: The queue is full.
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
        """Whether no task is waiting."""
        return not self._batches[0].tasks

    def due_s(self) -> float:
        """Return the time from which the first batch may be computed; infinity if the queue is empty."""
        if self.is_empty:
            return math.inf
        first = self._batches[0]
        is_full = len(self._batches) > 1 or first.rows >= self._parameters.rows_per_batch
        if is_full or self.is_closed:
            return first.opened_s
        return first.opened_s + self._timeout_s

    def take(self) -> list[TaskT]:
        """Remove the first batch and return its tasks."""
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
        """Check that a task that does not fit into the open batch may start further batches.

        Raises:
            UnavailableError: The queue is full.
        """
        count, limit = len(self._batches), self._parameters.batches_per_queue
        full = "The batch scheduling queue to which this task was submitted is full; "
        if not self._parameters.enable_large_batch_splitting:
            if count >= limit:
                raise UnavailableError(f"{full}currently {count} batches enqueued and max_enqueued_batches is {limit}")
            return
        capacity = (limit - count) * self._parameters.rows_per_batch + free
        if rows > capacity:
            raise UnavailableError(
                f"{full}task size is {rows} but scheduling capacity is only {capacity} "
                f"(num_enqueued_batches={count}, max_enqueued_batches={limit}, "
                f"open_batch_size={self._batches[-1].rows}, "
                f"max_execution_batch_size={self._parameters.rows_per_batch})"
            )

    def _split(self, task: TaskT, free: int) -> list[TaskT]:
        if not self._parameters.enable_large_batch_splitting:
            return [task]
        batch_size = self._parameters.rows_per_batch
        full_batches, rest = divmod(task.rows - free, batch_size)
        return task.split([rows for rows in (free, *[batch_size] * full_batches, rest) if rows])


class BatchScheduler(Generic[TaskT]):
    """The threads that compute the batches of all models."""

    def __init__(self, threads: int) -> None:
        """Start the threads.

        Args:
            threads: Number of batches to compute at the same time.

        Raises:
            InvalidArgumentError: `threads` is less than 1.
        """
        if threads < 1:
            raise InvalidArgumentError(f"num_batch_threads must be positive; was {threads}")
        lock = threading.Lock()
        self._work = threading.Condition(lock)
        """Notified when a batch is due, or when the time at which one will be due changes."""
        self._progress = threading.Condition(lock)
        """Notified when a batch is done."""
        self._queues: deque[Queue[TaskT]] = deque()
        """The queues that are not empty, the next in turn first."""
        self._closed = False
        for number in range(threads):
            threading.Thread(target=self._run, name=f"batch-{number}", daemon=True).start()

    def submit(self, queue: Queue[TaskT], task: TaskT) -> list[TaskT]:
        """Append a task to a queue; see `Queue.add`.

        Raises:
            InvalidArgumentError: The task has too many rows.
            UnavailableError: The queue is full.
        """
        with self._work:
            previous_due_s = queue.due_s()
            tasks = queue.add(task, time.monotonic())
            if previous_due_s == math.inf:
                self._queues.append(queue)
            if queue.due_s() != previous_due_s:
                self._work.notify()
        return tasks

    def finish(self, queue: Queue[TaskT]) -> None:
        """Close a queue to new tasks, and wait until its batches are computed."""
        with self._progress:
            queue.is_closed = True
            self._work.notify()
            self._progress.wait_for(lambda: queue.is_empty and not queue.running)

    def close(self) -> None:
        """Stop each thread when its batch is done. Waiting batches are not computed."""
        with self._work:
            self._closed = True
            self._work.notify_all()

    def _run(self) -> None:
        while (batch := self._wait_for_batch()) is not None:
            queue, tasks = batch
            queue.process(tasks)
            del batch, tasks  # otherwise this thread would keep their arrays alive until its next batch
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
            self._work.notify()  # another thread waits for the remaining queues while this one computes
        return queue, tasks
