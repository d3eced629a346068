"""One suite for both stores of jobs; Redis is a real server."""

import itertools
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from gateway.errors import IdempotencyKeyReusedError, JobsFullError, JobsUnavailableError, TooManyJobsError
from gateway.jobs.records import Item, ItemResult, ModelVersion, NewJob, Receipt, StoreLimits, Turn
from gateway.jobs.redis_store import RedisStore
from gateway.jobs.sqlite_store import SqliteStore
from gateway.jobs.store import JobStore
from tests.support.jobs import VERSION, add_job, make_items, make_limits, make_request, results_of
from tests.support.redis_server import RedisServer, make_redis
from tests.support.waiting import until

MakeStore = Callable[..., JobStore]


@pytest.fixture(scope="module")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = make_redis(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "redis"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeStore]:
    """Return a function that opens the same storage again and again."""
    stores: list[JobStore] = []
    if request.param == "redis":
        server = request.getfixturevalue("shared_redis")
        with redis.Redis(port=server.port) as client:
            client.flushall()

    def make(limits: StoreLimits | None = None) -> JobStore:
        limits = limits or make_limits()
        stores.append(SqliteStore(tmp_path, limits) if request.param == "sqlite" else RedisStore(server.url, limits))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def store(make_store: MakeStore) -> JobStore:
    return make_store()


def indices(store: JobStore, job_id: str, *, contiguous: bool = True) -> list[int]:
    return [result.index for result in store.results(job_id, 0, 100, contiguous=contiguous)]


def test_a_job_is_seen_once_it_is_published(store: JobStore):
    store.stage(NewJob("a", "me", "someone", make_request()))
    store.add_items("a", 0, make_items(2))
    assert store.find("a") is None

    store.publish("a", Receipt(None, "f"))

    job = store.find("a")
    assert job is not None
    assert (job.status, job.total, job.answered, job.failed, job.owner) == ("queued", 2, 0, 0, "me")
    assert job.request == make_request()
    assert (job.started, job.finished, job.expires, job.model, job.version) == (None,) * 5


def test_a_discarded_job_leaves_nothing(store: JobStore):
    store.stage(NewJob("a", "", "someone", make_request()))
    store.add_items("a", 0, make_items(2))

    store.discard("a")

    assert store.find("a") is None
    assert store.totals()["bytes"] == 0


def test_a_published_job_is_not_discarded(store: JobStore):
    add_job(store, "a", [make_items(1)])

    store.discard("a")

    assert store.find("a") is not None


def test_chunks_are_claimed_in_turn_until_none_is_left(store: JobStore):
    add_job(store, "a", [make_items(2), make_items(1, start=2)])

    first = store.claim("a", 0)
    second = store.claim("a", 1)

    assert first is not None
    assert second is not None
    assert [item.index for item in first.items] == [0, 1]
    assert (first.turn, first.is_last, first.attempts, first.since) == (1, False, 0, None)
    assert second.items == [Item(2, "2.png", "image", b"image 2")]
    assert (second.turn, second.is_last) == (2, True)
    assert store.claim("a", 2) is None


def test_the_client_that_was_served_the_longest_ago_is_the_next(store: JobStore):
    for name in ("a1", "a2", "b"):
        add_job(store, name, [make_items(1), make_items(1, start=1)], client=name[0])

    assert store.next_turn("a2", 0, urls=True) == Turn("a2", 0, has_urls=False)
    store.claim("a2", 0)
    assert store.next_turn("a1", 0, urls=True) == Turn("b", 0, has_urls=False)
    store.claim("b", 0)
    assert store.next_turn("b", 1, urls=True) in [Turn("a1", 0, has_urls=False), Turn("a2", 1, has_urls=False)]
    store.finish("a1", "cancelled")
    store.finish("a2", "cancelled")
    assert store.next_turn("b", 1, urls=True) == Turn("b", 1, has_urls=False)
    assert store.next_turn("b", 0, urls=True) is None
    assert store.next_turn("a1", 0, urls=True) is None


