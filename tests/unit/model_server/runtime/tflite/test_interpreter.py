import numpy as np
import pytest

from model_server.errors import ServingError
from model_server.runtime.tflite.interpreter import TfliteInterpreter
from tests.support.tflite_files import doubling_model, filling_model

X = np.float32([[1, 2], [3, 4], [5, 6]])


@pytest.fixture(scope="module")
def content():
    return doubling_model()


@pytest.fixture
def interpreter(content):
    return TfliteInterpreter(content)


def test_inputs_and_outputs_are_those_of_the_file(interpreter):
    x, n = interpreter.inputs.values()

    assert (x.name, x.dtype, x.shape, x.shape_signature) == ("x:0", np.float32, (1, 2), (-1, 2))
    assert (n.name, n.dtype, n.shape, n.shape_signature) == ("n:0", np.int32, (1,), (-1,))
    assert list(interpreter.outputs) == ["y:0", "m:0"]


def test_inputs_are_resized_to_each_call(interpreter):
    for rows in (3, 1, 2):
        (y,) = interpreter.run({"x:0": X[:rows]}, ["y:0"])

        np.testing.assert_array_equal(y, 2 * X[:rows])


def test_inputs_that_are_not_fed_are_zero_at_first(interpreter):
    (m,) = interpreter.run({"x:0": X}, ["m:0"])

    assert m.tolist() == [0]


def test_inputs_that_are_not_fed_keep_bytes_and_shape(interpreter):
    interpreter.run({"n:0": np.int32([5, 6])}, [])

    for rows in (3, 1):
        (m,) = interpreter.run({"x:0": X[:rows]}, ["m:0"])

        assert m.tolist() == [10, 12]


def test_outputs_do_not_change_with_the_next_call(interpreter):
    (first,) = interpreter.run({"x:0": X}, ["y:0"])
    interpreter.run({"x:0": X + 1}, ["y:0"])

    np.testing.assert_array_equal(first, 2 * X)


def test_after_a_reset_all_inputs_are_as_at_first(interpreter):
    interpreter.run({"x:0": X, "n:0": np.int32([5, 6])}, [])

    interpreter.reset()

    y, m = interpreter.run({}, ["y:0", "m:0"])
    assert (y.tolist(), m.tolist()) == ([[0, 0]], [0])


def test_a_shape_that_cannot_be_allocated_fails_only_its_call(interpreter):
    interpreter.run({"x:0": X, "n:0": np.int32([5, 6])}, [])

    with pytest.raises(ServingError) as failure:
        interpreter.run({"x:0": np.zeros([1] * 9, np.float32)}, ["y:0"])

    assert failure.value.code == 13
    assert failure.value.message in ("Failed to allocate tensors", "Failed to invoke TfLite interpreter")
    y, m = interpreter.run({"x:0": X[:2]}, ["y:0", "m:0"])
    assert (y.tolist(), m.tolist()) == ((2 * X[:2]).tolist(), [10, 12])


def test_an_output_may_have_no_elements():
    interpreter = TfliteInterpreter(filling_model())

    for size in (0, 2, 0):
        (filled,) = interpreter.run({"size": np.int32([size]), "value": np.float32(3)}, ["filled"])

        assert (filled.dtype, filled.tolist()) == (np.float32, [3.0] * size)


def test_an_output_too_large_for_memory_fails_only_its_call():
    interpreter = TfliteInterpreter(filling_model())

    with pytest.raises(ServingError, match="Failed to invoke TfLite interpreter"):
        interpreter.run({"size": np.int32([-1]), "value": np.float32(3)}, ["filled"])

    (filled,) = interpreter.run({"size": np.int32([1])}, ["filled"])
    assert filled.tolist() == [3]


@pytest.mark.parametrize("dtype", ["resource", "variant"])
def test_an_input_of_an_unknown_type_is_refused(dtype):
    with pytest.raises(ServingError, match="Cannot write the inputs of the model"):
        TfliteInterpreter(filling_model(dtype=dtype))


def test_a_name_that_is_not_text_is_refused():
    with pytest.raises(ServingError, match="Input tensor names are not all UTF-8"):
        TfliteInterpreter(filling_model(name="\udcff"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "it is empty"), (b"\0" * 100, ""), (doubling_model()[:300], "")],
    ids=["empty", "zeros", "half"],
)
def test_a_damaged_file_is_refused(content, reason):
    with pytest.raises(ServingError) as failure:
        TfliteInterpreter(content)

    assert failure.value.code == 13
    assert failure.value.message.startswith("Cannot build Interpreter from buffer.")
    assert reason in failure.value.message


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("x", "x", "y", "m"), "Input tensor name: x has multiple indices"),
        (("x", "n", "y", "y"), "Output tensor name: y has multiple indices"),
    ],
)
def test_tensors_of_the_same_name_are_refused(names, message):
    with pytest.raises(ServingError) as failure:
        TfliteInterpreter(doubling_model(names=names))

    assert (failure.value.code, failure.value.message) == (6, message)
