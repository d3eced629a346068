"""Batches are assembled, split when they are refused, and yield their outcomes in order."""

import itertools
import threading

import pytest

from gateway.http.problems import PROBLEMS
from image_gateway_client.answers import parse_answer
from image_gateway_client.batches import (
    IMAGE_PROBLEMS,
    IMAGE_STATUSES,
    MODEL_UNUSABLE,
    classify_batch,
    classify_in_order,
    concerns_images,
    split_into_batches,
)
from image_gateway_client.errors import NoAnswerError, Problem, ProblemError
from image_gateway_client.steps import Plan
from tests.support.waiting import until

OTHER_STATUSES = [401, 403, 404, 405, 415, 422, 429, 503]


def answer(name):
    best = {"class": name, "class_id": 0, "score": 1.0}
    return parse_answer({**best, "predictions": [best], "model": {"name": "m", "version": 1}, "request_id": "r"})


def test_batches_are_limited_by_images_and_by_bytes():
    assert list(split_into_batches([], 3, 100)) == []
    assert list(split_into_batches([b"1"] * 7, 3, 100)) == [[b"1"] * 3, [b"1"] * 3, [b"1"]]
    assert list(split_into_batches([b"12345"] * 5, 3, 10)) == [[b"12345"] * 2, [b"12345"] * 2, [b"12345"]]


def test_an_image_too_large_for_a_batch_is_a_batch_of_its_own():
    images = [b"1", b"long image", b"2", b"3"]
    assert list(split_into_batches(images, 3, 4)) == [[b"1"], [b"long image"], [b"2", b"3"]]


def perform(plan: Plan):
    """Return the result of a plan that sends nothing."""
    result = None
    while True:
        try:
            result = plan.send(result).function()
        except StopIteration as end:
            return end.value


class FakeSend:
    """Accepts batches of at most `max_images`, except for those with an image in `failing`."""

    def __init__(self, max_images=100, failing=None, type_="about:blank"):
        self.type = type_
        self.max_images = max_images
        self.failing = failing or {}
        self.batches = []

    def __call__(self, sources):
        names = [source.data.decode() for source in sources]
        self.batches.append(names)
        status = next(
            (self.failing[name] for name in names if name in self.failing), 400 if len(names) > self.max_images else 0
        )
        problem = Problem(self.type, "no", status=status)
        if status and (len(names) > 1 or not concerns_images(problem)):
            raise ProblemError(problem)
        return [problem if status else answer(name) for name in names]
        yield  # a plan without steps


def perform_batch(images, send, *, max_bytes):
    return perform(classify_batch(images, send, max_bytes=max_bytes))


def summarize(outcomes):
    return [outcome.status if isinstance(outcome, Problem) else outcome.label for outcome in outcomes]


def test_an_accepted_batch_is_sent_once():
    send = FakeSend()
    assert summarize(perform_batch([b"a", b"b", b"c"], send, max_bytes=10)) == ["a", "b", "c"]
    assert send.batches == [["a", "b", "c"]]


def test_files_that_cannot_be_read_keep_their_place(tmp_path):
    send = FakeSend()
    assert summarize(perform_batch([tmp_path / "x", b"a", b"much too long", 3, b"b"], send, max_bytes=10)) == [
        None,
        "a",
        None,
        None,
        "b",
    ]
    assert send.batches == [["a", "b"]]


def test_nothing_is_sent_if_no_file_can_be_read(tmp_path):
    send = FakeSend()
    assert summarize(perform_batch([tmp_path / "x"], send, max_bytes=10)) == [None]
    assert send.batches == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [*((status, "about:blank") for status in IMAGE_STATUSES), *((422, kind) for kind in IMAGE_PROBLEMS)],
)
def test_a_refused_batch_is_halved_down_to_the_failing_image(status, kind):
    for culprit in range(5):
        names = [str(number) for number in range(5)]
        outcomes = perform_batch(
            [name.encode() for name in names], FakeSend(failing={names[culprit]: status}, type_=kind), max_bytes=10
        )
        assert summarize(outcomes) == [status if number == culprit else str(number) for number in range(5)]


def test_a_batch_above_the_limit_of_the_gateway_is_split_and_classified():
    send = FakeSend(max_images=3)
    assert summarize(perform_batch([b"%d" % number for number in range(10)], send, max_bytes=10)) == list(
        map(str, range(10))
    )
    assert [name for batch in send.batches if len(batch) <= 3 for name in batch] == list(map(str, range(10)))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, "about:blank") for status in OTHER_STATUSES),
        (500, MODEL_UNUSABLE),
        (422, "/problems/model-not-explainable"),
    ],
)
def test_a_problem_that_no_image_causes_is_raised(status, kind):
    send = FakeSend(failing={"b": status}, type_=kind)
    with pytest.raises(ProblemError):
        perform_batch([b"a", b"b", b"c"], send, max_bytes=10)
    assert len(send.batches) == 1


def test_a_malformed_batch_is_halved_in_case_it_has_too_many_images_and_raised_once():
    send = FakeSend(max_images=0)

    with pytest.raises(ProblemError):
        perform_batch([b"%d" % number for number in range(16)], send, max_bytes=10)

    assert [len(batch) for batch in send.batches] == [16, 8, 4, 2, 1]


def test_problems_are_told_apart_by_types_of_the_gateway():
    types = {problem.type_uri for problem in PROBLEMS.values()}

    assert types > {MODEL_UNUSABLE, *IMAGE_PROBLEMS}


def test_outcomes_are_in_order_whichever_batch_finishes_first():
    first_may_end = threading.Event()

    def send(batch):
        if batch == [0, 1]:
            first_may_end.wait(30)
        elif batch == [2, 3]:
            first_may_end.set()
        return list(map(answer, map(str, batch)))

    assert summarize(classify_in_order([[0, 1], [2, 3], [4]], send, 2)) == ["0", "1", "2", "3", "4"]


def test_only_batches_that_can_soon_be_sent_are_taken():
    consumed = []
    outcomes = classify_in_order(
        (consumed.append(number) or [number] for number in itertools.count()), lambda _: [answer("x")], 3
    )
    for _ in range(10):
        next(outcomes)
    outcomes.close()
    assert len(consumed) <= 10 + 2 * 3


def test_at_max_images_the_number_of_connections_is_used_at_once():
    lock, gate, now, max_images = threading.Lock(), threading.Event(), 0, 0

    def send(_):
        nonlocal now, max_images
        with lock:
            now += 1
            max_images = max(max_images, now)
        if max_images >= 3:
            gate.set()
        gate.wait(30)
        with lock:
            now -= 1
        return [answer("x")]

    assert len(list(classify_in_order([[n] for n in range(12)], send, 3))) == 12
    assert max_images == 3


def test_a_failure_is_raised_in_order_and_drops_unsent_batches():
    sent = []

    def send(batch):
        sent.append(batch)
        if batch == 1:
            raise NoAnswerError("gone")
        return [answer(str(batch))]

    outcomes = classify_in_order(range(1000), send, 1)
    assert summarize([next(outcomes)]) == ["0"]
    with pytest.raises(NoAnswerError, match="gone"):
        next(outcomes)
    assert len(sent) <= 4


def test_a_caller_who_stops_leaves_no_thread_behind():
    outcomes = classify_in_order(range(1000), lambda batch: [answer(str(batch))], 4)
    next(outcomes)
    outcomes.close()
    until(lambda: not any(thread.name.startswith("classify") for thread in threading.enumerate()), 10, "all result")
