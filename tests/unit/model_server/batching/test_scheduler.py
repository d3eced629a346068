import itertools
import math
import threading
from dataclasses import dataclass, field

import pytest

from model_server.batching.parameters import BatchingParameters
from model_server.batching.scheduler import BatchScheduler, Queue
from model_server.errors import InvalidArgumentError, UnavailableError

FOR_EVER_MICROS = 10**10
LIMIT_S = 20


@dataclass(eq=False)
class Task:
    rows: int = 1
    done: threading.Event = field(default_factory=threading.Event)

    def split(self, rows):
        return [Task(count) for count in rows]


def queue_of(**parameters):
    return Queue(BatchingParameters(**parameters), process=None)


def add(queue, *sizes, now_s=0.0):
    """Append tasks of these sizes to a queue; return the sizes of the parts of each."""
    return [[part.rows for part in queue.add(Task(rows), now_s)] for rows in sizes]


def batches(queue):
    """Empty a queue; return the sizes of the tasks of each batch."""
    batches_rows = []
    while not queue.is_empty:
        batches_rows.append([task.rows for task in queue.take()])
    return batches_rows


def test_an_empty_queue_is_never_due():
    queue = queue_of()
    assert queue.is_empty
    assert queue.due_s() == math.inf


def test_a_task_that_does_not_fit_starts_the_next_batch():
    queue = queue_of(max_batch_size=4)
    add(queue, 1, 2, 2, 2, 3)
    assert batches(queue) == [[1, 2], [2, 2], [3]]
    assert queue.is_empty


def test_a_batch_is_due_after_its_timeout():
    queue = queue_of(max_batch_size=4, batch_timeout_micros=500_000)
    add(queue, 1, now_s=10.0)
    add(queue, 1, now_s=10.4)
    assert queue.due_s() == 10.5


def test_a_batch_without_a_timeout_is_due_at_once():
    queue = queue_of()
    add(queue, 1, now_s=10.0)
    assert queue.due_s() == 10.0


def test_a_full_batch_does_not_wait():
    queue = queue_of(max_batch_size=4, batch_timeout_micros=500_000)
    add(queue, 1, 3, now_s=10.0)
    assert queue.due_s() == 10.0


def test_a_batch_with_another_behind_it_is_due_at_once():
    queue = queue_of(max_batch_size=4, batch_timeout_micros=500_000)
    add(queue, 3, now_s=10.0)
    add(queue, 2, now_s=10.1)
    assert queue.due_s() == 10.0
    queue.take()
    assert queue.due_s() == pytest.approx(10.6)


def test_each_batch_has_its_own_timeout():
    queue = queue_of(batch_timeout_micros=500_000)
    add(queue, 1, now_s=10.0)
    queue.take()
    add(queue, 1, now_s=20.0)
    assert queue.due_s() == 20.5


def test_a_batch_of_a_closed_queue_is_due_at_once():
    queue = queue_of(batch_timeout_micros=FOR_EVER_MICROS)
    add(queue, 1, now_s=10.0)
    queue.is_closed = True
    assert queue.due_s() == 10.0
    queue.take()
    assert queue.due_s() == math.inf


def test_a_task_larger_than_any_batch_is_refused():
    queue = queue_of(max_batch_size=4)
    with pytest.raises(InvalidArgumentError, match="Task size 5 is larger than maximum input batch size 4"):
        add(queue, 5)
    assert queue.is_empty


def test_a_full_queue_refuses_only_tasks_that_need_another_batch():
    queue = queue_of(max_batch_size=2, max_enqueued_batches=2)
    add(queue, 2, 1)
    with pytest.raises(
        UnavailableError,
        match=r"^UNAVAILABLE: The batch scheduling queue to which this task was submitted is full; currently 2 "
        "batches enqueued and max_enqueued_batches is 2$",
    ):
        add(queue, 2)
    add(queue, 1)
    assert batches(queue) == [[2], [1, 1]]


def test_a_queue_always_has_room_for_one_batch():
    queue = queue_of(max_batch_size=2, max_enqueued_batches=0)
    add(queue, 2)
    with pytest.raises(UnavailableError, match="currently 1 batches enqueued and max_enqueued_batches is 1"):
        add(queue, 1)


