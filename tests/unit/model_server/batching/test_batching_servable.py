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
FOREVER_MICROS = 10**10


def floats(*values):
    return np.array(values, np.float32)


class Model:
    """Computes y = x + 1 and z = 10 x, and outputs of wrong shapes; can be paused."""

    def __init__(self, signature_def):
        vector = ("DT_FLOAT", [-1])
        ends = {"x": vector}, dict.fromkeys(("y", "z", "sum", "twice"), vector)
        self.signatures = {"serving_default": signature_def(*ends), "other": signature_def(*ends)}
        self.calls = []
        self.changed = threading.Condition()
        self.may_finish = threading.Event()
        self.may_finish.set()
        self.error = None
        self.closed = False

    def run(self, signature, inputs, outputs, timeout_s):
        with self.changed:
            self.calls.append((signature, inputs, tuple(outputs), timeout_s))
            self.changed.notify_all()
        assert self.may_finish.wait(LIMIT_S)
        assert not self.closed
        if self.error:
            raise self.error
        x = inputs["x"]
        results = {"y": x + 1, "z": x * 10, "sum": x.sum(), "twice": np.concatenate([x, x])}
        return {alias: results[alias] for alias in outputs}

    def close(self):
        self.closed = True

    def wait_for(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.calls) >= count, LIMIT_S)

    def pause(self):
        self.may_finish.clear()

    def resume(self):
        self.may_finish.set()

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
    model.resume()
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


def test_calls_are_computed_together_and_each_gets_its_own_rows(model, batched, pool):
    servable = batched(max_batch_size=4, batch_timeout_micros=FOREVER_MICROS)
    futures = [pool.submit(run, servable, *values) for values in ([1], [2, 3], [4])]
    assert [future.result(LIMIT_S)["y"].tolist() for future in futures] == [[2], [3, 4], [5]]
    assert model.rows == [4]


def test_signatures_and_outputs_are_not_mixed(model, batched, pool):
    servable = batched(max_batch_size=2, batch_timeout_micros=FOREVER_MICROS)
    keys = [
        ("serving_default", ("y",)),
        ("serving_default", ("z",)),
        ("serving_default", ("y", "z")),
        ("other", ("y",)),
    ]
    futures = [
        pool.submit(run, servable, 1, signature=signature, outputs=outputs)
        for signature, outputs in [*keys, *keys, ("other", ("z", "y")), ("other", ("y", "z"))]
    ]
    for future in futures:
        future.result(LIMIT_S)
    assert model.rows == [2] * 5
    assert {(signature, frozenset(outputs)) for signature, _, outputs, _ in model.calls} == {
        *((signature, frozenset(outputs)) for signature, outputs in keys),
        ("other", frozenset({"y", "z"})),
    }


def test_a_failure_affects_only_the_calls_of_its_batch(model, batched, pool):
    servable = batched(max_batch_size=2, batch_timeout_micros=FOREVER_MICROS)
    model.error = ServingError("index out of range", Code.OUT_OF_RANGE)
    errors = [future.exception(LIMIT_S) for future in [pool.submit(run, servable, value) for value in (1, 2)]]
    assert [(error.code, error.message) for error in errors] == [(Code.OUT_OF_RANGE, "index out of range")] * 2
    assert errors[0] is not errors[1]
    model.error = None
    assert run(servable, 5, 6)["y"].tolist() == [6, 7]


def test_an_unexpected_error_is_logged_but_not_shown_to_the_caller(model, batched, caplog):
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
def test_outputs_that_cannot_be_split_are_refused(batched, output, message):
    with pytest.raises(ServingError) as failure:
        run(batched(), 1, 2, outputs=(output,))
    assert (failure.value.code, failure.value.message) == (Code.FAILED_PRECONDITION, message)


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
def test_inputs_that_cannot_be_batched_are_refused(model, batched, inputs, message):
    with pytest.raises(InvalidArgumentError) as failure:
        batched().run("serving_default", inputs, ("y",), None)
    assert failure.value.message == message
    assert not model.calls


def test_rows_are_counted():
    assert count_rows({"a": np.zeros((3, 2)), "b": np.zeros(3)}) == 3


