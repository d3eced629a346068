import threading

import pytest

from gateway.access import window_counts
from gateway.access.window_counts import FEWEST_WINDOWS, WindowCounts


@pytest.fixture
def clock(monkeypatch):
    """The seconds since 1970, as the test sets them."""
    now = [1000.0]
    monkeypatch.setattr(window_counts.time, "time", lambda: now[0])
    return now


@pytest.fixture
def counts(clock):  # noqa: ARG001  # it counts by this clock
    return WindowCounts()


def test_each_key_is_counted_by_itself(counts):
    assert [counts.incr("a", 60), counts.incr("a", 60), counts.incr("b", 60), counts.incr("a", 60, 3)] == [1, 2, 1, 5]
    assert (counts.get("a"), counts.get("b"), counts.get("c")) == (5, 1, 0)


def test_a_window_begins_with_the_first_and_ends_after_its_time(counts, clock):
    counts.incr("a", 60)
    clock[0] += 30
    counts.incr("a", 60)
    assert counts.get_expiry("a") == 1060
    clock[0] += 29.9
    assert counts.get("a") == 2
    clock[0] += 0.1
    assert (counts.get("a"), counts.get_expiry("a")) == (0, 1060)
    assert counts.incr("a", 60) == 1
    assert counts.get_expiry("a") == 1120


def test_windows_of_different_length_do_not_touch(counts, clock):
    counts.incr("day", 86400)
    counts.incr("second", 1)
    clock[0] += 2
    assert (counts.get("day"), counts.get("second")) == (1, 0)


def test_what_has_ended_is_dropped(counts, clock):
    for number in range(FEWEST_WINDOWS):
        counts.incr(f"old{number}", 60)
    clock[0] += 60
    counts.incr("new", 60)
    assert counts.reset() == 1


def test_the_oldest_are_dropped_when_there_are_too_many(counts, clock, monkeypatch):
    monkeypatch.setattr(window_counts, "MOST_WINDOWS", 4000)
    counts.incr("renewed", 1)
    for number in range(2000):
        counts.incr(f"caller{number}", 3600)
    clock[0] += 1
    counts.incr("renewed", 3600)
    for number in range(2000, 20_000):
        counts.incr(f"caller{number}", 3600)
        if number == 2500:
            assert counts.get("renewed") == 1
    assert counts.get("caller0") == 0
    assert counts.get("caller19999") == 1
    assert counts.reset() <= 4000


def test_what_is_forgotten_begins_anew(counts):
    counts.incr("a", 60)
    counts.incr("b", 60)
    counts.clear("a")
    counts.clear("never")
    assert (counts.get("a"), counts.get("b")) == (0, 1)
    assert counts.reset() == 1
    assert counts.incr("b", 60) == 1
    assert counts.check()


def test_nothing_is_lost_between_threads(counts):
    def count():
        for _ in range(2000):
            counts.incr("a", 60)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts.get("a") == 16_000
