"""Batches: how they are put together, cut in halves when refused, and answered in order."""

import itertools
import threading

import pytest

from image_gateway_client.answers import parse_answer
from image_gateway_client.batches import ABOUT_THE_IMAGES, answered, in_batches, in_order
from image_gateway_client.errors import NoAnswerError, Problem, ProblemError
from tests.support.waiting import until

OUTSIDE = sorted({401, 403, 404, 405, 429, 503} - ABOUT_THE_IMAGES)


def answer(name):
    best = {"class": name, "class_id": 0, "score": 1.0}
    return parse_answer({**best, "predictions": [best], "model": {"name": "m", "version": 1}, "request_id": "r"})


def test_batches_hold_so_many_images_and_so_many_bytes():
    assert list(in_batches([], 3, 100)) == []
    assert list(in_batches([b"1"] * 7, 3, 100)) == [[b"1"] * 3, [b"1"] * 3, [b"1"]]
    assert list(in_batches([b"12345"] * 5, 3, 10)) == [[b"12345"] * 2, [b"12345"] * 2, [b"12345"]]


def test_an_image_too_long_for_a_batch_goes_alone():
    images = [b"1", b"long image", b"2", b"3"]
    assert list(in_batches(images, 3, 4)) == [[b"1"], [b"long image"], [b"2", b"3"]]


class Asked:
    """Answers batches of at most so many images, and of images whose status is no failure."""

    def __init__(self, most=100, failing=None):
        self.most = most
        self.failing = failing or {}
        self.batches = []

    def __call__(self, sources):
        names = [source.data.decode() for source in sources]
        self.batches.append(names)
        status = next(
            (self.failing[name] for name in names if name in self.failing), 400 if len(names) > self.most else 0
        )
        if status and (len(names) > 1 or status not in ABOUT_THE_IMAGES):
            raise ProblemError(Problem("about:blank", "no", status=status))
        return [Problem("about:blank", "no", status=status) if status else answer(name) for name in names]


def told(outcomes):
    return [outcome.status if isinstance(outcome, Problem) else outcome.label for outcome in outcomes]


def test_a_batch_that_is_taken_is_asked_once():
    ask = Asked()
    assert told(answered([b"a", b"b", b"c"], ask, max_bytes=10)) == ["a", "b", "c"]
    assert ask.batches == [["a", "b", "c"]]


def test_files_that_cannot_be_read_keep_their_place(tmp_path):
    ask = Asked()
    assert told(answered([tmp_path / "x", b"a", b"much too long", 3, b"b"], ask, max_bytes=10)) == [
        None,
        "a",
        None,
        None,
        "b",
    ]
    assert ask.batches == [["a", "b"]]


def test_nothing_is_asked_when_nothing_can_be_read(tmp_path):
    ask = Asked()
    assert told(answered([tmp_path / "x"], ask, max_bytes=10)) == [None]
    assert ask.batches == []


@pytest.mark.parametrize("status", sorted(ABOUT_THE_IMAGES))
def test_a_refused_batch_is_halved_down_to_the_image_to_blame(status):
    for culprit in range(5):
        names = [str(number) for number in range(5)]
        outcomes = answered([name.encode() for name in names], Asked(failing={names[culprit]: status}), max_bytes=10)
        assert told(outcomes) == [status if number == culprit else str(number) for number in range(5)]


def test_a_batch_longer_than_the_gateway_takes_still_gets_its_answers():
    ask = Asked(most=3)
    assert told(answered([b"%d" % number for number in range(10)], ask, max_bytes=10)) == list(map(str, range(10)))
    assert [name for batch in ask.batches if len(batch) <= 3 for name in batch] == list(map(str, range(10)))


@pytest.mark.parametrize("status", OUTSIDE)
def test_what_no_image_is_to_blame_for_ends_it(status):
    ask = Asked(failing={"b": status})
    with pytest.raises(ProblemError):
        answered([b"a", b"b", b"c"], ask, max_bytes=10)
    assert len(ask.batches) == 1


def test_outcomes_come_in_order_whichever_batch_is_done_first():
    first_may_end = threading.Event()

    def ask(batch):
        if batch == [0, 1]:
            first_may_end.wait(30)
        elif batch == [2, 3]:
            first_may_end.set()
        return list(map(answer, map(str, batch)))

    assert told(in_order([[0, 1], [2, 3], [4]], ask, 2)) == ["0", "1", "2", "3", "4"]


def test_no_more_is_taken_than_can_soon_be_sent():
    taken = []
    outcomes = in_order((taken.append(number) or [number] for number in itertools.count()), lambda _: [answer("x")], 3)
    for _ in range(10):
        next(outcomes)
    outcomes.close()
    assert len(taken) <= 10 + 2 * 3


def test_so_many_are_asked_at_once_and_no_more():
    lock, gate, now, most = threading.Lock(), threading.Event(), 0, 0

    def ask(_):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        if most >= 3:
            gate.set()
        gate.wait(30)
        with lock:
            now -= 1
        return [answer("x")]

    assert len(list(in_order([[n] for n in range(12)], ask, 3))) == 12
    assert most == 3


def test_a_failure_comes_in_its_turn_and_drops_what_was_not_sent():
    asked = []

    def ask(batch):
        asked.append(batch)
        if batch == 1:
            raise NoAnswerError("gone")
        return [answer(str(batch))]

    outcomes = in_order(range(1000), ask, 1)
    assert told([next(outcomes)]) == ["0"]
    with pytest.raises(NoAnswerError, match="gone"):
        next(outcomes)
    assert len(asked) <= 4


def test_a_caller_who_stops_leaves_no_thread_behind():
    outcomes = in_order(range(1000), lambda batch: [answer(str(batch))], 4)
    next(outcomes)
    outcomes.close()
    until(lambda: not any(thread.name.startswith("classify") for thread in threading.enumerate()), 10, "all ended")