def test_too_many_rows_are_refused(batched):
    with pytest.raises(InvalidArgumentError, match="Task size 3 is larger than maximum input batch size 2"):
        run(batched(max_batch_size=2), 1, 2, 3)


def test_a_full_queue_refuses_new_calls_and_answers_the_others(model, batched, pool):
    servable = batched(max_batch_size=1, max_enqueued_batches=2)
    model.pause()
    first = pool.submit(run, servable, 1)
    model.wait_for(1)
    waiting = {pool.submit(run, servable, 1) for _ in range(7)}
    refused = set()
    while len(refused) < 5:
        done, waiting = concurrent.futures.wait(waiting, LIMIT_S, concurrent.futures.FIRST_COMPLETED)
        assert done
        refused |= done
    assert {type(future.exception()) for future in refused} == {UnavailableError}
    model.resume()
    assert [future.result(LIMIT_S)["y"].tolist() for future in {first, *waiting}] == [[2]] * 3


def test_a_batch_is_padded_to_an_allowed_size_and_cut_back(model, batched):
    servable = batched(max_batch_size=4, allowed_batch_sizes=(2, 4))
    assert run(servable, 1)["y"].tolist() == [2]
    assert run(servable, 1, 2, 3)["y"].tolist() == [2, 3, 4]
    assert [inputs["x"].tolist() for _, inputs, _, _ in model.calls] == [[1, 1], [1, 2, 3, 1]]


def test_a_large_call_is_split_and_reassembled(model, batched):
    servable = batched(max_batch_size=10, max_execution_batch_size=4, enable_large_batch_splitting=True, threads=2)
    outputs = run(servable, *range(10), outputs=("y", "z"))
    assert outputs["y"].tolist() == list(range(1, 11))
    assert outputs["z"].tolist() == list(range(0, 100, 10))
    assert sorted(model.rows) == [2, 4, 4]


def test_the_failure_of_a_part_fails_the_call(model, batched):
    servable = batched(max_batch_size=10, max_execution_batch_size=4, enable_large_batch_splitting=True)
    model.error = ServingError("index out of range", Code.OUT_OF_RANGE)
    with pytest.raises(ServingError, match="index out of range"):
        run(servable, *range(10))


def test_the_batch_has_the_latest_deadline_of_its_calls(model, batched, pool):
    servable = batched(max_batch_size=2, batch_timeout_micros=FOREVER_MICROS)
    for timeouts_s in ((50, 1000), (50, None)):
        for future in [pool.submit(run, servable, 1, timeout_s=timeout_s) for timeout_s in timeouts_s]:
            future.result(LIMIT_S)
    assert 900 < model.calls[0][3] <= 1000
    assert model.calls[1][3] is None


def submit(servable, *values):
    """Submit a call without waiting for its result."""
    call = Call({"x": floats(*values)}, len(values), deadline_s=None)
    servable._scheduler.submit(servable._queue("serving_default", ("y",)), call)
    return call


def test_a_call_that_times_out_during_the_computation_does_not_affect_others(model, batched):
    servable = batched(max_batch_size=2, batch_timeout_micros=FOREVER_MICROS)
    model.pause()
    patient, impatient = submit(servable, 1), submit(servable, 2)
    model.wait_for(1)
    impatient.deadline_s = 0.0
    with pytest.raises(DeadlineExceededError, match="Timed out waiting for notification"):
        impatient.result()
    model.resume()
    assert patient.result()["y"].tolist() == [2]


def test_a_call_that_times_out_in_the_queue_is_dropped_from_the_batch(model, batched, pool):
    servable = batched()
    model.pause()
    busy = pool.submit(run, servable, 1)
    model.wait_for(1)
    patient = pool.submit(run, servable, 2)
    with pytest.raises(ResourceExhaustedError, match="timeout exceeded while waiting in batching queue"):
        run(servable, 3, timeout_s=0.01)
    model.resume()
    assert [future.result(LIMIT_S)["y"].tolist() for future in (busy, patient)] == [[2], [3]]
    assert model.rows == [1, 1]


def test_a_batch_whose_calls_have_all_timed_out_is_not_computed(model, batched, pool):
    servable = batched()
    model.pause()
    busy = pool.submit(run, servable, 1)
    model.wait_for(1)
    with pytest.raises(ResourceExhaustedError):
        run(servable, 3, timeout_s=0)
    model.resume()
    busy.result(LIMIT_S)
    servable.close()
    assert model.rows == [1]


