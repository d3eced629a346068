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


def make_decoders(*, processes: int = 2, deadline_s: float = 60) -> Decoders:
    """Return decoders whose processes are never started; only the order of turns is tested."""
    pool = DecoderPool(processes=processes, max_memory_bytes=0, max_pixels=0)
    return Decoders(pool, DecoderLimits(processes, deadline_s))


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


def wait_for_turn(decoders: Decoders, threads: ThreadPoolExecutor, client: str) -> Image:
    waiting = len(decoders._waiting)
    image = Image(decoders, threads, client)
    until(lambda: len(decoders._waiting) == waiting + 1)
    return image


@pytest.mark.parametrize("processes", [1, 2])
def test_the_client_with_the_fewest_images_is_next(threads: ThreadPoolExecutor, processes: int):
    decoders = make_decoders(processes=processes)
    running = [Image(decoders, threads, client) for client in "ab"[:processes]]
    assert all(image.has_process.wait(60) for image in running)
    crowd = [wait_for_turn(decoders, threads, client) for client in "aaabbb"]
    other = wait_for_turn(decoders, threads, "c")

    finish(running[0])

    assert other.has_process.wait(60)
    assert not any(image.has_process.is_set() for image in crowd)
    finish(*running[1:], *crowd, other)
    assert not decoders._waiting
    assert not decoders._running


def test_a_turn_that_does_not_come_in_time_is_refused(threads: ThreadPoolExecutor):
    decoders = make_decoders(processes=1, deadline_s=0.2)
    image = Image(decoders, threads, "a")
    assert image.has_process.wait(60)

    with pytest.raises(OverloadedError, match="can be decoded in time"), decoders.turn("b", Deadline.after(60)):
        pass
    with pytest.raises(DeadlineExceededError), decoders.turn("b", Deadline.after(0.01)):
        pass

    finish(image)
    with decoders.turn("b", Deadline.after(60)):
        pass


def test_no_turn_begins_after_the_deadline():
    with pytest.raises(DeadlineExceededError), make_decoders().turn("a", Deadline.after(-1)):
        pass


def test_an_image_has_until_the_earlier_deadline():
    deadline = Deadline.after(5)

    with make_decoders(deadline_s=60).turn("a", deadline) as deadline_s:
        assert deadline_s == deadline.at_s
    with make_decoders(deadline_s=1).turn("a", deadline) as deadline_s:
        assert deadline_s < deadline.at_s
