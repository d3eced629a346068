import threading

import pytest

from gateway.access import window_counts
from gateway.access.window_counts import MIN_WINDOWS, WindowCounts


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Set the seconds of both clocks from a test: the only item of this list."""
    now = [1000.0]
    for name in ("time", "monotonic"):
        monkeypatch.setattr(window_counts.time, name, lambda: now[0])
    return now


@pytest.fixture
def counts(clock: list[float]) -> WindowCounts:  # noqa: ARG001  # it counts by this clock
    return WindowCounts()


def test_each_key_has_its_own_count(counts: WindowCounts):
    assert [counts.incr(key, 60) for key in ("a", "a", "b", "a")] == [1, 2, 1, 3]


def test_a_window_begins_with_its_first_request_and_ends_after_its_length(counts: WindowCounts, clock: list[float]):
    counts.incr("a", 60)
    clock[0] += 59.9
    assert counts.incr("a", 60) == 2
    assert counts.get_expiry("a") == 1060

    clock[0] = 1060
    assert counts.get_expiry("a") == 1060
    assert counts.incr("a", 60) == 1
    assert counts.get_expiry("a") == 1120


@pytest.mark.parametrize("change_s", [-86400, 86400, -4e8])
def test_setting_the_clock_changes_nothing(
    counts: WindowCounts, clock: list[float], monkeypatch: pytest.MonkeyPatch, change_s: float
):
    assert [counts.incr("a", 60) for _ in range(3)] == [1, 2, 3]

    monkeypatch.setattr(window_counts.time, "time", lambda: clock[0] + change_s)

    clock[0] += 20
    assert counts.incr("a", 60) == 4
    assert counts.get_expiry("a") - window_counts.time.time() == 40
    clock[0] += 40
    assert counts.incr("a", 60) == 1


def test_more_than_one_is_counted_at_once(counts: WindowCounts, clock: list[float]):
    assert counts.get("a") == 0
    assert [counts.incr("a", 60, 5), counts.incr("a", 60), counts.get("a")] == [5, 6, 6]

    clock[0] += 60
    assert counts.get("a") == 0


def test_windows_of_different_length_are_independent(counts: WindowCounts, clock: list[float]):
    counts.incr("day", 86400)
    counts.incr("second", 1)

    clock[0] += 2

    assert (counts.incr("day", 86400), counts.incr("second", 1)) == (2, 1)


def test_windows_that_have_ended_are_dropped(counts: WindowCounts, clock: list[float]):
    for number in range(MIN_WINDOWS):
        counts.incr(f"old{number}", 60)
    assert len(counts) == MIN_WINDOWS

    clock[0] += 60
    counts.incr("new", 60)

    assert len(counts) == 1


def test_the_oldest_windows_are_dropped_when_there_are_too_many(
    counts: WindowCounts, clock: list[float], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(window_counts, "MAX_WINDOWS", 4000)
    counts.incr("renewed", 1)
    for number in range(2000):
        counts.incr(f"caller{number}", 3600)
    clock[0] += 1
    assert counts.incr("renewed", 3600) == 1

    for number in range(2000, 2500):
        counts.incr(f"caller{number}", 3600)
    assert counts.incr("renewed", 3600) == 2
    for number in range(2500, 20_000):
        counts.incr(f"caller{number}", 3600)

    assert len(counts) <= 4000
    assert counts.incr("caller19999", 3600) == 2
    assert counts.incr("caller0", 3600) == 1


def test_no_count_is_lost_between_threads(counts: WindowCounts):
    def count() -> None:
        for _ in range(2000):
            counts.incr("a", 60)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert counts.incr("a", 60) == 16_001
