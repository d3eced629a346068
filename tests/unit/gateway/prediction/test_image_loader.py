import threading
from collections.abc import Iterator

import pytest

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceededError
from gateway.prediction.image_loader import ThreadPool


@pytest.fixture
def unblock() -> Iterator[threading.Event]:
    """Return an event that threads may wait for; it is set after the test."""
    unblock = threading.Event()
    yield unblock
    unblock.set()


def test_results_are_in_the_order_of_the_items(deadline: Deadline):
    assert ThreadPool(3, "w").map(lambda number: number * 2, range(100), deadline=deadline) == list(range(0, 200, 2))


def test_no_items_have_no_results(deadline: Deadline):
    assert ThreadPool(1, "w").map(str, [], deadline=deadline) == []


def test_a_single_item_is_processed_by_the_calling_thread(deadline: Deadline):
    (thread,) = ThreadPool(2, "w").map(lambda _: threading.current_thread(), [1], deadline=deadline)
    assert thread is threading.current_thread()


def test_several_items_are_processed_in_parallel(deadline: Deadline):
    barrier = threading.Barrier(3)  # opens only if all three run at the same time
    assert sorted(ThreadPool(3, "w").map(lambda _: barrier.wait(10), range(3), deadline=deadline)) == [0, 1, 2]


def test_the_number_of_threads_is_limited(deadline: Deadline):
    names = ThreadPool(2, "w").map(lambda _: threading.current_thread().name, range(50), deadline=deadline)
    assert set(names) <= {"w_0", "w_1"}


def test_calls_that_have_not_begun_at_the_deadline_are_cancelled(unblock: threading.Event):
    started: list[int] = []

    def work(number: int) -> None:
        started.append(number)
        unblock.wait(30)

    pool = ThreadPool(1, "w")
    with pytest.raises(DeadlineExceededError, match=r"not answered within 0\.05 s"):
        pool.map(work, range(10), deadline=Deadline.after(0.05))

    unblock.set()
    pool.map(lambda _: None, range(2), deadline=Deadline.after(10))  # calls that were not cancelled would run before
    assert started in ([], [0])


def test_the_first_error_is_raised_at_once(unblock: threading.Event, deadline: Deadline):
    def work(number: int) -> None:
        if number == 1:
            raise ZeroDivisionError
        unblock.wait(30)

    with pytest.raises(ZeroDivisionError):
        ThreadPool(2, "w").map(work, range(5), deadline=deadline)


def test_nothing_is_processed_after_the_deadline():
    processed: list[int] = []
    with pytest.raises(DeadlineExceededError):
        ThreadPool(2, "w").map(processed.append, range(5), deadline=Deadline.after(0))
    assert processed == []
