import concurrent.futures
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_dtypes import bfloat16

from model_server.batching.batching_servable import Batching, BatchingServable, Call, count_rows, merge
from model_server.batching.parameters import BatchingParameters
from model_server.batching.scheduler import BatchScheduler
from model_server.errors import (
    Code,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    ResourceExhaustedError,
    ServingError,
    UnavailableError,
)

LIMIT_S = 20
FOR_EVER_MICROS = 10**10


def floats(*values):
    return np.array(values, np.float32)


class Model:
    """Answers y = x + 1 and z = 10 x, and other outputs of wrong shapes; can be held at work."""

    def __init__(self, signature_def):
        vector = ("DT_FLOAT", [-1])
        ends = {"x": vector}, dict.fromkeys(("y", "z", "sum", "twice"), vector)
        self.signatures = {"serving_default": signature_def(*ends), "other": signature_def(*ends)}
        self.calls = []
        self.changed = threading.Condition()
        self.may_end = threading.Event()
        self.may_end.set()
        self.error = None
        self.closed = False

    def run(self, signature, inputs, outputs, timeout_s):
        with self.changed:
            self.calls.append((signature, inputs, tuple(outputs), timeout_s))
            self.changed.notify_all()
        assert self.may_end.wait(LIMIT_S)
        assert not self.closed
        if self.error:
            raise self.error
        x = inputs["x"]
        answers = {"y": x + 1, "z": x * 10, "sum": x.sum(), "twice": np.concatenate([x, x])}
        return {alias: answers[alias] for alias in outputs}

    def close(self):
        self.closed = True

    def wait_for(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.calls) >= count, LIMIT_S)

    def hold(self):
        self.may_end.clear()

    def let_end(self):
        self.may_end.set()

    @property
    def rows(self):
        return [len(inputs["x"]) for _, inputs, _, _ in self.calls]


@pytest.fixture
def model(signature_def):
    return Model(signature_def)


@pytest.fixture
def batched(model):
    """Return a function that makes the model batch."""
    schedulers = []

    def make(threads=1, **parameters):
        schedulers.append(BatchScheduler(threads))
        return BatchingServable(model, BatchingParameters(**parameters), schedulers[-1])

    yield make
    model.let_end()
    for scheduler in schedulers:
        scheduler.close()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(16) as pool:
        yield pool


def run(servable, *values, outputs=("y",), timeout_s=None, signature="serving_default"):
    return servable.run(signature, {"x": floats(*values)}, outputs, timeout_s)


def test_a_single_call_passes_through(model, batched):
    servable = batched()
    assert servable.signatures is model.signatures
    outputs = run(servable, 1, 2, outputs=("y", "z"))
    assert {alias: array.tolist() for alias, array in outputs.items()} == {"y": [2, 3], "z": [10, 20]}
    assert model.calls[0][2:] == (("y", "z"), None)


def test_calls_are_computed_together_and_each_gets_its_own(model, batched, pool):
    servable = batched(max_batch_size=4, batch_timeout_micros=FOR_EVER_MICROS)
    futures = [pool.submit(run, servable, *values) for values in ([1], [2, 3], [4])]
    assert [future.result(LIMIT_S)["y"].tolist() for future in futures] == [[2], [3, 4], [5]]
    assert model.rows == [4]


def test_signatures_and_outputs_are_not_mixed(model, batched, pool):
    servable = batched(max_batch_size=2, batch_timeout_micros=FOR_EVER_MICROS)
    asked = [
        ("serving_default", ("y",)),
        ("serving_default", ("z",)),
        ("serving_default", ("y", "z")),
        ("other", ("y",)),
    ]
    futures = [
        pool.submit(run, servable, 1, signature=signature, outputs=outputs)
        for signature, outputs in [*asked, *asked, ("other", ("z", "y")), ("other", ("y", "z"))]
    ]
    for future in futures:
        future.result(LIMIT_S)
    assert model.rows == [2] * 5
    assert {(signature, frozenset(outputs)) for signature, _, outputs, _ in model.calls} == {
        *((signature, frozenset(outputs)) for signature, outputs in asked),
        ("other", frozenset({"y", "z"})),
    }


