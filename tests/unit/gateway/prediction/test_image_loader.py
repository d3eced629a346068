import threading
from collections.abc import Iterator

import pytest

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceededError
from gateway.prediction.image_loader import ThreadPool


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Hold back the threads that wait for it, no longer than the test lasts."""
    gate = threading.Event()
    yield gate
    gate.set()


def test_what_comes_of_the_work_is_in_the_order_of_the_items(deadline: Deadline):
    assert ThreadPool(3, "w").map(lambda number: number * 2, range(100), deadline=deadline) == list(range(0, 200, 2))


def test_nothing_to_do_is_done(deadline: Deadline):
    assert ThreadPool(1, "w").map(str, [], deadline=deadline) == []


def test_a_single_item_stays_in_its_thread(deadline: Deadline):
    (thread,) = ThreadPool(2, "w").map(lambda _: threading.current_thread(), [1], deadline=deadline)
    assert thread is threading.current_thread()


def test_items_are_worked_on_side_by_side(deadline: Deadline):
    meeting = threading.Barrier(3)  # all three must be there at the same time
    assert sorted(ThreadPool(3, "w").map(lambda _: meeting.wait(10), range(3), deadline=deadline)) == [0, 1, 2]


def test_no_more_threads_work_than_there_are(deadline: Deadline):
    names = ThreadPool(2, "w").map(lambda _: threading.current_thread().name, range(50), deadline=deadline)
    assert set(names) <= {"w_0", "w_1"}


def test_what_has_not_begun_at_the_deadline_is_dropped(gate: threading.Event):
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        gate.wait(30)

    workers = ThreadPool(1, "w")
    with pytest.raises(DeadlineExceededError, match=r"not answered within 0\.05 s"):
        workers.map(work, range(10), deadline=Deadline.after(0.05))
    gate.set()
    workers.map(lambda _: None, range(2), deadline=Deadline.after(10))  # what was dropped would come before
    assert begun in ([], [0])


def test_what_the_work_raises_is_raised_at_once(gate: threading.Event, deadline: Deadline):
    def work(number: int) -> None:
        if number == 1:
            raise ZeroDivisionError
        gate.wait(30)

    with pytest.raises(ZeroDivisionError):
        ThreadPool(2, "w").map(work, range(5), deadline=deadline)


def test_a_passed_deadline_ends_it():
    with pytest.raises(DeadlineExceededError):
        ThreadPool(2, "w").map(str, range(5), deadline=Deadline.after(0))