def test_large_tasks_are_split_and_fill_the_open_batch_first():
    queue = queue_of(max_batch_size=20, max_execution_batch_size=4, enable_large_batch_splitting=True)
    assert add(queue, 3, 10, 1, 4) == [[3], [1, 4, 4, 1], [1], [2, 2]]
    assert batches(queue) == [[3, 1], [4], [4], [1, 1, 2], [2]]


def test_a_task_behind_a_full_batch_is_split_without_an_empty_part():
    queue = queue_of(max_batch_size=20, max_execution_batch_size=4, enable_large_batch_splitting=True)
    assert add(queue, 4, 8, 3) == [[4], [4, 4], [3]]


def test_a_task_whose_parts_do_not_fit_is_refused():
    queue = queue_of(
        max_batch_size=20, max_execution_batch_size=4, max_enqueued_batches=3, enable_large_batch_splitting=True
    )
    add(queue, 6)
    with pytest.raises(
        UnavailableError,
        match=r"full; task size is 7 but scheduling capacity is only 6 \(num_enqueued_batches=2, "
        r"max_enqueued_batches=3, open_batch_size=2, max_execution_batch_size=4\)",
    ):
        add(queue, 7)
    assert add(queue, 6) == [[2, 4]]


@pytest.mark.parametrize("splitting", [False, True])
def test_no_row_is_lost_and_no_batch_is_too_large(splitting):
    queue = queue_of(
        max_batch_size=7, max_execution_batch_size=3, max_enqueued_batches=99, enable_large_batch_splitting=splitting
    )
    sizes = [1 + number * 5 % 7 for number in range(30)]
    parts = add(queue, *sizes)
    assert [sum(part) for part in parts] == sizes
    batches_rows = batches(queue)
    assert list(itertools.chain(*batches_rows)) == list(itertools.chain(*parts))
    assert max(map(sum, batches_rows)) <= (3 if splitting else 7)


class Work:
    """Computes batches for queues; each waits until the test resumes it."""

    def __init__(self):
        self.started = []
        self.changed = threading.Condition()
        self.allowed = threading.Semaphore(0)

    def queue(self, name="q", **parameters):
        def process(tasks):
            with self.changed:
                self.started.append((name, [task.rows for task in tasks]))
                self.changed.notify_all()
            assert self.allowed.acquire(timeout=LIMIT_S)
            for task in tasks:
                task.done.set()

        return Queue(BatchingParameters(**parameters), process)

    def wait_for(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.started) >= count, LIMIT_S), self.started
            return self.started[:count]

    def resume(self, count=1):
        self.allowed.release(count)


@pytest.fixture
def work():
    return Work()


@pytest.fixture
def scheduler_of():
    schedulers = []

    def start(threads):
        schedulers.append(BatchScheduler(threads))
        return schedulers[-1]

    yield start
    for scheduler in schedulers:
        scheduler.close()


@pytest.mark.parametrize("threads", [0, -1])
def test_a_scheduler_without_threads_is_refused(threads):
    with pytest.raises(InvalidArgumentError, match=f"num_batch_threads must be positive; was {threads}"):
        BatchScheduler(threads)


def test_tasks_that_arrive_while_all_threads_are_busy_are_computed_together(scheduler_of, work):
    scheduler, queue = scheduler_of(1), work.queue()
    for rows in (1, 2, 3):
        scheduler.submit(queue, Task(rows))
        work.wait_for(1)
    work.resume()
    assert work.wait_for(2) == [("q", [1]), ("q", [2, 3])]
    work.resume()
    scheduler.finish(queue)


def test_each_thread_computes_a_batch(scheduler_of, work):
    scheduler, queue = scheduler_of(3), work.queue(max_batch_size=1)
    for _ in range(4):
        scheduler.submit(queue, Task())
    assert work.wait_for(3) == [("q", [1])] * 3
    assert not queue.is_empty
    work.resume()
    work.wait_for(4)
    work.resume(3)


