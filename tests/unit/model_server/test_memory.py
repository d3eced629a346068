import threading

import pytest

from model_server.errors import ResourceExhaustedError
from model_server.memory import MemoryBudget, check_request_bytes


def test_a_part_of_a_request_may_be_as_large_as_the_limit():
    check_request_bytes(10, 10, "The tensors take")

    with pytest.raises(ResourceExhaustedError, match="The tensors take 11 bytes of memory; at most 10 are accepted"):
        check_request_bytes(11, 10, "The tensors take")


def test_more_than_the_whole_budget_is_refused_at_once():
    budget = MemoryBudget(100)

    with (
        pytest.raises(ResourceExhaustedError, match="about 101 bytes of memory; at most 100"),
        budget.reserve(101, None),
    ):
        pass


def test_memory_that_others_hold_is_refused_after_the_time_limit():
    budget = MemoryBudget(100)

    with (
        budget.reserve(60, None),
        pytest.raises(ResourceExhaustedError, match="which other requests hold"),
        budget.reserve(60, 0.01),
    ):
        pass
    with budget.reserve(100, 0):
        pass


def test_a_call_waits_for_memory(wait_for):
    budget, acquired = MemoryBudget(100), threading.Event()

    def wait():
        with budget.reserve(60, 20):
            acquired.set()

    with budget.reserve(60, None):
        thread = threading.Thread(target=wait)
        thread.start()
        with budget.reserve(40, None):
            assert not acquired.is_set()

    wait_for(acquired.is_set)
    thread.join()