def test_chunks_with_urls_are_the_last_if_they_have_no_place(store: JobStore):
    add_job(store, "a", [[Item(0, "", "url", b"https://example.com")]], client="a")
    add_job(store, "b", [make_items(1)], client="b")

    assert store.next_turn("a", 0, urls=True) == Turn("a", 0, has_urls=True)
    assert store.next_turn("a", 0, urls=False) == Turn("b", 0, has_urls=False)
    store.claim("b", 0)
    assert store.next_turn("a", 0, urls=False) == Turn("a", 0, has_urls=True)


def test_of_several_wake_ups_for_one_turn_only_the_first_counts(store: JobStore):
    add_job(store, "a", [make_items(1), make_items(1, start=1)])
    store.claim("a", 0)

    assert store.claim("a", 0) is None
    assert store.claim("a", 5) is None


def test_concurrent_workers_claim_each_chunk_once(make_store: MakeStore):
    add_job(make_store(), "a", [make_items(1, start=index) for index in range(12)])
    workers = [make_store() for _ in range(4)]

    def work(store: JobStore) -> list[int]:
        chunks = [store.claim("a", turn) for turn in range(12)]
        return [chunk.number for chunk in chunks if chunk is not None]

    with ThreadPoolExecutor(len(workers)) as pool:
        claimed = list(pool.map(work, workers))

    numbers = list(itertools.chain.from_iterable(claimed))
    assert sorted(numbers) == sorted(set(numbers))
    assert numbers


def test_results_are_written_once_and_finish_the_job(store: JobStore):
    add_job(store, "a", [make_items(2)])
    chunk = store.claim("a", 0)
    assert chunk is not None

    assert store.complete(chunk, results_of(chunk), VERSION)
    assert store.complete(chunk, results_of(chunk), VERSION)

    job = store.find("a")
    assert job is not None
    assert (job.status, job.answered, job.failed, job.model, job.version) == ("done", 2, 0, "pets", 1)
    assert job.finished is not None
    assert job.expires is not None
    assert [result.document for result in store.results("a", 0, 9, contiguous=True)] == [
        '{"class": "image 0"}',
        '{"class": "image 1"}',
    ]
    totals = store.totals()
    assert (totals["created"], totals["done"], totals["answered"]) == (1, 1, 2)
    assert (totals["unfinished"], totals["chunks"]) == (0, 0)


def test_images_without_a_result_are_claimed_again(store: JobStore):
    add_job(store, "a", [make_items(3)])
    chunk = store.claim("a", 0)
    assert chunk is not None
    store.complete(chunk, results_of(chunk)[:1], VERSION)

    store.release(chunk, 0.0, attempts=2, since=5.5)

    again = store.claim("a", chunk.turn)
    assert again is not None
    assert [item.index for item in again.items] == [1, 2]
    assert (again.attempts, again.since) == (2, 5.5)
    assert indices(store, "a") == [0]


def test_a_released_chunk_waits(store: JobStore):
    add_job(store, "a", [make_items(1)])
    chunk = store.claim("a", 0)
    assert chunk is not None

    store.release(chunk, 60.0, attempts=0, since=1.0)

    assert store.claim("a", chunk.turn) is None
    assert store.due_jobs() == []


def test_a_lease_that_ends_returns_the_chunk_and_wakes_the_job(make_store: MakeStore):
    store = make_store(make_limits(lease_s=0.05))
    add_job(store, "a", [make_items(1)])
    chunk = store.claim("a", 0)
    assert chunk is not None

    assert until(store.due_jobs) == [("a", 1)]
    assert store.claim("a", 1) is not None


def test_a_renewed_lease_keeps_the_chunk(make_store: MakeStore):
    store = make_store(make_limits(lease_s=0.05))
    add_job(store, "a", [make_items(1)])
    chunk = store.claim("a", 0)
    assert chunk is not None

    make_store(make_limits(lease_s=60)).renew([chunk])

    assert until(store.due_jobs) == [("a", 1)]
    assert store.claim("a", 1) is None


def test_a_job_whose_wake_up_was_lost_is_due_for_one_worker(make_store: MakeStore):
    add_job(make_store(make_limits(lease_s=0.05)), "a", [make_items(1)])
    store = make_store(make_limits(lease_s=60))

    assert until(store.due_jobs) == [("a", 0)]
    assert store.due_jobs() == []


