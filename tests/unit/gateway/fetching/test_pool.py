import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import structlog

from gateway.deadline import Deadline, Timings
from gateway.errors import DeadlineExceededError, FetchError, GatewayError, OverloadedError
from gateway.fetching.fetcher import Allowance
from gateway.fetching.lookups import SharedLookups
from gateway.fetching.pool import FetchPool
from tests.support.fetching import pool_limits
from tests.support.waiting import until


class GatedFetcher:
    """Returns each URL as its image; those that contain `slow` not before `gate` is set.

    Attributes:
        begun: The URLs whose fetch has begun, in order.
    """

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.begun: list[str] = []
        self.lookups: set[SharedLookups | None] = set()

    def fetch(
        self, url: str, *, deadline: Deadline, allowance: Allowance, lookups: SharedLookups, **_: object
    ) -> bytes:
        self.begun.append(url)
        self.lookups.add(lookups)
        if "slow" in url:
            self.gate.wait(deadline.remaining_s())
            deadline.remaining_s()
        if "missing" in url:
            raise FetchError(url)
        if "broken" in url:
            raise ZeroDivisionError(url)
        allowance.take(len(url))
        return url.encode()


@pytest.fixture
def fetcher() -> Iterator[GatedFetcher]:
    fetcher = GatedFetcher()
    yield fetcher
    fetcher.gate.set()


Start = Callable[..., "Future[list[bytes | GatewayError]]"]


@pytest.fixture
def start(fetcher: GatedFetcher) -> Iterator[Callable[..., Start]]:
    """Return a function that makes a pool, and returns a function that lets a client fetch URLs in the background."""
    with ThreadPoolExecutor(32) as clients:

        def make(*, max_wait_s: float = 30, **limits: int) -> Start:
            pool = FetchPool(fetcher, pool_limits(max_wait_s=max_wait_s, **limits))

            def fetch_all(client: str, *urls: str, within_s: float = 60) -> "Future[list[bytes | GatewayError]]":
                return clients.submit(pool.fetch_all, urls, deadline=Deadline.after(within_s), client=client)

            return fetch_all

        yield make
        fetcher.gate.set()


def slow(count: int, name: str = "slow") -> list[str]:
    return [f"{name}{number}" for number in range(count)]


def test_images_are_returned_in_the_order_of_their_urls(start: Callable[..., Start]):
    urls = [f"{number}" for number in range(50)]

    assert start()("a", *urls).result() == [url.encode() for url in urls]


def test_nothing_is_fetched_for_no_urls(start: Callable[..., Start], fetcher: GatedFetcher):
    assert start()("a").result() == []
    assert fetcher.begun == []


def test_an_error_takes_the_place_of_its_image(start: Callable[..., Start]):
    first, error, last = start()("a", "1", "missing", "3").result()

    assert (first, str(error), last) == (b"1", "missing", b"3")


def test_a_client_whose_servers_are_slow_occupies_its_own_share_only(
    start: Callable[..., Start], fetcher: GatedFetcher
):
    fetch_all = start(threads=4, threads_per_client=2)
    first = fetch_all("slow client", *slow(64))
    second = fetch_all("slow client", *slow(64, "also slow"))
    until(lambda: len(fetcher.begun) == 2)

    for _ in range(3):
        assert fetch_all("another", "1", "2", "3").result() == [b"1", b"2", b"3"]

    assert len([url for url in fetcher.begun if "slow" in url]) == 2
    fetcher.gate.set()
    assert len(first.result() + second.result()) == 128


def test_a_free_thread_belongs_to_the_client_with_the_fewest(start: Callable[..., Start], fetcher: GatedFetcher):
    fetch_all = start(threads=4, threads_per_client=2)
    first, other = fetch_all("first", *slow(2)), fetch_all("other", *slow(1, "slow too"))
    until(lambda: len(fetcher.begun) == 3)
    last = fetch_all("last", "slow as well")
    until(lambda: len(fetcher.begun) == 4)
    rest = fetch_all("first", "first again"), fetch_all("second", "second"), fetch_all("third", "third", "third again")

    fetcher.gate.set()

    for future in (first, other, last, *rest):
        future.result()
    assert fetcher.begun.index("first again") > max(map(fetcher.begun.index, ("second", "third")))


