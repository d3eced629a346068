import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceededError, OverloadedError
from gateway.prediction.decoders import DecoderLimits, Decoders
from tests.support.waiting import until
from vision.isolation.pool import DecoderPool


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as threads:
        yield threads


def make_decoders(*, processes: int = 2, max_requests: int = 8, deadline_s: float = 60) -> Decoders:
    """Processes that are never started: only their turns are of interest."""
    pool = DecoderPool(processes=processes, max_memory_bytes=0, max_pixels=0)
    return Decoders(pool, DecoderLimits(processes, max_requests, deadline_s))


class Image:
    """An image of a client that is decoded until `finish`."""

    def __init__(self, decoders: Decoders, threads: ThreadPoolExecutor, client: str) -> None:
        self.has_process = threading.Event()
        self._finished = threading.Event()
        self.outcome: Future[None] = threads.submit(self._decode, decoders, client)

    def _decode(self, decoders: Decoders, client: str) -> None:
        with decoders.turn(client, Deadline.after(60)):
            self.has_process.set()
            assert self._finished.wait(60)

    def finish(self) -> None:
        self._finished.set()


def finish(*images: Image) -> None:
    for image in images:
        image.finish()
    for image in images:
        image.outcome.result(60)


def test_a_client_leaves_one_process_to_the_others(threads: ThreadPoolExecutor):
    decoders = make_decoders(processes=2)
    first = Image(decoders, threads, "a")
    assert first.has_process.wait(60)
    second = Image(decoders, threads, "a")

    other = Image(decoders, threads, "b")

    assert other.has_process.wait(60)
    assert not second.has_process.is_set()
    finish(first)
    assert second.has_process.wait(60)
    finish(second, other)


def test_a_single_process_serves_every_client(threads: ThreadPoolExecutor):
    decoders = make_decoders(processes=1)

    for client in ("a", "a", "b"):
        image = Image(decoders, threads, client)
        assert image.has_process.wait(60)
        finish(image)


def test_a_client_may_have_half_of_the_requests(threads: ThreadPoolExecutor):
    decoders = make_decoders(processes=1, max_requests=4)
    images = [Image(decoders, threads, "a") for _ in range(2)]
    until(lambda: decoders._requests["a"] == 2)

    with pytest.raises(OverloadedError, match="can be decoded in time"), decoders.turn("a", Deadline.after(60)):
        pass

    images += [Image(decoders, threads, "b") for _ in range(2)]
    until(lambda: decoders._requests.total() == 4)
    with pytest.raises(OverloadedError), decoders.turn("c", Deadline.after(60)):
        pass
    finish(*images)
    assert not decoders._requests
    assert not decoders._running


def test_a_turn_that_does_not_come_in_time_is_refused(threads: ThreadPoolExecutor):
    decoders = make_decoders(processes=1, deadline_s=0.01)
    slow = make_decoders(processes=1)
    slow._running, slow._requests, slow._condition = decoders._running, decoders._requests, decoders._condition
    image = Image(slow, threads, "a")
    assert image.has_process.wait(60)

    with pytest.raises(OverloadedError), decoders.turn("b", Deadline.after(60)):
        pass

    finish(image)


def test_no_turn_begins_after_the_deadline():
    with pytest.raises(DeadlineExceededError), make_decoders().turn("a", Deadline.after(-1)):
        pass


def test_an_image_has_until_the_earlier_deadline():
    deadline = Deadline.after(5)

    with make_decoders(deadline_s=60).turn("a", deadline) as deadline_s:
        assert deadline_s == deadline.at_s
    with make_decoders(deadline_s=1).turn("a", deadline) as deadline_s:
        assert deadline_s < deadline.at_s