def test_a_failure_is_shared_by_the_batch_and_by_nobody_else(model, batched, pool):
    servable = batched(max_batch_size=2, batch_timeout_micros=FOR_EVER_MICROS)
    model.error = ServingError("index out of range", Code.OUT_OF_RANGE)
    errors = [future.exception(LIMIT_S) for future in [pool.submit(run, servable, value) for value in (1, 2)]]
    assert [(error.code, error.message) for error in errors] == [(Code.OUT_OF_RANGE, "index out of range")] * 2
    assert errors[0] is not errors[1]
    model.error = None
    assert run(servable, 5, 6)["y"].tolist() == [6, 7]


def test_what_is_no_serving_error_is_logged_and_not_told(model, batched, caplog):
    servable = batched()
    model.error = ZeroDivisionError("oops")
    with pytest.raises(ServingError, match="INTERNAL: Internal error, see the server's log"):
        run(servable, 1)
    assert "A batch of signature serving_default failed" in caplog.text
    assert "oops" in caplog.text


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("sum", "Batched output tensor has 0 dimensions"),
        (
            "twice",
            (
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the "
                "input tensors"
            ),
        ),
    ],
)
def test_outputs_that_cannot_be_cut(batched, output, message):
    with pytest.raises(ServingError) as refused:
        run(batched(), 1, 2, outputs=(output,))
    assert (refused.value.code, refused.value.message) == (Code.FAILED_PRECONDITION, message)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "Batching Run() must have at least one input tensor"),
        ({"x": np.array(1.0)}, "Batching Run() input tensors must have at least one dimension"),
        ({"x": floats(1), "b": floats(1, 2)}, "Batching Run() input tensors must have equal 0th-dimension size"),
        (
            {"x": floats()},
            (
                "Batching Run() input tensors must have at least one row; without any, tensorflow_model_server would "
                "not answer before another request joins the batch"
            ),
        ),
    ],
)
def test_inputs_that_cannot_be_batched(model, batched, inputs, message):
    with pytest.raises(InvalidArgumentError) as refused:
        batched().run("serving_default", inputs, ("y",), None)
    assert refused.value.message == message
    assert not model.calls


def test_rows_are_counted():
    assert count_rows({"a": np.zeros((3, 2)), "b": np.zeros(3)}) == 3


def test_too_many_rows_are_refused(batched):
    with pytest.raises(InvalidArgumentError, match="Task size 3 is larger than maximum input batch size 2"):
        run(batched(max_batch_size=2), 1, 2, 3)


def test_a_full_queue_refuses_and_answers_the_others(model, batched, pool):
    servable = batched(max_batch_size=1, max_enqueued_batches=2)
    model.hold()
    first = pool.submit(run, servable, 1)
    model.wait_for(1)
    waiting = {pool.submit(run, servable, 1) for _ in range(7)}
    refused = set()
    while len(refused) < 5:
        done, waiting = concurrent.futures.wait(waiting, LIMIT_S, concurrent.futures.FIRST_COMPLETED)
        assert done
        refused |= done
    assert {type(future.exception()) for future in refused} == {UnavailableError}
    model.let_end()
    assert [future.result(LIMIT_S)["y"].tolist() for future in {first, *waiting}] == [[2]] * 3


def test_a_batch_is_filled_up_to_an_allowed_size_and_cut_back(model, batched):
    servable = batched(max_batch_size=4, allowed_batch_sizes=(2, 4))
    assert run(servable, 1)["y"].tolist() == [2]
    assert run(servable, 1, 2, 3)["y"].tolist() == [2, 3, 4]
    assert [inputs["x"].tolist() for _, inputs, _, _ in model.calls] == [[1, 1], [1, 2, 3, 1]]


def test_a_large_call_is_split_and_put_together_again(model, batched):
    servable = batched(max_batch_size=10, max_execution_batch_size=4, enable_large_batch_splitting=True, threads=2)
    outputs = run(servable, *range(10), outputs=("y", "z"))
    assert outputs["y"].tolist() == list(range(1, 11))
    assert outputs["z"].tolist() == list(range(0, 100, 10))
    assert sorted(model.rows) == [2, 4, 4]