def test_a_request_waits_for_a_part_of_a_batch_of_the_same_client_only(
    start: Callable[..., Start], fetcher: GatedFetcher
):
    fetch_all = start(threads=4, threads_per_client=2)
    batch = fetch_all("a", "slow", *map(str, range(100)))
    until(lambda: "slow" in fetcher.begun)

    single = fetch_all("a", "single").result()

    assert single == [b"single"]
    fetcher.gate.set()
    assert len(batch.result()) == 101


def test_a_thread_is_left_to_the_next_client(start: Callable[..., Start], fetcher: GatedFetcher):
    fetch_all = start(threads=16, threads_per_client=6)
    batches = [fetch_all(f"client {number}", *slow(64, f"slow {number} ")) for number in range(4)]
    until(lambda: len(fetcher.begun) == 6 + 5 + 3 + 1)

    assert fetch_all("next", "1").result() == [b"1"]

    fetcher.gate.set()
    assert sum(len(batch.result()) for batch in batches) == 4 * 64


def test_an_image_whose_turn_does_not_come_in_time_is_an_error_and_the_others_are_returned(
    start: Callable[..., Start], fetcher: GatedFetcher
):
    fetch_all = start(threads=1, max_wait_s=0.1)
    future = fetch_all("a", "slow", "waiting", "waiting too")
    until(lambda: fetcher.begun == ["slow"])

    assert is_refused(fetch_all("b", "later"))  # so the wait of the others is over
    assert is_refused(fetch_all("b", "later"))
    fetcher.gate.set()
    first, *others = future.result()

    assert first == b"slow"
    assert [type(other) for other in others] == [OverloadedError, OverloadedError]
    assert fetcher.begun == ["slow"]


def test_the_deadline_ends_the_wait_and_what_has_not_begun(start: Callable[..., Start], fetcher: GatedFetcher):
    fetch_all = start(threads=1)

    with pytest.raises(DeadlineExceededError):
        fetch_all("a", "slow", "waiting", within_s=0.1).result()

    fetcher.gate.set()
    assert fetch_all("a", "next").result() == [b"next"]
    assert fetcher.begun == ["slow", "next"]


def test_more_requests_than_the_limit_are_refused_at_once(start: Callable[..., Start], fetcher: GatedFetcher):
    fetch_all = start(threads=8, requests=4)
    first, second = fetch_all("a", "slow"), fetch_all("a", "slow too")
    until(lambda: len(fetcher.begun) == 2)
    assert is_refused(fetch_all("a", "third of a client"))

    third = fetch_all("b", "slow as well")
    until(lambda: "slow as well" in fetcher.begun)
    assert is_refused(fetch_all("b", "second of another"))
    assert fetch_all("c", "fourth").result() == [b"fourth"]

    fetcher.gate.set()
    assert [future.result()[0] for future in (first, second, third)] == [b"slow", b"slow too", b"slow as well"]
    assert fetch_all("a", "later").result() == [b"later"]


def is_refused(future: "Future[list[bytes | GatewayError]]") -> bool:
    return isinstance(future.result()[0], OverloadedError)


def test_an_error_that_is_none_of_the_gateway_reaches_the_caller_and_frees_its_thread(start: Callable[..., Start]):
    fetch_all = start(threads=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            fetch_all("a", "broken").result()

    assert fetch_all("a", "1").result() == [b"1"]


def test_the_images_of_a_request_share_its_allowance_and_lookups(fetcher: GatedFetcher):
    class Allowed:
        taken = 0

        def take(self, count: int) -> None:
            self.taken += count

    allowance, timings = Allowed(), Timings()
    pool = FetchPool(fetcher, pool_limits(threads=1))

    pool.fetch_all(["one", "two"], deadline=Deadline.after(5), allowance=allowance, timings=timings)

    assert allowance.taken == 6
    assert len(fetcher.lookups) == 1
    assert None not in fetcher.lookups
    assert list(timings.seconds) == ["fetch"]


def test_log_lines_of_a_fetch_belong_to_its_request():
    class ContextFetcher:
        def fetch(self, url: str, **_: object) -> bytes:
            return f"{url} {structlog.contextvars.get_contextvars()['request_id']}".encode()

    pool = FetchPool(ContextFetcher(), pool_limits())
    with structlog.contextvars.bound_contextvars(request_id="7"):
        assert pool.fetch_all(["a", "b"], deadline=Deadline.after(5)) == [b"a 7", b"b 7"]