def test_an_incomplete_batch_is_computed_after_its_timeout(scheduler_of, work):
    scheduler, queue = scheduler_of(2), work.queue(batch_timeout_micros=20_000)
    scheduler.submit(queue, Task())
    work.wait_for(1)
    work.resume()


def test_a_full_batch_is_computed_before_its_timeout(scheduler_of, work):
    scheduler, queue = scheduler_of(2), work.queue(max_batch_size=2, batch_timeout_micros=FOR_EVER_MICROS)
    scheduler.submit(queue, Task())
    scheduler.submit(queue, Task())
    assert work.wait_for(1) == [("q", [1, 1])]
    work.resume()


def test_a_waiting_batch_is_computed_by_another_thread(scheduler_of, work):
    scheduler = scheduler_of(2)
    slow = work.queue("slow", batch_timeout_micros=20_000)
    busy = work.queue("busy")
    scheduler.submit(slow, Task())
    scheduler.submit(busy, Task())
    assert sorted(name for name, _ in work.wait_for(2)) == ["busy", "slow"]
    work.resume(2)


def test_queues_are_served_in_turn(scheduler_of, work):
    scheduler = scheduler_of(1)
    greedy, modest = work.queue("greedy", max_batch_size=1), work.queue("modest", max_batch_size=1)
    scheduler.submit(greedy, Task())
    work.wait_for(1)
    for queue in (greedy, greedy, modest, greedy):
        scheduler.submit(queue, Task())
    work.resume(5)
    assert [name for name, _ in work.wait_for(5)] == ["greedy", "greedy", "modest", "greedy", "greedy"]


def test_a_queue_that_waits_for_its_timeout_does_not_block_others(scheduler_of, work):
    scheduler = scheduler_of(1)
    patient, ready = work.queue("patient", batch_timeout_micros=FOR_EVER_MICROS), work.queue("ready")
    scheduler.submit(patient, Task())
    scheduler.submit(ready, Task())
    assert work.wait_for(1) == [("ready", [1])]
    work.resume()


def test_finish_returns_when_no_task_waits_or_runs(scheduler_of, work):
    scheduler, queue = scheduler_of(1), work.queue(max_batch_size=1)
    tasks = [Task(), Task()]
    for task in tasks:
        scheduler.submit(queue, task)
    waiter = threading.Thread(target=scheduler.finish, args=(queue,))
    waiter.start()
    work.resume()
    work.wait_for(2)
    assert waiter.is_alive()
    work.resume()
    waiter.join(LIMIT_S)
    assert not waiter.is_alive()
    assert all(task.done.is_set() for task in tasks)


def test_finishing_does_not_wait_for_more_tasks(scheduler_of, work):
    scheduler, queue = scheduler_of(2), work.queue(batch_timeout_micros=FOR_EVER_MICROS)
    scheduler.submit(queue, Task())
    work.resume()
    scheduler.finish(queue)
    assert work.started == [("q", [1])]


def test_a_refused_task_does_not_change_the_queue(scheduler_of, work):
    scheduler, queue = scheduler_of(1), work.queue(max_batch_size=1)
    with pytest.raises(InvalidArgumentError):
        scheduler.submit(queue, Task(2))
    scheduler.submit(queue, Task())
    assert work.wait_for(1) == [("q", [1])]
    work.resume()
    scheduler.finish(queue)


def test_many_tasks_from_many_threads_are_all_computed_once(scheduler_of, work):
    scheduler = scheduler_of(3)
    queues = [work.queue(number, max_batch_size=4, max_enqueued_batches=1000) for number in range(5)]
    work.resume(10_000)

    def submit(queue):
        for _ in range(100):
            scheduler.submit(queue, Task())

    threads = [threading.Thread(target=submit, args=(queue,)) for queue in queues * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    for queue in queues:
        scheduler.finish(queue)
    computed = {number: sum(sum(rows) for name, rows in work.started if name == number) for number in range(5)}
    assert computed == dict.fromkeys(range(5), 200)


def test_closing_stops_the_threads(wait_for):
    before = set(threading.enumerate())
    scheduler = BatchScheduler(3)
    started = set(threading.enumerate()) - before
    assert len(started) == 3
    scheduler.close()
    wait_for(lambda: not any(thread.is_alive() for thread in started))