def test_closing_waits_for_the_batch_of_a_call_that_timed_out(model, batched, pool):
    servable = batched()
    model.pause()
    submit(servable, 1)
    model.wait_for(1)
    closing = pool.submit(servable.close)
    model.resume()  # a model that is closed too early fails
    closing.result(LIMIT_S)
    assert model.closed


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    threads=st.integers(1, 3),
    splitting=st.booleans(),
    allowed=st.sampled_from([(), (9,), (1, 3, 9)]),
)
def test_batched_results_equal_unbatched_ones(signature_def, sizes, threads, splitting, allowed):
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
        results = list(pool.map(lambda values: run(servable, *values)["y"].tolist(), calls))
    scheduler.close()
    assert results == [[value + 1 for value in values] for values in calls]


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


def test_the_padding_is_the_first_row_of_the_last_call():
    assert merge([floats(1), floats(2, 3)], name="x:0", repeat_last=2).tolist() == [1, 2, 3, 2, 2]


def test_rows_of_different_shape_are_refused_without_padding():
    with pytest.raises(FailedPreconditionError) as failure:
        merge([np.zeros((1, 2)), np.zeros((1, 3))], name="x:0")
    assert failure.value.message == (
        "Tensors with name 'x:0' from different tasks have different shapes and padding is turned off. Set "
        "pad_variable_length_inputs to true, or ensure that all tensors with the same name have equal dimensions "
        "starting with the first dim."
    )


def test_padding_is_weighed_before_it_is_made():
    arrays = [np.zeros((1, 1_000_000), np.float32), np.zeros((40, 1), np.float32)]

    with pytest.raises(
        ResourceExhaustedError, match="Tensors with name 'x:0', padded to the same shape, take 164000000"
    ):
        merge(arrays, name="x:0", pad=True)


def test_padding_repeats_the_first_element_at_the_end():
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
def test_arrays_that_cannot_be_padded_are_refused(arrays, message):
    with pytest.raises(ServingError) as failure:
        merge(arrays, name="x:0", pad=True)
    assert failure.value.message == message


def test_different_types_are_not_converted():
    with pytest.raises(ServingError, match=r"INTERNAL: .*different data types. Got float32 and float64\."):
        merge([floats(1), np.zeros(1)], name="x:0")


@pytest.fixture
def batching_of():
    batchings = []

    def make(*, per_model=False, **parameters):
        batchings.append(Batching(BatchingParameters(**parameters), per_model=per_model))
        return batchings[-1]

    yield make
    for batching in batchings:
        batching.close()


def test_the_servers_parameters_apply_to_all_models(model, batching_of, tmp_path):
    (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 3 }")
    servable = batching_of(max_batch_size=2).wrap(model, tmp_path)
    with pytest.raises(InvalidArgumentError, match="larger than maximum input batch size 2"):
        run(servable, 1, 2, 3)


def test_a_models_own_parameters_apply_to_it(model, batching_of, tmp_path):
    (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 3 }")
    servable = batching_of(max_batch_size=2, per_model=True).wrap(model, tmp_path)
    assert run(servable, 1, 2, 3)["y"].tolist() == [2, 3, 4]
    with pytest.raises(InvalidArgumentError, match="larger than maximum input batch size 3"):
        run(servable, 1, 2, 3, 4)


def test_a_model_without_parameters_of_its_own_does_not_batch(model, batching_of, tmp_path):
    assert batching_of(per_model=True).wrap(model, tmp_path) is model


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_size: 3", "Invalid protobuf file"),
        ("max_batch_size { value: 3 } allowed_batch_sizes: 2", "Last entry in allowed_batch_sizes must match"),
    ],
)
def test_a_model_with_invalid_parameters_is_not_loaded(model, batching_of, tmp_path, text, message):
    (tmp_path / "batching_params.pbtxt").write_text(text)
    with pytest.raises(InvalidArgumentError, match=message):
        batching_of(per_model=True).wrap(model, tmp_path)


def test_batching_without_threads_is_refused():
    with pytest.raises(InvalidArgumentError, match="num_batch_threads must be positive; was 0"):
        Batching(BatchingParameters(num_batch_threads=0), per_model=False)
