"""One suite for the places where results are kept, and what is Redis' own, on a real one."""

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
    """A Redis that a test may stop."""
    server = make_redis(tmp_path)
    server.start()
    yield server
    server.stop()


def in_redis(server: RedisServer, ttl_s: float = 60.0) -> RedisStore:
    return RedisStore(server.url, ttl_s=ttl_s, timeout_s=5)


@pytest.fixture(params=["memory", "redis"])
def make_store(request: pytest.FixtureRequest) -> Callable[..., Store]:
    if request.param == "memory":
        return lambda ttl_s=60.0: MemoryStore(max_bytes=10_000, ttl_s=ttl_s)
    server = request.getfixturevalue("shared_redis")
    return lambda ttl_s=60.0: in_redis(server, ttl_s)


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    return request.node.name


def find(store: Store, *keys: str) -> list[bytes | None]:
    return store.find(keys, claim_s=CLAIM_S)


def test_what_was_settled_is_found(make_store: Callable[..., Store], key: str):
    store = make_store()
    assert find(store, key) == [None]
    store.settle(key, b"a cat")
    assert find(store, key, f"{key} else") == [b"a cat", None]


def test_what_one_computes_is_claimed_for_all_others(make_store: Callable[..., Store], key: str):
    store = make_store()
    assert [find(store, key) for _ in range(3)] == [[None], [CLAIMED], [CLAIMED]]
    store.settle(key, None)
    assert find(store, key) == [None]


def test_of_many_at_once_one_gets_the_claim_and_all_the_value(make_store: Callable[..., Store], key: str):
    store = make_store()
    together = threading.Barrier(20)

    def ask(_: int) -> tuple[bool, bytes | None]:
        together.wait()
        (value,) = find(store, key)
        if value is None:
            store.settle(key, b"a dog")
            return True, b"a dog"
        return False, store.wait(key, deadline=Deadline.after(30)) if value == CLAIMED else value

    with ThreadPoolExecutor(20) as pool:
        told = list(pool.map(ask, range(20)))
    assert sum(claimed for claimed, _ in told) == 1
    assert {value for _, value in told} == {b"a dog"}


def test_a_claim_that_came_to_nothing_ends_the_wait(make_store: Callable[..., Store], key: str):
    store = make_store()
    find(store, key)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(store.wait, key, deadline=Deadline.after(30))
        store.settle(key, None)
        assert waiting.result() is None


def test_a_wait_ends_with_the_deadline(make_store: Callable[..., Store], key: str):
    store = make_store()
    find(store, key)
    with pytest.raises(DeadlineExceededError):
        store.wait(key, deadline=Deadline.after(0.05))


def test_a_result_is_forgotten_in_time(make_store: Callable[..., Store], key: str):
    store = make_store(ttl_s=0.05)
    find(store, key)
    store.settle(key, b"a cat")
    until(lambda: store.wait(key, deadline=Deadline.after(30)) is None, what="forgotten")


# In memory


def entry_bytes(value: bytes) -> int:
    return 1 + len(value) + ENTRY_OVERHEAD_BYTES


def test_memory_is_bounded_and_what_was_not_asked_for_longest_goes_first():
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


def test_a_value_larger_than_all_memory_is_not_kept_and_displaces_nothing():
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


# In Redis


def test_stores_over_one_redis_share_results_and_claims(shared_redis: RedisServer, key: str):
    one, other = in_redis(shared_redis), in_redis(shared_redis)
    assert (find(one, key), find(other, key)) == ([None], [CLAIMED])
    one.settle(key, b"a cat")
    assert find(other, key) == [b"a cat"]


def test_the_claim_of_one_who_died_ends(shared_redis: RedisServer, key: str):
    store = in_redis(shared_redis)
    store.find([key], claim_s=0.05)
    assert store.wait(key, deadline=Deadline.after(30)) is None
    assert find(store, key) == [None]


def test_everything_in_redis_expires_and_is_under_our_name(shared_redis: RedisServer, key: str):
    store = in_redis(shared_redis, ttl_s=50)
    find(store, f"{key} claimed", f"{key} kept")
    store.settle(f"{key} kept", b"a cat")
    kept, claimed = (store._redis.pttl(f"{PREFIX}{key} {state}") for state in ("kept", "claimed"))
    assert 0 < kept <= 50_000
    assert 0 < claimed <= CLAIM_S * 1000


def test_without_redis_everything_is_missing_and_nothing_fails(own_redis: RedisServer):
    store = in_redis(own_redis)
    find(store, "a")
    own_redis.stop()
    store.settle("a", b"a cat")
    assert find(store, "a", "b") == [None, None]
    assert store.wait("a", deadline=Deadline.after(30)) is None


def test_redis_is_used_again_when_it_is_back(own_redis: RedisServer):
    store = in_redis(own_redis)
    own_redis.stop()
    find(store, "a")
    own_redis.start()

    def kept() -> bool:
        store.settle("a", b"a cat")
        return find(store, "a") == [b"a cat"]

    until(kept, within_s=30, what="kept again")


def test_a_redis_that_stands_still_costs_one_wait_and_then_none(own_redis: RedisServer):
    store = RedisStore(own_redis.url, ttl_s=60, timeout_s=0.2)
    own_redis.suspend()
    assert find(store, "a") == [None]
    resumes_s = store._resume_s
    assert resumes_s > time.monotonic()
    assert find(store, "b") == [None]
    assert store.wait("b", deadline=Deadline.after(30)) is None
    assert store._resume_s == resumes_s  # it was not asked again