def test_all_results_are_of_the_version_of_the_first(store: JobStore):
    add_job(store, "a", [make_items(1), make_items(1, start=1)])
    first, second = store.claim("a", 0), store.claim("a", 1)
    assert first is not None
    assert second is not None

    assert store.complete(first, results_of(first), ModelVersion("pets", 1))
    assert not store.complete(second, results_of(second), ModelVersion("pets", 2))

    assert indices(store, "a") == [0]
    job = store.find("a")
    assert job is not None
    assert (job.version, job.answered) == (1, 1)


def test_problems_known_from_the_start_are_results_at_once(store: JobStore):
    problem = Item(0, "a.txt", "problem", b'{"type": "/problems/bad-request"}')

    add_job(store, "a", [[problem, *make_items(1, start=1)]])

    job = store.find("a")
    assert job is not None
    assert (job.status, job.total, job.failed) == ("queued", 2, 1)
    chunk = store.claim("a", 0)
    assert chunk is not None
    assert [item.index for item in chunk.items] == [1]


def test_a_job_of_problems_only_is_done_at_once(store: JobStore):
    add_job(store, "a", [[Item(0, "", "problem", b"{}")]])

    job = store.find("a")

    assert job is not None
    assert (job.status, job.failed) == ("done", 1)
    assert store.totals()["unfinished"] == 0


def test_a_cancelled_job_keeps_its_results_and_takes_no_more(store: JobStore):
    add_job(store, "a", [make_items(1), make_items(1, start=1)])
    first, second = store.claim("a", 0), store.claim("a", 1)
    assert first is not None
    assert second is not None
    store.complete(second, results_of(second), VERSION)

    job = store.finish("a", "cancelled")

    assert job is not None
    assert job.status == "cancelled"
    assert store.complete(first, results_of(first), VERSION)
    assert indices(store, "a") == []
    assert indices(store, "a", contiguous=False) == [1]
    assert store.due_jobs() == []
    again = store.finish("a", "failed", {"detail": "too late"})
    assert again is not None
    assert (again.status, again.problem) == ("cancelled", None)


def test_a_job_that_is_being_received_cannot_be_finished(store: JobStore):
    store.stage(NewJob("a", "", "someone", make_request()))
    store.add_items("a", 0, make_items(1))

    assert store.finish("a", "cancelled") is None

    store.publish("a", Receipt(None, "f"))
    chunk = store.claim("a", 0)
    assert chunk is not None
    assert len(chunk.items) == 1


def test_a_failed_job_says_why(store: JobStore):
    add_job(store, "a", [make_items(1)])

    store.finish("a", "failed", {"type": "/problems/model-unavailable", "detail": "away"})

    job = store.find("a")
    assert job is not None
    assert job.problem == {"type": "/problems/model-unavailable", "detail": "away"}


def test_the_same_key_and_request_find_the_first_job(store: JobStore):
    add_job(store, "a", [make_items(1)], receipt=Receipt("key", "same"))

    assert add_job(store, "b", [make_items(1)], receipt=Receipt("key", "same")) == "a"
    assert store.find("b") is None
    assert store.totals()["created"] == 1
    assert (store.find_receipt("key"), store.find_receipt("other")) == (("a", "same"), None)


def test_the_same_key_with_another_request_is_refused(store: JobStore):
    add_job(store, "a", [make_items(1)], receipt=Receipt("key", "same"))

    with pytest.raises(IdempotencyKeyReusedError):
        add_job(store, "b", [make_items(2)], receipt=Receipt("key", "other"))


def test_the_key_of_an_expired_job_can_be_used_again(make_store: MakeStore):
    store = make_store(make_limits(retention_s=0.0))
    add_job(store, "a", [[Item(0, "", "problem", b"{}")]], receipt=Receipt("key", "same"))

    assert store.find_receipt("key") is None
    assert add_job(store, "b", [make_items(1)], receipt=Receipt("key", "other")) == "b"


def test_unfinished_jobs_of_a_client_are_limited(make_store: MakeStore):
    store = make_store(make_limits(max_unfinished=1))
    add_job(store, "a", [make_items(1)])

    with pytest.raises(TooManyJobsError):
        add_job(store, "b", [make_items(1)])
    assert add_job(store, "c", [make_items(1)], client="other") == "c"
    store.finish("a", "cancelled")
    assert add_job(store, "d", [make_items(1)]) == "d"


