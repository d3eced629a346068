import threading
import time

import numpy as np
import pytest
from ml_dtypes import bfloat16

from model_server.errors import (
    DataLossError,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    ResourceExhaustedError,
    ServingError,
)
from model_server.memory import MemoryBudget
from model_server.runtime.tflite import model as tflite_model
from model_server.runtime.tflite.interpreter import TfliteInterpreter
from model_server.runtime.tflite.model import InterpreterPool, TfliteModel
from tests.support.tflite_files import (
    Y,
    doubling_model,
    doubling_table,
    filling_model,
    model_without_a_subgraph,
    predict_signature,
    signature_table,
    string_picking_model,
)

X = np.float32([[1, 2], [3, 4], [5, 6]])
SOON_S = 0.01


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    def load(content, budget=2**31, interpreters=1):
        file = tmp_path_factory.mktemp("version") / "model.tflite"
        file.write_bytes(content)
        return TfliteModel(file, interpreters=interpreters, memory=MemoryBudget(budget))

    return load


@pytest.fixture(scope="module")
def model(load):
    return load(doubling_model(table=doubling_table()), interpreters=2)


def test_each_signature_computes_its_outputs(model):
    inputs = {"x": X, "n": np.int32([1, 2, 3])}

    both = model.run("both", inputs, ["m", "y"], None)

    assert list(both) == ["m", "y"]
    np.testing.assert_array_equal(both["y"], 2 * X)
    assert model.run("count", {"n": np.int32([4])}, ["m"], 10.0)["m"].tolist() == [8]


def test_many_calls_at_the_same_time_get_their_own_results(model):
    wrong = []

    def call(number):
        for rows in (1, 2, 3) * 20:
            y = model.run("serving_default", {"x": X[:rows] + number}, ["y"], 10.0)["y"]
            if not np.array_equal(y, 2 * (X[:rows] + number)):
                wrong.append(number)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.uint8, np.bool_, bfloat16, object])
def test_a_wrong_type_is_refused(model, dtype):
    array = np.array([[b"1", b"2"]], object) if dtype is object else X.astype(dtype)

    with pytest.raises(InvalidArgumentError, match="input x must be float32, the type of tensor x:0 in the file"):
        model.run("serving_default", {"x": array}, ["y"], None)


def test_a_signature_without_inputs_computes_the_inputs_of_earlier_calls(load):
    table = signature_table({"again": predict_signature({}, Y).SerializeToString()})

    y = load(doubling_model(table=table)).run("again", {}, ["y"], None)["y"]

    assert y.tolist() == [[0, 0]]


def test_strings_are_passed_with_all_their_bytes(load):
    model = load(string_picking_model())
    words = np.array([[b"a\0b\0", b""], ["\N{ROBOT FACE}".encode(), b"c"]], object)

    outputs = model.run("serving_default", {"words": words, "index": np.int32([2, 0])}, ["picked"], None)

    assert outputs["picked"].tolist() == [words[1, 0], words[0, 0]]


@pytest.mark.parametrize("shape", [(), (0, 2), (1, 1, 2)])
def test_an_unusual_shape_is_computed_or_refused_and_changes_nothing(model, shape):
    model.run("both", {"x": X, "n": np.int32([7])}, ["y"], None)

    try:
        y = model.run("serving_default", {"x": np.ones(shape, np.float32)}, ["y"], 30.0)["y"]
        assert (y == 2).all()
    except ServingError as error:
        assert error.message  # noqa: PT017  # LiteRT decides which of them it computes

    np.testing.assert_array_equal(model.run("serving_default", {"x": X}, ["y"], None)["y"], 2 * X)


def test_an_unusual_shape_respects_the_deadline(model):
    with pytest.raises(DeadlineExceededError):
        model.run("serving_default", {"x": np.ones(2, np.float32)}, ["y"], SOON_S)


