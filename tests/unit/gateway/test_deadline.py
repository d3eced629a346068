import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.deadline import Deadline, Timings
from gateway.errors import DeadlineExceededError


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replace the monotonic clock; a test sets the time, the only item of the list."""
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_a_deadline_that_has_passed_raises_an_error(clock: list[float]):
    deadline = Deadline.after(2.5)
    assert deadline.remaining_s() == 2.5

    clock[0] += 2
    assert deadline.remaining_s() == 0.5
    assert not deadline.has_passed

    clock[0] += 0.5
    assert deadline.has_passed
    with pytest.raises(DeadlineExceededError, match=r"not answered within 2\.5 s"):
        deadline.remaining_s()


def test_the_remaining_time_is_limited_by_the_argument(clock: list[float]):
    deadline = Deadline.after(5)
    assert deadline.remaining_s(1) == 1
    clock[0] += 4.5
    assert deadline.remaining_s(1) == 0.5


def test_the_earlier_of_two_deadlines_is_returned(clock: list[float]):
    deadline = Deadline.after(5)
    assert deadline.no_later_than(2).remaining_s() == 2
    assert deadline.no_later_than(2).allowed_s == 2
    assert deadline.no_later_than(9) == deadline
    clock[0] += 4
    assert deadline.no_later_than(2) == deadline


def test_a_deadline_that_has_passed_cannot_be_extended(clock: list[float]):
    deadline = Deadline.after(1)
    clock[0] += 1
    assert deadline.no_later_than(60).has_passed


# Timings


def test_stages_are_formatted_in_order_in_milliseconds():
    timings = Timings()
    timings.add("fetch", 0.5)
    timings.add("decode", 0.0012345)
    assert timings.header() == "fetch;dur=500.000, decode;dur=1.234"
    assert Timings().header() == ""


def test_a_stage_that_fails_is_measured_too():
    timings = Timings()
    with timings.measure("decode"):
        pass
    with pytest.raises(ZeroDivisionError), timings.measure("predict"):
        raise ZeroDivisionError
    assert re.fullmatch(r"decode;dur=\d+\.\d{3}, predict;dur=\d+\.\d{3}", timings.header())


def test_the_times_of_all_threads_are_added_up():
    timings = Timings()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: timings.add("decode", 0.001), range(1000)))
    assert timings.header() == "decode;dur=1000.000"