def test_all_jobs_together_are_limited_and_space_is_freed(make_store: MakeStore):
    store = make_store(make_limits(max_stored_bytes=100_000))
    large = [Item(0, "", "image", bytes(40_000))]
    add_job(store, "a", [large], client="first")
    add_job(store, "b", [large], client="second")

    with pytest.raises(JobsFullError, match="All jobs together may take 100"):
        add_job(store, "c", [large], client="third")
    store.discard("c")
    store.finish("a", "cancelled")

    assert add_job(store, "d", [large], client="third") == "d"


def test_one_client_may_take_half_of_the_space(make_store: MakeStore):
    store = make_store(make_limits(max_stored_bytes=100_000))
    large = [Item(0, "", "image", bytes(40_000))]
    add_job(store, "a", [large])

    with pytest.raises(JobsFullError, match="Your jobs together may take 50"):
        add_job(store, "b", [large])
    store.discard("b")
    store.check_room("other", None)
    store.finish("a", "cancelled")
    store.sweep()

    assert add_job(store, "c", [large]) == "c"


def test_results_are_limited_unless_they_are_smaller_than_their_images(make_store: MakeStore):
    store = make_store(make_limits(max_stored_bytes=40_000))
    add_job(store, "a", [[*make_items(1), Item(1, "", "image", bytes(10_000))]])
    chunk = store.claim("a", 0)
    long, short = (
        ItemResult(index, "", is_failed=False, document=json.dumps("x" * size))
        for index, size in enumerate((15_000, 5000))
    )

    with pytest.raises(JobsFullError):
        store.complete(chunk, [long], VERSION)
    unchanged = store.find("a")
    written = store.complete(chunk, [short], VERSION)

    assert (unchanged.answered, unchanged.version) == (0, None)
    assert (written, indices(store, "a", contiguous=False)) == (True, [1])


def test_a_job_for_which_there_is_no_room_is_refused_before_it_is_received(make_store: MakeStore):
    store = make_store(make_limits(max_unfinished=1, max_stored_bytes=10_000))
    store.check_room("someone", None)
    add_job(store, "a", [make_items(1)], receipt=Receipt("key", "same"))

    with pytest.raises(TooManyJobsError):
        store.check_room("someone", "other")
    store.check_room("someone", "key")
    store.check_room("other", None)
    with pytest.raises(JobsFullError):
        make_store(make_limits(max_stored_bytes=100)).check_room("other", None)
    with pytest.raises(JobsFullError):
        make_store(make_limits(max_stored_bytes=4000)).check_room("someone", None)


def test_images_are_refused_as_soon_as_there_is_no_room_for_them(make_store: MakeStore):
    store = make_store(make_limits(max_stored_bytes=100_000))
    store.stage(NewJob("a", "", "someone", make_request()))
    store.add_items("a", 0, [Item(0, "", "image", bytes(30_000))])

    with pytest.raises(JobsFullError):
        store.add_items("a", 1, [Item(1, "", "image", bytes(30_000))])

    assert store.totals()["bytes"] < 50_000
    store.discard("a")
    assert store.totals()["bytes"] == 0


def test_images_of_a_job_that_was_given_up_are_not_stored(make_store: MakeStore):
    store = make_store(make_limits(storing_s=0.0))
    store.stage(NewJob("a", "", "someone", make_request()))
    store.sweep()

    with pytest.raises(JobsUnavailableError):
        store.add_items("a", 0, make_items(1))

    assert store.totals()["bytes"] == 0


def test_expired_jobs_are_not_found_and_are_deleted(make_store: MakeStore):
    store = make_store(make_limits(retention_s=0.0))
    add_job(store, "a", [[Item(0, "", "problem", b"{}")]])

    assert store.find("a") is None
    assert store.sweep() == 1
    assert store.totals()["bytes"] == 0
    assert indices(store, "a") == []


def test_jobs_that_were_not_received_in_time_are_deleted(make_store: MakeStore):
    store = make_store(make_limits(storing_s=0.0))
    store.stage(NewJob("a", "", "someone", make_request()))
    store.add_items("a", 0, make_items(1))

    assert store.sweep() == 1

    with pytest.raises(JobsUnavailableError):
        store.publish("a", Receipt(None, "f"))
    assert store.totals()["unfinished"] == 0


