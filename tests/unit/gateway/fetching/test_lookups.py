import threading
from concurrent.futures import ThreadPoolExecutor
from socket import AF_INET

import pytest

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceededError, FetchRefusedError
from gateway.fetching.lookups import Address, SharedLookups

ADDRESS = Address(AF_INET, ("1.1.1.1", 80))


def test_a_host_is_looked_up_once_for_all_that_ask_at_the_same_time():
    lookups, may_answer, calls = SharedLookups(), threading.Event(), []

    def look_up() -> list[Address]:
        calls.append(1)
        may_answer.wait(30)
        return [ADDRESS]

    with ThreadPoolExecutor(8) as threads:
        futures = [
            threads.submit(lookups.get, "photos.test", 80, look_up, deadline=Deadline.after(30)) for _ in range(8)
        ]
        may_answer.set()
        assert [future.result() for future in futures] == [[ADDRESS]] * 8

    assert calls == [1]


def test_an_error_is_shared_too():
    lookups, calls = SharedLookups(), []

    def refuse() -> list[Address]:
        calls.append(1)
        raise FetchRefusedError("unknown")

    for _ in range(3):
        with pytest.raises(FetchRefusedError, match="unknown"):
            lookups.get("nowhere.test", 80, refuse, deadline=Deadline.after(5))

    assert calls == [1]


def test_each_host_and_port_is_looked_up_by_itself():
    lookups, calls = SharedLookups(), []
    for host, port in (("a.test", 80), ("b.test", 80), ("a.test", 443)):
        lookups.get(host, port, lambda: calls.append(1) or [ADDRESS], deadline=Deadline.after(5))

    assert len(calls) == 3


def test_who_waits_for_the_lookup_of_another_waits_until_the_own_deadline():
    lookups, has_begun, may_answer = SharedLookups(), threading.Event(), threading.Event()

    def look_up() -> list[Address]:
        has_begun.set()
        may_answer.wait(30)
        return [ADDRESS]

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(lookups.get, "slow.test", 80, look_up, deadline=Deadline.after(30))
        has_begun.wait(30)
        with pytest.raises(DeadlineExceededError):
            lookups.get("slow.test", 80, look_up, deadline=Deadline.after(0.05))
        may_answer.set()
        assert first.result() == [ADDRESS]
