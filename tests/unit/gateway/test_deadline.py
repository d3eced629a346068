import pytest

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceededError


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let the test say what time it is, by the list's only number."""
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_what_is_left_runs_down_to_an_error(clock: list[float]):
    deadline = Deadline.after(2.5)
    assert deadline.remaining_s() == 2.5
    clock[0] += 2
    assert deadline.remaining_s() == 0.5
    assert not deadline.passed
    clock[0] += 0.5
    assert deadline.passed
    with pytest.raises(DeadlineExceededError, match=r"not answered within 2\.5 s"):
        deadline.remaining_s()


def test_no_more_is_given_than_asked_for(clock: list[float]):
    deadline = Deadline.after(5)
    assert deadline.remaining_s(1) == 1
    clock[0] += 4.5
    assert deadline.remaining_s(1) == 0.5


def test_of_two_deadlines_the_earlier_counts(clock: list[float]):
    deadline = Deadline.after(5)
    assert deadline.no_later_than(2).remaining_s() == 2
    assert deadline.no_later_than(2).allowed_s == 2
    assert deadline.no_later_than(9) == deadline
    clock[0] += 4
    assert deadline.no_later_than(2) == deadline


def test_a_passed_deadline_stays_passed_however_much_is_allowed(clock: list[float]):
    deadline = Deadline.after(1)
    clock[0] += 1
    assert deadline.no_later_than(60).passed