def test_a_call_that_needs_more_than_an_interpreter_keeps_takes_it_from_the_budget(load, monkeypatch):
    monkeypatch.setattr(tflite_model, "RETAINED_BYTES", 100)
    model = load(doubling_model(table=doubling_table()), budget=1000)

    y = model.run(
        "serving_default",
        {
            "x": np.ones((20, 2), np.float32),
        },
        ["y"],
        None,
    )["y"]

    assert y.shape == (20, 2)
    with pytest.raises(ResourceExhaustedError, match="at most 1000 are accepted"):
        model.run("serving_default", {"x": np.ones((50, 2), np.float32)}, ["y"], None)


def test_an_output_that_values_make_large_is_not_kept(load, monkeypatch):
    monkeypatch.setattr(tflite_model, "RETAINED_BYTES", 100)
    model = load(filling_model())

    model.run("serving_default", {"size": np.int32([50]), "value": np.float32(2)}, ["filled"], None)

    filled = model.run("serving_default", {"size": np.int32([1])}, ["filled"], None)["filled"]
    assert filled.tolist() == [0]  # as at first: its memory was given back


def test_a_large_call_leaves_no_large_inputs_behind(load, monkeypatch):
    model = load(doubling_model(table=doubling_table()))
    model.run("count", {"n": np.int32([3])}, ["m"], None)
    monkeypatch.setattr(tflite_model, "RETAINED_BYTES", 0)

    model.run("serving_default", {"x": X}, ["y"], None)

    monkeypatch.undo()
    with model._pool.acquire(None) as interpreter:
        assert [array.tolist() for array in interpreter.run({}, ["y:0", "m:0"])] == [[[0, 0]], [0]]


def test_a_file_that_crashes_tflite_is_refused(load):
    with pytest.raises(DataLossError, match=r"TensorFlow Lite crashes on this file \(SIG\w+\).*The file is damaged"):
        load(model_without_a_subgraph())


def test_a_file_that_needs_too_much_memory_is_refused(load):
    with pytest.raises(ServingError) as failure:
        load(doubling_model(second_shape=(2**30, 16)), budget=2**20)

    assert failure.value.message.startswith(("TensorFlow Lite crashes on this file", "Cannot build Interpreter"))


def test_an_incomplete_file_is_refused(load):
    with pytest.raises(ServingError, match=r"Cannot build Interpreter from buffer\. The file is damaged") as failure:
        load(doubling_model()[:300])

    assert failure.value.code == 13


def test_a_damaged_table_is_refused(load):
    with pytest.raises(InvalidArgumentError, match="Invalid SignatureDefs found in TfLite model"):
        load(doubling_model(table=signature_table({"serving_default": b"\xff"})))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FailedPreconditionError, match=r"model\.tflite; No such file"):
        TfliteModel(tmp_path / "model.tflite", interpreters=1, memory=MemoryBudget(1))


def test_a_call_waits_for_a_free_interpreter_until_its_deadline():
    pool = InterpreterPool([TfliteInterpreter(doubling_model())])

    with pool.acquire(None):
        started_s = time.monotonic()
        with (
            pytest.raises(DeadlineExceededError, match="waiting for a TensorFlow Lite interpreter"),
            pool.acquire(0.05),
        ):
            pass
        assert time.monotonic() - started_s >= 0.05
        with pytest.raises(DeadlineExceededError), pool.acquire(0):
            pass

    with pool.acquire(0) as interpreter:
        assert interpreter is not None


def test_a_waiting_call_gets_the_interpreter_that_becomes_free():
    pool = InterpreterPool([TfliteInterpreter(doubling_model())])
    acquired = threading.Event()

    def wait():
        with pool.acquire(20):
            acquired.set()

    waiting = threading.Thread(target=wait)
    with pool.acquire(None):
        waiting.start()
        assert not acquired.is_set()
    waiting.join()
    assert acquired.is_set()


def test_an_error_returns_the_interpreter():
    pool = InterpreterPool([TfliteInterpreter(doubling_model())])

    with pytest.raises(ServingError), pool.acquire(None):
        raise ServingError("failed")

    with pool.acquire(0) as interpreter:
        assert interpreter is not None
