import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceededError, GatewayError, ModelFailedError, ModelUnavailableError
from gateway.model_client.micro_batching import MicroBatcher
from gateway.model_client.protocol import Array, Call, TensorSpec
from gateway.model_client.tfserving import TensorFlowServing
from gateway.services import connect
from gateway.settings import Settings
from tests.contracts.model_server import DEFAULT, MODEL, ModelServerContract, expected_scores, predict, serve
from tests.support.fake_model_server import Compute, FakeModelServer
from tests.support.waiting import until
from tests.unit.gateway.test_fake_model_server import FakeStage, toy

CALL = Call(MODEL, 1, "serving_default", DEFAULT, "probabilities")
TIMEOUT_S = 20


class MicroBatcherStage(FakeStage):
    """The fake server behind a micro-batcher that makes one call at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.server = MicroBatcher(self.fake, calls=1, max_rows=8)


@pytest.fixture
def stage() -> MicroBatcherStage:
    return MicroBatcherStage()


class TestMicroBatcher(ModelServerContract):
    """A micro-batcher behaves as any other model server."""


class Gate:
    """A micro-batcher over a fake server whose calls end only when the test lets them.

    Attributes:
        fake: The server.
        batcher: The micro-batcher.
        call_sizes: Number of rows of each call that has reached the server.
        most_calls_in_flight: The most calls that the server had at once.
        hold: Called by each call, with its number, once it has reached the server; by default it waits for `finish`.
    """

    def __init__(self, pool: ThreadPoolExecutor, *, calls: int = 1, max_rows: int = 8) -> None:
        self.fake = FakeModelServer(models={MODEL: {1: toy(1), 2: toy(2)}})
        self.batcher = MicroBatcher(self.fake, calls=calls, max_rows=max_rows)
        self.call_sizes: list[int] = []
        self.most_calls_in_flight = 0
        self._calls_in_flight = 0
        self._changed = threading.Condition()
        self._finished_calls = 0
        self._pool = pool
        self.hold: Callable[[int], object] = self._await_finish
        self.wrap(self._count, versions=(1, 2))

    def _await_finish(self, number: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._finished_calls >= number, TIMEOUT_S)

    def _count(self, compute: Compute) -> Compute:
        def count(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
            with self._changed:
                self.call_sizes.append(len(inputs["image"]))
                number = len(self.call_sizes)
                self._calls_in_flight += 1
                self.most_calls_in_flight = max(self.most_calls_in_flight, self._calls_in_flight)
            try:
                self.hold(number)
                return compute(inputs)
            finally:
                with self._changed:
                    self._calls_in_flight -= 1

        return count

    def wrap(self, wrapper: Callable[[Compute], Compute], versions: Sequence[int] = (1,)) -> None:
        """Replace what is computed by a function of it."""
        for number in versions:
            version = self.fake.models[MODEL][number]
            compute = {**version.compute, "serving_default": wrapper(version.compute["serving_default"])}
            self.fake.models[MODEL][number] = replace(version, compute=compute)

    def fail(self, error: Exception, condition: Callable[[Array], bool]) -> None:
        """Let calls fail whose images meet a condition, once they may end."""

        def wrapper(compute: Compute) -> Compute:
            def fail(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
                outputs = compute(inputs)
                if condition(inputs["image"]):
                    raise error
                return outputs

            return fail

        self.wrap(wrapper)

    def finish(self, calls: int) -> None:
        """Let this number of calls end, now or later, in the order in which they reach the server."""
        with self._changed:
            self._finished_calls += calls
            self._changed.notify_all()

    def start_predict(
        self, images: NDArray[np.uint8], version: int = 1, *, within_s: float = TIMEOUT_S, request_id: str = ""
    ) -> Future[Array]:
        """Start a request in a thread and wait until it is queued or its call has reached the server."""
        before = self.batcher.queue_length + len(self.call_sizes)
        future = self._pool.submit(
            self.batcher.predict,
            replace(CALL, version=version),
            {"image": images},
            deadline=Deadline.after(within_s),
            request_id=request_id,
        )
        until(lambda: self.batcher.queue_length + len(self.call_sizes) > before or future.done())
        return future

    def assert_idle(self) -> None:
        """Check that the next request is sent at once, and that nothing is kept afterwards."""
        calls = len(self.call_sizes)
        future = self.start_predict(picture(100))
        assert len(self.call_sizes) == calls + 1, "a slot for a call was lost"
        self.finish(1)
        future.result(TIMEOUT_S)
        assert not self.batcher._queues, "the table of queues grows with every computation ever requested"


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(48) as pool:
        yield pool


@pytest.fixture
def make_gate(pool: ThreadPoolExecutor) -> Iterator[Callable[..., Gate]]:
    gates: list[Gate] = []

    def make(**options: int) -> Gate:
        gates.append(Gate(pool, **options))
        return gates[-1]

    yield make
    for gate in gates:
        gate.finish(1000)  # ends the calls that a failed test has left behind


@pytest.fixture
def gate(make_gate: Callable[..., Gate]) -> Gate:
    return make_gate()


def picture(brightness: int, rows: int = 1) -> NDArray[np.uint8]:
    return np.full((rows, 2, 2, 1), brightness, np.uint8)


def is_black(images: Array) -> bool:
    return not images.any(axis=(1, 2, 3)).all()


def has_rows(count: int) -> Callable[[Array], bool]:
    return lambda images: len(images) == count


def assert_scores(future: Future[Array], images: NDArray[np.uint8], version: int = 1) -> None:
    np.testing.assert_allclose(future.result(TIMEOUT_S), expected_scores(version, images), rtol=1e-5)


# Batches


def test_the_first_request_is_sent_at_once_and_later_ones_go_together(gate: Gate):
    futures = [gate.start_predict(picture(brightness)) for brightness in (10, 20, 30, 40)]
    assert (gate.call_sizes, gate.batcher.queue_length) == ([1], 3)

    gate.finish(2)

    for future, brightness in zip(futures, (10, 20, 30, 40), strict=True):
        assert_scores(future, picture(brightness))
    assert gate.call_sizes == [1, 3]
    gate.assert_idle()


def test_requests_with_several_images_get_their_own_rows(gate: Gate):
    images = [picture(5), np.concatenate([picture(10), picture(20)]), picture(30, rows=3), picture(40)]
    futures = [gate.start_predict(rows) for rows in images]

    gate.finish(2)

    for future, rows in zip(futures, images, strict=True):
        assert_scores(future, rows)
    assert gate.call_sizes == [1, 6]


def test_batches_respect_the_row_limit_and_the_order_of_arrival(gate: Gate):
    images = [picture(number, rows) for number, rows in enumerate((1, 5, 3, 1, 8, 2))]
    futures = [gate.start_predict(rows) for rows in images]

    gate.finish(5)

    for future, rows in zip(futures, images, strict=True):
        assert_scores(future, rows)
    assert gate.call_sizes == [1, 8, 1, 8, 2]
    gate.assert_idle()


def test_as_many_calls_are_in_flight_as_configured(make_gate: Callable[..., Gate]):
    gate = make_gate(calls=2)
    futures = [gate.start_predict(picture(number)) for number in range(5)]
    assert (gate.call_sizes, gate.batcher.queue_length) == ([1, 1], 3)

    gate.finish(3)

    for number, future in enumerate(futures):
        assert_scores(future, picture(number))
    assert gate.call_sizes == [1, 1, 3]


def test_versions_do_not_wait_for_each_other(gate: Gate):
    futures = [gate.start_predict(picture(10), version) for version in (1, 2)]
    assert (gate.call_sizes, gate.batcher.queue_length) == ([1, 1], 0)

    gate.finish(2)

    for version, future in zip((1, 2), futures, strict=True):
        assert_scores(future, picture(10), version)


def test_a_signature_that_takes_one_row_is_never_batched(gate: Gate, pool: ThreadPoolExecutor):
    single = replace(CALL, signature=replace(DEFAULT, inputs={"image": TensorSpec("uint8", (1, 2, 2, 1))}))

    futures = [
        pool.submit(gate.batcher.predict, single, {"image": picture(number)}, deadline=Deadline.after(TIMEOUT_S))
        for number in range(3)
    ]
    until(lambda: gate.call_sizes == [1, 1, 1])
    gate.finish(3)

    for number, future in enumerate(futures):
        assert_scores(future, picture(number))


def test_the_inputs_of_a_single_request_are_not_copied(gate: Gate):
    image, received = picture(7), []
    gate.wrap(lambda compute: lambda inputs: received.append(inputs["image"]) or compute(inputs))

    gate.finish(1)
    future = gate.start_predict(image, request_id="mine")

    assert_scores(future, image)
    assert received[0] is image
    assert gate.fake.request_ids == ["mine"]


# Deadlines


def test_a_request_leaves_the_queue_at_its_deadline_and_the_others_stay(gate: Gate):
    first = gate.start_predict(picture(10))
    hurried = gate.start_predict(picture(20), within_s=0.05)
    patient = gate.start_predict(picture(30))

    with pytest.raises(DeadlineExceededError, match=r"within 0\.05 s"):
        hurried.result(TIMEOUT_S)
    assert gate.batcher.queue_length == 1
    gate.finish(2)

    assert_scores(first, picture(10))
    assert_scores(patient, picture(30))
    assert gate.call_sizes == [1, 1]
    gate.assert_idle()


def test_a_request_leaves_its_batch_at_its_deadline_and_the_others_stay(gate: Gate):
    first = gate.start_predict(picture(10))
    patient = gate.start_predict(picture(20))
    hurried = gate.start_predict(picture(30), within_s=1)
    gate.finish(1)
    assert_scores(first, picture(10))
    until(lambda: gate.call_sizes == [1, 2], what="the two in one call")

    with pytest.raises(DeadlineExceededError):
        hurried.result(TIMEOUT_S)
    gate.finish(1)

    assert_scores(patient, picture(20))
    gate.assert_idle()


def test_a_batch_that_is_not_answered_in_time_is_not_repeated(gate: Gate):
    gate.fail(DeadlineExceededError("The model server did not answer in time."), has_rows(3))
    first = gate.start_predict(picture(1))
    futures = [gate.start_predict(picture(brightness)) for brightness in (10, 20, 30)]

    gate.finish(2)

    first.result(TIMEOUT_S)
    for future in futures:
        with pytest.raises(DeadlineExceededError, match="did not answer in time"):
            future.result(TIMEOUT_S)
    assert gate.call_sizes == [1, 3]
    gate.assert_idle()


def test_the_request_that_may_wait_longest_makes_the_call(gate: Gate):
    first = gate.start_predict(picture(1))
    hurried = gate.start_predict(picture(10), within_s=1, request_id="hurried")
    patient = gate.start_predict(picture(20), within_s=60, request_id="patient")
    other = gate.start_predict(picture(30), request_id="other")
    gate.finish(1)
    assert_scores(first, picture(1))
    until(lambda: gate.call_sizes == [1, 3], what="the three in one call")

    with pytest.raises(DeadlineExceededError, match="within 1 s"):
        hurried.result(TIMEOUT_S)
    gate.finish(1)

    assert_scores(patient, picture(20))
    assert_scores(other, picture(30))
    assert gate.fake.request_ids == ["", "patient"]


# Failures


def test_only_the_request_that_makes_a_batch_fail_fails(gate: Gate):
    gate.fail(ModelFailedError("black"), is_black)
    futures = {brightness: gate.start_predict(picture(brightness)) for brightness in (10, 20, 0, 30)}

    gate.finish(5)

    with pytest.raises(ModelFailedError, match="black"):
        futures.pop(0).result(TIMEOUT_S)
    for brightness, future in futures.items():
        assert_scores(future, picture(brightness))
    assert gate.call_sizes == [1, 3, 1, 1, 1]


def test_an_error_that_concerns_all_is_raised_for_each_and_not_repeated(gate: Gate):
    cause = OSError("no route")
    error = ModelUnavailableError("away", seconds=3)
    error.__cause__ = cause
    gate.fail(error, has_rows(3))
    first = gate.start_predict(picture(1))
    futures = [gate.start_predict(picture(brightness)) for brightness in (10, 20, 30)]

    gate.finish(2)

    first.result(TIMEOUT_S)
    errors = [future.exception(TIMEOUT_S) for future in futures]
    assert [(type(each), str(each)) for each in errors] == [(ModelUnavailableError, "away")] * 3
    assert len({id(each) for each in errors}) == 3, "raising an error writes into it"
    for each in errors:
        assert isinstance(each, GatewayError)
        assert (each.members, each.__cause__) == ({"seconds": 3}, cause)
    assert gate.call_sizes == [1, 3]
    gate.assert_idle()


def test_an_unexpected_error_stops_only_the_request_that_made_the_call(gate: Gate):
    gate.fail(RuntimeError("a bug"), has_rows(3))
    first = gate.start_predict(picture(1))
    caller = gate.start_predict(picture(10), within_s=2 * TIMEOUT_S)
    futures = [gate.start_predict(picture(brightness)) for brightness in (20, 30)]

    gate.finish(4)

    first.result(TIMEOUT_S)
    with pytest.raises(RuntimeError, match="a bug"):
        caller.result(TIMEOUT_S)
    for future, brightness in zip(futures, (20, 30), strict=True):
        assert_scores(future, picture(brightness))
    gate.assert_idle()


def test_each_request_is_repeated_if_the_model_returns_another_number_of_rows(gate: Gate):
    gate.wrap(lambda compute: lambda inputs: {"probabilities": compute(inputs)["probabilities"][:1]})
    futures = [gate.start_predict(picture(brightness)) for brightness in (10, 20, 30)]

    gate.finish(4)

    for future, brightness in zip(futures, (10, 20, 30), strict=True):
        assert_scores(future, picture(brightness))
    assert gate.call_sizes == [1, 2, 1, 1]


def start_batch(gate: Gate, brightnesses: Sequence[int]) -> list[Future[Array]]:
    """Let one call hold the server and queue requests behind it, which will share the next one."""
    gate.start_predict(picture(255))
    return [gate.start_predict(picture(brightness)) for brightness in brightnesses]


@pytest.mark.parametrize("culprits", [{0}, {31}, {13}, {5, 29}, {14, 15}])
def test_the_request_at_fault_is_found_in_halves(make_gate: Callable[..., Gate], culprits: set[int]):
    gate = make_gate(max_rows=32)
    gate.fail(ModelFailedError("black"), is_black)
    gate.finish(100)
    gate.hold = lambda number: number > 1 or until(lambda: gate.batcher.queue_length == 32, TIMEOUT_S)
    futures = start_batch(gate, [0 if number in culprits else number + 1 for number in range(32)])

    outcomes = [type(future.exception(TIMEOUT_S)) for future in futures]

    assert [number for number, outcome in enumerate(outcomes) if outcome is ModelFailedError] == sorted(culprits)
    assert len(gate.call_sizes) <= 2 + (10 if len(culprits) == 1 else 20)
    assert gate.most_calls_in_flight == 1
    gate.assert_idle()


@pytest.mark.parametrize("rows", [5, 16, 32])
def test_a_batch_that_cannot_be_computed_at_all_costs_a_bounded_number_of_calls(
    make_gate: Callable[..., Gate], rows: int
):
    gate = make_gate(max_rows=32)
    gate.fail(ModelFailedError("broken"), lambda images: not (images == 255).any())
    gate.finish(100)
    gate.hold = lambda number: number > 1 or until(lambda: gate.batcher.queue_length == rows, TIMEOUT_S)
    futures = start_batch(gate, [7] * rows)

    errors = [future.exception(TIMEOUT_S) for future in futures]

    assert {(type(error), str(error)) for error in errors} == {(ModelFailedError, "broken")}
    assert len(gate.call_sizes) <= 2 + 4 * np.ceil(np.log2(rows))
    gate.hold = lambda _: None
    assert_scores(gate.start_predict(picture(255)), picture(255))


def test_rows_that_are_missing_from_every_answer_cost_a_bounded_number_of_calls(make_gate: Callable[..., Gate]):
    gate = make_gate(max_rows=32)
    gate.wrap(lambda compute: lambda inputs: {"probabilities": compute(inputs)["probabilities"][:1]})
    gate.finish(100)
    gate.hold = lambda number: number > 1 or until(lambda: gate.batcher.queue_length == 32, TIMEOUT_S)
    futures = start_batch(gate, range(1, 33))

    errors = [future.exception(TIMEOUT_S) for future in futures]

    assert {type(error) for error in errors} <= {type(None), ModelFailedError}
    assert len(gate.call_sizes) <= 2 + 20


# Repeated requests and the limit on calls in flight


def fail_batch_of_three(gate: Gate, *, second_within_s: float = TIMEOUT_S) -> list[Future[Array]]:
    """Let a batch of three requests fail and return their futures once the first of them is repeated."""
    gate.fail(ModelFailedError("too many rows"), has_rows(3))
    first = gate.start_predict(picture(1))
    futures = [
        gate.start_predict(picture(1)),
        gate.start_predict(picture(2), within_s=second_within_s),
        gate.start_predict(picture(3)),
    ]
    gate.finish(2)
    first.result(TIMEOUT_S)
    until(lambda: gate.call_sizes == [1, 3, 1], what="the first repeat sent")
    return futures


def test_requests_of_a_failed_batch_are_repeated_one_after_the_other(gate: Gate):
    futures = fail_batch_of_three(gate)
    for repeated in (1, 2, 3):
        until(lambda repeated=repeated: gate.call_sizes == [1, 3] + [1] * repeated, what=f"repeat {repeated} sent")
        assert gate.batcher.queue_length == 3 - repeated
        gate.finish(1)

    for number, future in enumerate(futures, 1):
        assert_scores(future, picture(number))
    assert gate.most_calls_in_flight == 1
    gate.assert_idle()


def test_repeated_requests_use_every_call_that_the_limit_allows(make_gate: Callable[..., Gate]):
    gate = make_gate(calls=2)
    gate.fail(ModelFailedError("too many rows"), has_rows(3))
    first, second = gate.start_predict(picture(8)), gate.start_predict(picture(9))
    futures = [gate.start_predict(picture(number)) for number in (1, 2, 3)]

    gate.finish(3)
    first.result(TIMEOUT_S)
    second.result(TIMEOUT_S)

    until(lambda: gate.call_sizes == [1, 1, 3, 1, 1], what="two repeats in flight")
    assert gate.batcher.queue_length == 1
    gate.finish(3)
    for number, future in enumerate(futures, 1):
        assert_scores(future, picture(number))
    assert gate.most_calls_in_flight == 2
    gate.assert_idle()


def test_newer_requests_are_batched_after_the_repeated_ones(gate: Gate):
    futures = fail_batch_of_three(gate)
    newer = [gate.start_predict(picture(number)) for number in (4, 5)]

    gate.finish(4)

    for number, future in enumerate(futures + newer, 1):
        assert_scores(future, picture(number))
    assert gate.call_sizes == [1, 3, 1, 1, 1, 2]
    gate.assert_idle()


def test_a_repeated_request_leaves_the_queue_at_its_own_deadline(gate: Gate):
    futures = fail_batch_of_three(gate, second_within_s=1)

    with pytest.raises(DeadlineExceededError, match="within 1 s"):
        futures[1].result(TIMEOUT_S)
    assert gate.batcher.queue_length == 1
    gate.finish(2)

    assert_scores(futures[0], picture(1))
    assert_scores(futures[2], picture(3))
    assert gate.call_sizes == [1, 3, 1, 1]
    gate.assert_idle()


def test_a_request_that_left_a_failed_batch_is_not_repeated(gate: Gate):
    gate.fail(ModelFailedError("too many rows"), has_rows(2))
    first, second = gate.start_predict(picture(1)), gate.start_predict(picture(2))
    hurried = gate.start_predict(picture(3), within_s=1)
    gate.finish(1)
    first.result(TIMEOUT_S)
    until(lambda: gate.call_sizes == [1, 2], what="the batch sent")

    with pytest.raises(DeadlineExceededError):
        hurried.result(TIMEOUT_S)
    gate.finish(2)

    assert_scores(second, picture(2))
    assert gate.call_sizes == [1, 2, 1]
    gate.assert_idle()


def send_random_requests(batcher: MicroBatcher, seed: int) -> list[str]:
    """Send requests one after the other, check what each returns, and list how they ended."""
    rng = random.Random(seed)
    outcomes = []
    for _ in range(20):
        images = picture(rng.choice([0, *range(1, 8)]), rng.randint(1, 3))
        within_s = rng.choice([TIMEOUT_S, TIMEOUT_S, TIMEOUT_S, 0.005])
        try:
            scores = batcher.predict(CALL, {"image": images}, deadline=Deadline.after(within_s))
        except ModelFailedError:
            assert is_black(images)
            outcomes.append("failed")
        except DeadlineExceededError:
            assert within_s < TIMEOUT_S
            outcomes.append("late")
        else:
            assert not is_black(images)
            np.testing.assert_allclose(scores, expected_scores(1, images), rtol=1e-5)
            outcomes.append("predicted")
    return outcomes


@pytest.mark.parametrize("calls", [1, 2, 3])
def test_the_limit_holds_under_load_with_failures_and_deadlines(
    make_gate: Callable[..., Gate], pool: ThreadPoolExecutor, calls: int
):
    gate = make_gate(calls=calls)
    users: list[Future[list[str]]] = []
    gate.hold = lambda _: until(lambda: gate.batcher.queue_length >= 5 or any(user.done() for user in users), TIMEOUT_S)
    gate.fail(ModelFailedError("black"), is_black)
    users += [pool.submit(send_random_requests, gate.batcher, seed) for seed in range(40)]
    outcomes = Counter(outcome for user in users for outcome in user.result(60))

    assert outcomes.keys() == {"failed", "late", "predicted"}
    assert outcomes.total() == 40 * 20
    assert max(gate.call_sizes) > 3, "no requests were batched"
    assert gate.most_calls_in_flight <= calls
    gate.assert_idle()


# Use in the gateway


def test_requests_of_many_threads_get_their_own_predictions(stage: MicroBatcherStage):
    server = serve(stage, 1)

    with ThreadPoolExecutor(16) as pool:
        predictions = list(pool.map(lambda number: predict(server, 1, picture(number % 256)), range(2000)))

    assert len(predictions) == 2000
    for number, scores in enumerate(predictions):
        np.testing.assert_allclose(scores, expected_scores(1, picture(number % 256)), rtol=1e-5)
    assert stage.fake.calls["predict"] <= 2000


@pytest.mark.parametrize(("calls", "client_type"), [(0, TensorFlowServing), (2, MicroBatcher)])
def test_the_gateway_batches_if_the_calls_in_flight_are_limited(calls: int, client_type: type):
    assert type(connect(Settings(calls_in_flight=calls))) is client_type
