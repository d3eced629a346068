import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway import capacity
from gateway.capacity import Admission, MemoryBudget, Place, Share, default_budget, smallest_budget
from gateway.deadline import Deadline
from gateway.errors import DeadlineExceededError, ImageTooLargeError, OverloadedError
from tests.support.waiting import until

MIB = 1024**2


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def make_share(max_wait_s: float = 10) -> Share:
    return Share(100, max_wait_s=max_wait_s)


def test_reservations_fit_into_the_share_together(deadline: Deadline):
    share = make_share(max_wait_s=0.01)
    first = share.reserve(60, deadline=deadline)
    share.reserve(40, deadline=deadline)
    with pytest.raises(OverloadedError, match="not enough memory"):
        share.reserve(1, deadline=deadline)

    first.release()

    share.reserve(60, deadline=deadline)


def test_a_reservation_waits_for_others_to_be_released(pool: ThreadPoolExecutor, deadline: Deadline):
    share = make_share()
    first = share.reserve(60, deadline=deadline)
    second = pool.submit(share.reserve, 60, deadline=deadline)
    until(lambda: len(share._waiting) == 1)

    first.release()

    assert second.result(10).size == 60
    assert share.reserved == 60


def test_a_small_reservation_does_not_overtake_a_large_one(pool: ThreadPoolExecutor, deadline: Deadline):
    share = make_share()
    first = share.reserve(60, deadline=deadline)
    large = pool.submit(share.reserve, 100, deadline=deadline)
    until(lambda: len(share._waiting) == 1)
    small = pool.submit(share.reserve, 1, deadline=deadline)
    until(lambda: len(share._waiting) == 2)

    first.release()

    large.result(10).release()
    assert small.result(10).size == 1


def test_the_client_that_holds_least_is_next(pool: ThreadPoolExecutor, deadline: Deadline):
    share = make_share()
    first = share.reserve(60, deadline=deadline, client="busy")
    share.reserve(40, deadline=deadline, client="busy")
    order: list[str] = []

    def reserve(client: str, size: int) -> None:
        share.reserve(size, deadline=deadline, client=client)
        order.append(client)

    for number, client in enumerate(("busy", "busy", "other", "third")):
        pool.submit(reserve, client, 20)
        until(lambda number=number: len(share._waiting) == number + 1)

    first.resize(0)

    until(lambda: len(order) == 3)
    assert sorted(order) == ["busy", "other", "third"]
    assert [waiting.client for waiting in share._waiting] == ["busy"]
    share.change(-40)


def test_a_client_overtakes_those_of_another_that_cannot_fit(pool: ThreadPoolExecutor, deadline: Deadline):
    share = make_share()
    slow = share.reserve(60, deadline=deadline, client="slow")
    pool.submit(share.reserve, 100, deadline=deadline, client="slow")
    until(lambda: len(share._waiting) == 1)

    other = share.reserve(40, deadline=deadline, client="other")

    assert other.size == 40
    slow.release()
    other.release()


def test_those_behind_a_reservation_that_gives_up_are_admitted(pool: ThreadPoolExecutor, deadline: Deadline):
    share = make_share()
    share.reserve(60, deadline=deadline)
    large = pool.submit(share.reserve, 100, deadline=Deadline.after(0.05))
    until(lambda: len(share._waiting) == 1)
    small = pool.submit(share.reserve, 40, deadline=deadline)

    with pytest.raises(OverloadedError):
        large.result(10)
    assert small.result(10).size == 40


def test_what_can_never_fit_is_refused_at_once_with_the_limit(deadline: Deadline):
    with pytest.raises(ImageTooLargeError, match=r"bytes of memory; at most .* a share of GATEWAY_MEMORY_BUDGET_BYTES"):
        make_share(max_wait_s=1000).reserve(101, deadline=deadline)


def test_a_missed_deadline_leaves_nobody_waiting(deadline: Deadline):
    share = make_share()
    share.reserve(100, deadline=deadline)

    with pytest.raises(DeadlineExceededError):
        share.reserve(1, deadline=Deadline.after(0))

    assert not share._waiting


def test_growth_never_waits_and_keeps_what_is_held(deadline: Deadline):
    share = make_share(max_wait_s=1000)
    share.reserve(60, deadline=deadline)
    second = share.reserve(30, deadline=deadline)

    second.resize(40)
    with pytest.raises(OverloadedError):
        second.resize(41)

    assert (second.size, share.reserved) == (40, 100)


def test_shrinking_admits_those_who_wait(pool: ThreadPoolExecutor, deadline: Deadline):
    share = make_share()
    first = share.reserve(100, deadline=deadline)
    second = pool.submit(share.reserve, 90, deadline=deadline)
    until(lambda: len(share._waiting) == 1)

    first.resize(10)

    second.result(10)


def test_a_reservation_is_released_at_the_end_of_its_context_and_once(deadline: Deadline):
    share = make_share()

    with share.reserve(60, deadline=deadline) as reservation:
        assert share.reserved == 60
    reservation.release()

    assert share.reserved == 0


def test_concurrent_reservations_neither_lose_nor_add_bytes(pool: ThreadPoolExecutor, deadline: Deadline):
    share = make_share()
    inside, most, lock = 0, 0, threading.Lock()

    def visit(size: int) -> None:
        nonlocal inside, most
        with share.reserve(size, deadline=deadline):
            with lock:
                inside += size
                most = max(most, inside)
            with lock:
                inside -= size

    list(pool.map(visit, [1 + number % 100 for number in range(2000)]))

    assert (share.reserved, len(share._waiting)) == (0, 0)
    assert 1 <= most <= 100


def test_full_shares_leave_the_share_for_work(deadline: Deadline):
    budget = MemoryBudget(800, places=0, max_wait_s=0)
    budget.bodies.reserve(300, deadline=deadline)
    budget.downloads.reserve(100, deadline=deadline)
    budget.decoders.reserve(300, deadline=deadline)

    assert budget.work.reserve(100, deadline=deadline).size == 100


def test_the_default_is_half_of_the_memory_divided_among_the_workers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(capacity, "available_bytes", lambda: 1024 * MIB)

    assert default_budget(workers=2) == 256 * MIB
    assert default_budget(workers=8) == 128 * MIB

    monkeypatch.setattr(capacity, "available_bytes", lambda: 64 * 1024 * MIB)
    assert default_budget(workers=2) == 3 * 1024 * MIB


def test_the_smallest_budget_has_room_for_the_largest_body_and_batch_of_urls(deadline: Deadline):
    budget = MemoryBudget(smallest_budget(10 * MIB, places=136), places=136, max_wait_s=0)

    budget.bodies.reserve(30 * MIB, deadline=deadline)
    budget.downloads.reserve(10 * MIB, deadline=deadline)


def test_a_client_leaves_places_to_others(deadline: Deadline):
    memory = MemoryBudget(256 * MIB, places=136, max_wait_s=0)
    admission = Admission(memory, slots=8, max_waiting=128, max_wait_s=0, max_download_bytes=1)

    places = {client: enter_all(admission, client, deadline) for client in ("a", "b", "c")}

    assert {client: len(entered) for client, entered in places.items()} == {"a": 102, "b": 26, "c": 8}
    for entered in places.values():
        for place in entered:
            place.release()
    assert len(enter_all(admission, "d", deadline)) == 102


def enter_all(admission: Admission, client: str, deadline: Deadline) -> list[Place]:
    """Enter as often as a client may."""
    places = []
    with contextlib.suppress(OverloadedError):
        while True:
            places.append(admission.enter(client, deadline=deadline))
    return places