def test_the_failure_of_a_part_is_the_call_s(model, batched):
    servable = batched(max_batch_size=10, max_execution_batch_size=4, enable_large_batch_splitting=True)
    model.error = ServingError("index out of range", Code.OUT_OF_RANGE)
    with pytest.raises(ServingError, match="index out of range"):
        run(servable, *range(10))


def test_the_batch_has_the_time_of_its_most_patient_call(model, batched, pool):
    servable = batched(max_batch_size=2, batch_timeout_micros=FOR_EVER_MICROS)
    for timeouts_s in ((50, 1000), (50, None)):
        for future in [pool.submit(run, servable, 1, timeout_s=timeout_s) for timeout_s in timeouts_s]:
            future.result(LIMIT_S)
    assert 900 < model.calls[0][3] <= 1000
    assert model.calls[1][3] is None


def submit(servable, *values):
    """Put a call into the queue without waiting for what comes of it."""
    call = Call({"x": floats(*values)}, len(values), deadline_s=None)
    servable._scheduler.submit(servable._queue("serving_default", ("y",)), call)
    return call


def test_who_gives_up_while_the_batch_is_computed_leaves_the_others_to_it(model, batched):
    servable = batched(max_batch_size=2, batch_timeout_micros=FOR_EVER_MICROS)
    model.hold()
    patient, hurried = submit(servable, 1), submit(servable, 2)
    model.wait_for(1)
    hurried.deadline_s = 0.0
    with pytest.raises(DeadlineExceededError, match="Timed out waiting for notification"):
        hurried.result()
    model.let_end()
    assert patient.result()["y"].tolist() == [2]


def test_who_gives_up_while_waiting_is_left_out_of_the_batch(model, batched, pool):
    servable = batched()
    model.hold()
    busy = pool.submit(run, servable, 1)
    model.wait_for(1)
    patient = pool.submit(run, servable, 2)
    with pytest.raises(ResourceExhaustedError, match="timeout exceeded while waiting in batching queue"):
        run(servable, 3, timeout_s=0.01)
    model.let_end()
    assert [future.result(LIMIT_S)["y"].tolist() for future in (busy, patient)] == [[2], [3]]
    assert model.rows == [1, 1]


def test_a_batch_that_everybody_has_given_up_is_not_computed(model, batched, pool):
    servable = batched()
    model.hold()
    busy = pool.submit(run, servable, 1)
    model.wait_for(1)
    with pytest.raises(ResourceExhaustedError):
        run(servable, 3, timeout_s=0)
    model.let_end()
    busy.result(LIMIT_S)
    servable.close()
    assert model.rows == [1]


def test_closing_waits_for_the_batch_of_who_has_given_up(model, batched, pool):
    servable = batched()
    model.hold()
    submit(servable, 1)
    model.wait_for(1)
    closing = pool.submit(servable.close)
    model.let_end()  # had it been closed before, the model would fail
    closing.result(LIMIT_S)
    assert model.closed


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    threads=st.integers(1, 3),
    splitting=st.booleans(),
    allowed=st.sampled_from([(), (9,), (1, 3, 9)]),
)
def test_nobody_sees_that_calls_are_batched(signature_def, sizes, threads, splitting, allowed):
    scheduler = BatchScheduler(threads)
    parameters = BatchingParameters(
        max_batch_size=9,
        max_execution_batch_size=4,
        max_enqueued_batches=1000,
        allowed_batch_sizes=allowed,
        enable_large_batch_splitting=splitting,
    )
    servable = BatchingServable(Model(signature_def), parameters, scheduler)
    calls = [range(100 * number, 100 * number + size) for number, size in enumerate(sizes)]
    with ThreadPoolExecutor(len(calls)) as pool:
        answers = list(pool.map(lambda values: run(servable, *values)["y"].tolist(), calls))
    scheduler.close()
    assert answers == [[value + 1 for value in values] for values in calls]


def test_arrays_are_merged_in_order():
    assert merge([floats(1), floats(2, 3)], name="x:0").tolist() == [1, 2, 3]
    single = floats(1, 2)
    assert merge([single], name="x:0") is single