def test_a_webhook_is_due_when_its_job_is_finished_until_it_is_settled(store: JobStore):
    add_job(store, "a", [make_items(1)], webhook_url="https://example.com", webhook_secret="s")
    assert store.due_webhooks(9) == []

    store.finish("a", "cancelled")

    assert store.due_webhooks(9) == [("a", "someone")]
    assert store.due_webhooks(9) == []  # one worker has it
    store.settle_webhook("a", "pending", 0.0)
    job = store.find("a")
    assert job is not None
    assert (job.webhook, job.webhook_attempts) == ("pending", 1)
    assert store.due_webhooks(9) == [("a", "someone")]
    store.settle_webhook("a", "delivered")
    job = store.find("a")
    assert job is not None
    assert job.webhook == "delivered"


def add_announced(store: JobStore, job_id: str, client: str = "someone") -> None:
    problem = Item(0, "", "problem", b"{}")
    add_job(store, job_id, [[problem]], client=client, webhook_url="https://example.com", webhook_secret="s")


def test_webhooks_of_one_client_are_not_in_front_of_those_of_others(store: JobStore):
    for number in range(5):
        add_announced(store, f"a{number}", "a")
    add_announced(store, "b", "b")

    due = store.due_webhooks(4)

    assert [client for _, client in due] == ["a", "b"]
    assert store.due_webhooks(4, busy=["a"]) == []
    assert [client for _, client in store.due_webhooks(4)] == ["a"]


def test_webhooks_of_a_client_that_are_not_delivered_are_limited(make_store: MakeStore):
    store = make_store(make_limits(max_webhooks=1))
    add_announced(store, "a")

    with pytest.raises(TooManyJobsError, match="webhooks"):
        add_announced(store, "b")
    add_announced(store, "c", "other")
    assert add_job(store, "d", [make_items(1)]) == "d"
    store.settle_webhook("a", "delivered")
    add_announced(store, "e")


def test_pages_end_at_their_limit_and_before_a_gap(store: JobStore):
    add_job(store, "a", [make_items(2), make_items(2, start=2), make_items(2, start=4)])
    chunks = [store.claim("a", turn) for turn in range(3)]
    for chunk in (chunks[0], chunks[2]):
        assert chunk is not None
        store.complete(chunk, results_of(chunk), VERSION)

    def page(offset: int, limit: int, *, contiguous: bool) -> list[int]:
        return [result.index for result in store.results("a", offset, limit, contiguous=contiguous)]

    assert page(0, 1, contiguous=True) == [0]
    assert page(1, 9, contiguous=True) == [1]
    assert page(2, 9, contiguous=True) == []
    assert page(1, 2, contiguous=False) == [1, 4]


def test_a_page_ends_before_it_is_too_large(store: JobStore, monkeypatch: pytest.MonkeyPatch):
    for module in ("sqlite_store", "redis_store"):
        monkeypatch.setattr(f"gateway.jobs.{module}.PAGE_BYTES", 30)
    add_job(store, "a", [make_items(4)])
    chunk = store.claim("a", 0)
    assert chunk is not None
    store.complete(chunk, results_of(chunk), VERSION)

    assert 1 <= len(indices(store, "a")) < 4


def test_redis_without_memory_is_a_full_store_and_loses_nothing(tmp_path: Path):
    server = make_redis(tmp_path)
    server.start()
    store = RedisStore(server.url, make_limits())
    try:
        add_job(store, "a", [make_items(1)])
        with redis.Redis(port=server.port) as client:
            client.config_set("maxmemory", "1")
            with pytest.raises(JobsFullError):
                add_job(store, "b", [make_items(1)])
            client.config_set("maxmemory", "0")
        assert store.find("a") is not None
        chunk = store.claim("a", 0)
        with redis.Redis(port=server.port) as client:
            client.config_set("maxmemory", "1")
            store.release(chunk, 0.0, attempts=1, since=1.0)
            client.config_set("maxmemory", "0")
        assert store.claim("a", 1).since == 1.0
    finally:
        server.stop()
    with pytest.raises(JobsUnavailableError):
        store.find("a")
    store.close()


def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path: Path):
    (tmp_path / "jobs.sqlite").mkdir()

    with pytest.raises(JobsUnavailableError):
        SqliteStore(tmp_path, make_limits()).find("a")
