"""Attempts at webhooks: they have threads of their own, which no caller can take from the others."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.jobs.deliveries import Deliveries
from gateway.jobs.records import Item
from gateway.jobs.sqlite_store import SqliteStore
from tests.support.jobs import SECRET, add_job, make_limits
from tests.support.waiting import until


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path, make_limits())
    yield store
    store.close()


def add_webhook(store: SqliteStore, job_id: str, client: str) -> None:
    problem = Item(0, "", "problem", b"{}")
    add_job(store, job_id, [[problem]], client=client, webhook_url="https://example.com", webhook_secret=SECRET)


def test_a_caller_whose_receivers_hang_holds_up_no_other(store: SqliteStore):
    for number in range(20):
        add_webhook(store, f"slow-{number}", "slow")
    add_webhook(store, "other", "other")
    ends, begun = threading.Event(), []

    def deliver(job_id: str) -> None:
        begun.append(job_id)
        if job_id.startswith("slow"):
            ends.wait()

    deliveries = Deliveries(store, deliver, threads=8)
    try:
        for _ in range(9):
            deliveries.dispatch()
        until(lambda: "other" in begun)
        assert len([job_id for job_id in begun if job_id.startswith("slow")]) <= 2
    finally:
        ends.set()
        deliveries.close()


def test_all_that_is_due_is_delivered_without_another_call(store: SqliteStore):
    for number in range(20):
        add_webhook(store, f"{number}", "someone")
    begun = []
    deliveries = Deliveries(store, begun.append, threads=1)

    deliveries.dispatch()

    until(lambda: len(begun) == 20)
    deliveries.close()
    assert len(set(begun)) == 20


def test_an_attempt_that_crashes_gives_its_thread_back(store: SqliteStore):
    for number in range(2):
        add_webhook(store, f"{number}", "someone")
    begun = []

    def deliver(job_id: str) -> None:
        begun.append(job_id)
        raise ZeroDivisionError

    deliveries = Deliveries(store, deliver, threads=1)
    deliveries.dispatch()
    until(lambda: not deliveries._by_caller)
    deliveries.dispatch()

    until(lambda: len(begun) == 2)
    deliveries.close()
