"""The space that jobs in SQLite take on the disk: what is deleted is given back, in steps for which nobody waits."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import JobsUnavailableError
from gateway.jobs import sqlite_database, sqlite_store
from gateway.jobs.records import Item, ItemResult, NewJob
from gateway.jobs.sqlite_store import SqliteStore
from tests.support.jobs import add_job, make_items, make_limits, make_request

PAGE_BYTES = 4096
SPARE_PAGES = 100


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path, make_limits())
    yield store
    store.close()


def large_chunks(count: int) -> list[list[Item]]:
    return [[Item(number, "", "image", bytes(500_000))] for number in range(count)]


def pages(store: SqliteStore) -> int:
    with store._database.snapshot() as sql:
        return sql.execute("PRAGMA page_count").fetchone()[0]


def images(store: SqliteStore) -> int:
    with store._database.snapshot() as sql:
        return sql.execute("SELECT COUNT(*) FROM images").fetchone()[0]


def test_the_space_of_deleted_jobs_is_returned(store: SqliteStore):
    add_job(store, "a", large_chunks(4))
    assert pages(store) > 4 * 500_000 // PAGE_BYTES
    store.finish("a", "cancelled")

    store.sweep()

    assert pages(store) < SPARE_PAGES


def test_results_take_about_the_space_that_they_are_counted_with(store: SqliteStore):
    count, size = 1000, 1100
    add_job(store, "a", [make_items(count)])
    chunk = store.claim("a", 0)
    before = pages(store)

    store.complete(chunk, [ItemResult(index, "", is_failed=False, document="x" * size) for index in range(count)], None)

    assert (pages(store) - before) * PAGE_BYTES < 2 * count * size


def test_a_job_that_is_refused_leaves_the_disk_as_it_was(store: SqliteStore):
    add_job(store, "a", [make_items(1)])
    before = pages(store)
    store.stage(NewJob("b", "", "someone", make_request()))
    for number, items in enumerate(large_chunks(4)):
        store.add_items("b", number, items)

    store.discard("b")

    assert pages(store) < before + SPARE_PAGES


def test_a_large_job_is_deleted_in_small_transactions(store: SqliteStore):
    add_job(store, "a", large_chunks(5))
    statements: list[str] = []
    store._database._connect().set_trace_callback(statements.append)

    store.finish("a", "cancelled")

    assert images(store) == 0
    assert statements.count("BEGIN IMMEDIATE") >= 5


def test_what_an_interrupted_deletion_leaves_is_swept(store: SqliteStore, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise JobsUnavailableError("The disk is away.")

    add_job(store, "a", large_chunks(2))
    monkeypatch.setattr(sqlite_store, "purge", fail)
    job = store.finish("a", "cancelled")
    monkeypatch.undo()
    assert job is not None
    assert (job.status, images(store)) == ("cancelled", 2)

    store.sweep()

    assert images(store) == 0
    assert store.find("a") is not None


def test_the_log_shrinks_again_and_deleting_does_not_write_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sqlite_database, "JOURNAL_BYTES", 100_000)
    store = SqliteStore(tmp_path, make_limits())
    add_job(store, "a", [[Item(0, "", "image", bytes(8_000_000))]])
    log = tmp_path / "jobs.sqlite-wal"

    for number in range(3):
        add_job(store, f"{number}", [make_items(1)])
    assert log.stat().st_size < 1_000_000
    store.finish("a", "cancelled")

    assert log.stat().st_size < 1_000_000
    store.close()
