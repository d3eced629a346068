import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.app import connect
from gateway.deadline import Deadline
from gateway.errors import DeadlineExceededError, GatewayError, ModelFailedError, ModelUnavailableError
from gateway.model_client.micro_batching import MicroBatcher
from gateway.model_client.protocol import Array, Call, TensorSpec
from gateway.model_client.tfserving import TensorFlowServing
from gateway.settings import Settings
from tests.contracts.model_server import DEFAULT, MODEL, ModelServerContract, ask, expected_scores, serve
from tests.support.fake_model_server import Compute, FakeModelServer
from tests.support.waiting import until
from tests.unit.gateway.test_fake_model_server import FakeStage, toy

CALL = Call(MODEL, 1, "serving_default", DEFAULT, "probabilities")


class MicroBatcherStage(FakeStage):
    """The fake server, asked by one call at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.server = MicroBatcher(self.fake, calls=1, max_rows=8)


@pytest.fixture
def stage() -> MicroBatcherStage:
    return MicroBatcherStage()


class TestMicroBatcher(ModelServerContract):
    """Whoever asks through it finds a model server as any other."""


class Hall:
    """A server whose calls go through one by one, each when `open` says so, and who asks it.

    Attributes:
        fake: The server.
        sizes: Rows of each call that has begun.
    """

    def __init__(self, pool: ThreadPoolExecutor, *, calls: int = 1, max_rows: int = 8) -> None:
        self.fake = FakeModelServer(models={MODEL: {1: toy(1), 2: toy(2)}})
        self.sizes: list[int] = []
        self._doors = threading.Semaphore(0)
        self._batcher = MicroBatcher(self.fake, calls=calls, max_rows=max_rows)
        self._pool = pool
        self.change(self._guarded, versions=(1, 2))

    def _guarded(self, compute: Compute) -> Compute:
        def guarded(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
            self.sizes.append(len(next(iter(inputs.values()))))
            assert self._doors.acquire(timeout=20)
            return compute(inputs)

        return guarded

    def change(self, changed: Callable[[Compute], Compute], versions: Sequence[int] = (1,)) -> None:
        """Have something else computed, made of what is computed now."""
        for number in versions:
            version = self.fake.models[MODEL][number]
            compute = {**version.compute, "serving_default": changed(version.compute["serving_default"])}
            self.fake.models[MODEL][number] = replace(version, compute=compute)

    def open(self, calls: int = 1) -> None:
        """Let so many calls through."""
        self._doors.release(calls)

    def ask(
        self, images: NDArray[np.uint8], version: int = 1, *, within_s: float = 20, request_id: str = ""
    ) -> Future[Array]:
        """Have someone ask, and wait until his call has begun or he waits for it."""
        before = self._batcher.queue_length + len(self.sizes)
        asked = self._pool.submit(
            self._batcher.predict,
            replace(CALL, version=version),
            {"image": images},
            deadline=Deadline.after(within_s),
            request_id=request_id,
        )
        until(lambda: self._batcher.queue_length + len(self.sizes) > before or asked.done())
        return asked

    @property
    def waiting(self) -> int:
        return self._batcher.queue_length

    def ends_empty(self) -> bool:
        """Tell whether a call is sent at once again, and then nothing is left behind."""
        begun = len(self.sizes)
        last = self.ask(picture(0))
        assert len(self.sizes) == begun + 1
        self.open()
        last.result(20)
        return not self._batcher._queues  # that it does not grow with what was ever asked


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


@pytest.fixture
def hall(pool: ThreadPoolExecutor) -> Iterator[Hall]:
    hall = Hall(pool)
    yield hall
    hall.open(100)  # lets whoever a failed test has left in there go


def picture(lightness: int, rows: int = 1) -> NDArray[np.uint8]:
    return np.full((rows, 2, 2, 1), lightness, np.uint8)


def assert_answers(asked: Future[Array], images: NDArray[np.uint8], version: int = 1) -> None:
    np.testing.assert_allclose(asked.result(20), expected_scores(version, images), rtol=1e-5)


# Together


def test_who_comes_first_is_sent_at_once_and_who_comes_meanwhile_goes_together(hall: Hall):
    asked = [hall.ask(picture(lightness)) for lightness in (10, 20, 30, 40)]
    assert (hall.sizes, hall.waiting) == ([1], 3)
    hall.open(2)
    for future, lightness in zip(asked, (10, 20, 30, 40), strict=True):
        assert_answers(future, picture(lightness))
    assert hall.sizes == [1, 3]
    assert hall.ends_empty()


def test_requests_of_several_images_keep_their_rows(hall: Hall):
    images = [picture(5), np.concatenate([picture(10), picture(20)]), picture(30, rows=3), picture(40)]
    asked = [hall.ask(rows) for rows in images]
    hall.open(2)
    for future, rows in zip(asked, images, strict=True):
        assert_answers(future, rows)
    assert hall.sizes == [1, 6]


def test_no_more_rows_go_together_than_the_limit_and_all_in_the_order_they_came(hall: Hall):
    images = [picture(number, rows) for number, rows in enumerate((1, 5, 3, 1, 8, 2))]
    asked = [hall.ask(rows) for rows in images]
    hall.open(5)
    for future, rows in zip(asked, images, strict=True):
        assert_answers(future, rows)
    assert hall.sizes == [1, 8, 1, 8, 2]
    assert hall.ends_empty()


def test_as_many_calls_are_in_flight_as_is_set(pool: ThreadPoolExecutor):
    hall = Hall(pool, calls=2)
    asked = [hall.ask(picture(number)) for number in range(5)]
    assert (hall.sizes, hall.waiting) == ([1, 1], 3)
    hall.open(3)
    for number, future in enumerate(asked):
        assert_answers(future, picture(number))
    assert hall.sizes == [1, 1, 3]


def test_versions_do_not_wait_for_each_other(hall: Hall):
    asked = [hall.ask(picture(10), version) for version in (1, 2)]
    assert (hall.sizes, hall.waiting) == ([1, 1], 0)
    hall.open(2)
    for version, future in zip((1, 2), asked, strict=True):
        assert_answers(future, picture(10), version)


def test_what_takes_one_row_is_never_put_together(pool: ThreadPoolExecutor):
    hall = Hall(pool)
    single = replace(DEFAULT, inputs={"image": TensorSpec("uint8", (1, 2, 2, 1))})
    batcher = MicroBatcher(hall.fake, calls=1, max_rows=8)
    asked = [
        pool.submit(
            batcher.predict, replace(CALL, signature=single), {"image": picture(n)}, deadline=Deadline.after(20)
        )
        for n in range(3)
    ]
    until(lambda: hall.sizes == [1, 1, 1])
    hall.open(3)
    for number, future in enumerate(asked):
        assert_answers(future, picture(number))


def test_a_request_alone_is_sent_as_it_is(hall: Hall):
    image, received = picture(7), []

    def kept(compute: Compute) -> Compute:
        return lambda inputs: received.append(inputs["image"]) or compute(inputs)

    hall.change(kept)
    hall.open()
    assert_answers(hall.ask(image, request_id="mine"), image)
    assert received[0] is image
    assert hall.fake.request_ids == ["mine"]


# Deadlines


def test_who_has_waited_long_enough_leaves_and_the_others_go_on(hall: Hall):
    first = hall.ask(picture(10))
    hurried = hall.ask(picture(20), within_s=0.05)
    patient = hall.ask(picture(30))
    with pytest.raises(DeadlineExceededError, match=r"within 0\.05 s"):
        hurried.result(20)
    assert hall.waiting == 1
    hall.open(2)
    assert_answers(first, picture(10))
    assert_answers(patient, picture(30))
    assert hall.sizes == [1, 1]
    assert hall.ends_empty()


def test_who_runs_out_of_time_in_company_leaves_the_others_to_it(hall: Hall):
    first = hall.ask(picture(10))
    patient = hall.ask(picture(20))
    hurried = hall.ask(picture(30), within_s=2)
    hall.open()
    assert_answers(first, picture(10))
    until(lambda: hall.sizes == [1, 2], what="the two are asked")
    with pytest.raises(DeadlineExceededError):
        hurried.result(20)
    hall.open()
    assert_answers(patient, picture(20))
    assert hall.ends_empty()


def test_a_call_that_ran_out_of_its_makers_time_is_made_again_for_who_has_more(hall: Hall):
    first = hall.ask(picture(10))
    maker, other = hall.ask(picture(20)), hall.ask(picture(30))
    failing_at(hall, 2, DeadlineExceededError("The model server did not answer in time."))
    hall.open(4)
    for future, lightness in ((first, 10), (maker, 20), (other, 30)):
        assert_answers(future, picture(lightness))


# Failures


def failing_at(hall: Hall, rows: int, error: Exception) -> None:
    """Have calls of so many rows fail, after their turn."""
    fail_where(hall, lambda images: len(images) == rows, error)


def fail_where(hall: Hall, condition: Callable[[Array], bool], error: Exception) -> None:
    """Have calls with such images fail, after their turn."""

    def failing(compute: Compute) -> Compute:
        def fail(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
            answer = compute(inputs)
            if condition(inputs["image"]):
                raise error
            return answer

        return fail

    hall.change(failing)


def test_one_that_makes_the_computation_fail_fails_alone(hall: Hall):
    fail_where(hall, lambda images: not images.any(axis=(1, 2, 3)).all(), ModelFailedError("black"))
    asked = {lightness: hall.ask(picture(lightness)) for lightness in (10, 20, 0, 30)}
    hall.open(5)
    with pytest.raises(ModelFailedError, match="black"):
        asked.pop(0).result(20)
    for lightness, future in asked.items():
        assert_answers(future, picture(lightness))
    assert hall.sizes == [1, 3, 1, 1, 1]


def test_what_concerns_all_is_told_to_each_and_not_asked_again(hall: Hall):
    cause = OSError("no route")
    error = ModelUnavailableError("away", seconds=3)
    error.__cause__ = cause
    failing_at(hall, 3, error)
    first = hall.ask(picture(1))
    asked = [hall.ask(picture(lightness)) for lightness in (10, 20, 30)]
    hall.open(2)
    first.result(20)
    told = [future.exception(20) for future in asked]
    assert [(type(each), str(each)) for each in told] == [(ModelUnavailableError, "away")] * 3
    assert len({id(each) for each in told}) == 3, "raising writes into an error"
    for each in told:
        assert isinstance(each, GatewayError)
        assert (each.members, each.__cause__) == ({"seconds": 3}, cause)
    assert hall.sizes == [1, 3]
    assert hall.ends_empty()


def test_an_error_that_nobody_thought_of_stops_nobody_else(hall: Hall):
    failing_at(hall, 3, RuntimeError("a mistake of ours"))
    first = hall.ask(picture(1))
    asked = [hall.ask(picture(lightness)) for lightness in (10, 20, 30)]
    hall.open(4)
    first.result(20)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        asked[0].result(20)
    for future, lightness in zip(asked[1:], (20, 30), strict=True):
        assert_answers(future, picture(lightness))
    assert hall.ends_empty()


def test_a_model_that_answers_other_rows_than_it_was_asked_for_is_asked_about_each(hall: Hall):
    hall.change(lambda compute: lambda inputs: {"probabilities": compute(inputs)["probabilities"][:1]})
    asked = [hall.ask(picture(lightness)) for lightness in (10, 20, 30)]
    hall.open(4)
    for future, lightness in zip(asked, (10, 20, 30), strict=True):
        assert_answers(future, picture(lightness))
    assert hall.sizes == [1, 2, 1, 1]


# Where it is used


def test_many_threads_ask_and_each_gets_its_own(stage: MicroBatcherStage):
    server = serve(stage, 1)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: ask(server, 1, picture(number % 256)), range(2000)))
    for number, answer in enumerate(answers):
        np.testing.assert_allclose(answer, expected_scores(1, picture(number % 256)), rtol=1e-5)
    assert stage.fake.calls["predict"] <= 2000


@pytest.mark.parametrize(("calls", "kind"), [(0, TensorFlowServing), (2, MicroBatcher)])
def test_it_is_used_where_the_calls_in_flight_are_limited(calls: int, kind: type):
    assert type(connect(Settings(calls_in_flight=calls))) is kind