@pytest.mark.parametrize("values", [[b"a", b"longer"], ["text", ""]])
def test_strings_are_merged_and_padded(values):
    array = np.array(values, object)
    merged = merge([array, array[:1]], name="x:0", repeat_last=1)
    assert (merged.dtype, merged.tolist()) == (np.dtype(object), [*values, values[0], values[0]])
    padded = merge([array[None], array[None, :1]], name="x:0", pad=True)
    assert padded.tolist() == [values, [values[0], values[0]]]


def test_bfloat16_is_merged():
    array = np.array([1, 2], bfloat16)
    assert merge([array, array], name="x:0").dtype == bfloat16


def test_what_fills_up_is_the_first_row_of_the_last_call():
    assert merge([floats(1), floats(2, 3)], name="x:0", repeat_last=2).tolist() == [1, 2, 3, 2, 2]


def test_rows_of_different_shape_are_refused_without_padding():
    with pytest.raises(FailedPreconditionError) as refused:
        merge([np.zeros((1, 2)), np.zeros((1, 3))], name="x:0")
    assert refused.value.message == (
        "Tensors with name 'x:0' from different tasks have different shapes and padding is turned off. Set "
        "pad_variable_length_inputs to true, or ensure that all tensors with the same name have equal dimensions "
        "starting with the first dim."
    )


def test_padding_repeats_the_first_element_behind_what_is_there():
    arrays = [floats([[1, 2]], [[3, 4]]), floats([[5], [6]])]
    assert [array.shape for array in arrays] == [(2, 1, 2), (1, 2, 1)]
    assert merge(arrays, name="x:0", pad=True).tolist() == [
        [[1, 2], [1, 1]],
        [[3, 4], [1, 1]],
        [[5, 5], [6, 5]],
    ]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([np.zeros((1, 0)), np.zeros((1, 2))], "Got empty tensor in batch of non-empty tensors."),
        ([np.zeros([1] * 7)], "Only tensors with rank from 1 to 6 can be padded."),
        ([np.zeros(1), np.zeros((1, 1))], "Tensors with name 'x:0' from different tasks have different ranks."),
    ],
)
def test_what_cannot_be_padded(arrays, message):
    with pytest.raises(ServingError) as refused:
        merge(arrays, name="x:0", pad=True)
    assert refused.value.message == message


def test_different_types_are_not_converted():
    with pytest.raises(ServingError, match=r"INTERNAL: .*different data types. Got float32 and float64\."):
        merge([floats(1), np.zeros(1)], name="x:0")


@pytest.fixture
def batching_of():
    made = []

    def make(*, per_model=False, **parameters):
        made.append(Batching(BatchingParameters(**parameters), per_model=per_model))
        return made[-1]

    yield make
    for batching in made:
        batching.close()


def test_the_server_s_parameters_are_for_all_models(model, batching_of, tmp_path):
    (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 3 }")
    servable = batching_of(max_batch_size=2).wrap(model, tmp_path)
    with pytest.raises(InvalidArgumentError, match="larger than maximum input batch size 2"):
        run(servable, 1, 2, 3)


def test_a_model_s_own_parameters(model, batching_of, tmp_path):
    (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 3 }")
    servable = batching_of(max_batch_size=2, per_model=True).wrap(model, tmp_path)
    assert run(servable, 1, 2, 3)["y"].tolist() == [2, 3, 4]
    with pytest.raises(InvalidArgumentError, match="larger than maximum input batch size 3"):
        run(servable, 1, 2, 3, 4)


def test_a_model_without_parameters_of_its_own_is_left_alone(model, batching_of, tmp_path):
    assert batching_of(per_model=True).wrap(model, tmp_path) is model


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_size: 3", "Invalid protobuf file"),
        ("max_batch_size { value: 3 } allowed_batch_sizes: 2", "Last entry in allowed_batch_sizes must match"),
    ],
)
def test_a_model_with_wrong_parameters_is_not_loaded(model, batching_of, tmp_path, text, message):
    (tmp_path / "batching_params.pbtxt").write_text(text)
    with pytest.raises(InvalidArgumentError, match=message):
        batching_of(per_model=True).wrap(model, tmp_path)


def test_without_threads_there_is_no_batching():
    with pytest.raises(InvalidArgumentError, match="num_batch_threads must be positive; was 0"):
        Batching(BatchingParameters(num_batch_threads=0), per_model=False)
