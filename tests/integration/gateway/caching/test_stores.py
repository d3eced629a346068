"""One suite for both cache stores, and tests of each; Redis is a real server."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.caching.caching_predictor import CLAIMED, Store
from gateway.caching.memory_store import ENTRY_OVERHEAD_BYTES, MemoryStore
from gateway.caching.redis_store import PREFIX, RedisStore
from gateway.deadline import Deadline
from gateway.errors import DeadlineExceededError
from tests.support.redis_server import RedisServer, make_redis
from tests.support.waiting import until

CLAIM_S = 60.0


@pytest.fixture(scope="module")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = make_redis(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """Start a Redis for one test, which may stop it."""
    server = make_redis(tmp_path)
    server.start()
    yield server
    server.stop()


def make_redis_store(server: RedisServer, ttl_s: float = 60.0) -> RedisStore:
    return RedisStore(server.url, ttl_s=ttl_s, timeout_s=5)


@pytest.fixture(params=["memory", "redis"])
def make_store(request: pytest.FixtureRequest) -> Callable[..., Store]:
    if request.param == "memory":
        return lambda ttl_s=60.0: MemoryStore(max_bytes=10_000, ttl_s=ttl_s)
    server = request.getfixturevalue("shared_redis")
    return lambda ttl_s=60.0: make_redis_store(server, ttl_s)


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    return request.node.name


def find(store: Store, *keys: str) -> list[bytes | None]:
    return store.find(keys, claim_s=CLAIM_S)


def test_a_settled_value_is_found(make_store: Callable[..., Store], key: str):
    store = make_store()
    assert find(store, key) == [None]

    store.settle(key, b"a cat")

    assert find(store, key, f"{key} else") == [b"a cat", None]


def test_a_missing_key_is_claimed_until_it_is_settled(make_store: Callable[..., Store], key: str):
    store = make_store()
    assert [find(store, key) for _ in range(3)] == [[None], [CLAIMED], [CLAIMED]]

    store.settle(key, None)
    assert find(store, key) == [None]


def test_one_of_many_concurrent_callers_claims_a_key_and_all_get_the_value(make_store: Callable[..., Store], key: str):
    store = make_store()
    together = threading.Barrier(20)

    def find_or_compute(_: int) -> tuple[bool, bytes | None]:
        together.wait()
        (value,) = find(store, key)
        if value is None:
            store.settle(key, b"a dog")
            return True, b"a dog"
        return False, store.wait(key, deadline=Deadline.after(30)) if value == CLAIMED else value

    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(find_or_compute, range(20)))

    assert sum(claimed for claimed, _ in results) == 1
    assert {value for _, value in results} == {b"a dog"}


def test_a_claim_released_without_a_value_ends_the_wait(make_store: Callable[..., Store], key: str):
    store = make_store()
    find(store, key)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(store.wait, key, deadline=Deadline.after(30))
        store.settle(key, None)
        assert waiting.result() is None


def test_a_wait_ends_at_the_deadline(make_store: Callable[..., Store], key: str):
    store = make_store()
    find(store, key)
    with pytest.raises(DeadlineExceededError):
        store.wait(key, deadline=Deadline.after(0.05))


def test_a_value_expires(make_store: Callable[..., Store], key: str):
    store = make_store(ttl_s=0.05)
    find(store, key)
    store.settle(key, b"a cat")
    until(lambda: store.wait(key, deadline=Deadline.after(30)) is None, what="expired")


# The memory store


def entry_bytes(value: bytes) -> int:
    return 1 + len(value) + ENTRY_OVERHEAD_BYTES


def test_the_least_recently_used_value_is_evicted_first():
    value = bytes(100)
    store = MemoryStore(max_bytes=3 * entry_bytes(value), ttl_s=60)
    for name in "abc":
        find(store, name)
        store.settle(name, value)
    assert find(store, "a") == [value]

    find(store, "d")
    store.settle("d", value)

    assert store.stored_bytes == 3 * entry_bytes(value)
    assert [bool(item) for item in find(store, *"abcd")] == [True, False, True, True]


def test_a_value_larger_than_the_limit_is_not_stored_and_evicts_nothing():
    store = MemoryStore(max_bytes=1000, ttl_s=60)
    find(store, "a", "b")
    store.settle("a", b"small")
    store.settle("b", bytes(1000))
    assert find(store, "a", "b") == [b"small", None]


def test_a_value_settled_twice_counts_once():
    store = MemoryStore(max_bytes=10_000, ttl_s=60)
    for value in (b"first", b"then another"):
        store.settle("a", value)
    assert store.stored_bytes == entry_bytes(b"then another")


# The Redis store


def test_stores_on_the_same_redis_share_values_and_claims(shared_redis: RedisServer, key: str):
    one, other = make_redis_store(shared_redis), make_redis_store(shared_redis)
    assert (find(one, key), find(other, key)) == ([None], [CLAIMED])
    one.settle(key, b"a cat")
    assert find(other, key) == [b"a cat"]


def test_a_claim_that_is_never_settled_expires(shared_redis: RedisServer, key: str):
    store = make_redis_store(shared_redis)
    store.find([key], claim_s=0.05)
    assert store.wait(key, deadline=Deadline.after(30)) is None
    assert find(store, key) == [None]


def test_every_entry_in_redis_expires_and_has_the_prefix(shared_redis: RedisServer, key: str):
    store = make_redis_store(shared_redis, ttl_s=50)
    find(store, f"{key} claimed", f"{key} stored")
    store.settle(f"{key} stored", b"a cat")

    stored, claimed = (store._redis.pttl(f"{PREFIX}{key} {state}") for state in ("stored", "claimed"))

    assert 0 < stored <= 50_000
    assert 0 < claimed <= CLAIM_S * 1000


def test_while_redis_is_away_every_key_is_missing(own_redis: RedisServer):
    store = make_redis_store(own_redis)
    find(store, "a")

    own_redis.stop()

    store.settle("a", b"a cat")
    assert find(store, "a", "b") == [None, None]
    assert store.wait("a", deadline=Deadline.after(30)) is None


def test_redis_is_used_again_after_an_outage(own_redis: RedisServer):
    store = make_redis_store(own_redis)
    own_redis.stop()
    find(store, "a")
    own_redis.start()

    def stores() -> bool:
        store.settle("a", b"a cat")
        return find(store, "a") == [b"a cat"]

    until(stores, within_s=30, what="stored again")


def test_a_redis_that_hangs_is_waited_for_once(own_redis: RedisServer):
    store = RedisStore(own_redis.url, ttl_s=60, timeout_s=0.2)

    own_redis.suspend()

    assert find(store, "a") == [None]
    resumes_s = store._resume_s
    assert resumes_s > time.monotonic()
    assert find(store, "b") == [None]
    assert store.wait("b", deadline=Deadline.after(30)) is None
    assert store._resume_s == resumes_s  # it was not called again
