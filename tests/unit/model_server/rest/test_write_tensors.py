import json

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_server.errors import InvalidArgumentError
from model_server.rest.read_tensors import Format
from model_server.rest.write_tensors import write_outputs

ROW, COLUMNAR = Format.ROW, Format.COLUMNAR


def write(layout, **outputs):
    text = write_outputs(layout, {name: np.asarray(array) for name, array in outputs.items()})
    return json.loads(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


@pytest.mark.parametrize("shape", [(3,), (0,), (2, 3), (2, 0), (0, 2), (1, 2, 1, 2)])
def test_numbers_of_every_type_are_written(shape):
    for dtype in ("int8", "uint8", "int16", "int32", "uint32", "int64", "uint64", "bool", "float64"):
        array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
        assert write(ROW, y=array) == {"predictions": array.tolist()}, dtype
        assert write(COLUMNAR, y=array) == {"outputs": array.tolist()}, dtype


def test_lines_and_indents_are_those_of_tensorflow_serving():
    outputs = {"b": np.float32([[1, 2]]), "a": np.int32([7])}
    assert write_outputs(ROW, {"y": np.float32([2.5, 3])}) == '{\n    "predictions": [2.5, 3.0\n    ]\n}'
    assert json.loads(write_outputs(ROW, outputs)) == {"predictions": [{"b": [1.0, 2.0], "a": 7}]}
    assert json.loads(write_outputs(COLUMNAR, outputs)) == {"outputs": {"b": [[1.0, 2.0]], "a": [7]}}


def test_scalars():
    assert write(COLUMNAR, y=np.float32(2.5)) == {"outputs": 2.5}
    with pytest.raises(InvalidArgumentError, match="Tensor name: y has no shape information "):
        write(ROW, y=np.float32(2.5))


def test_outputs_with_different_numbers_of_rows_are_refused():
    with pytest.raises(InvalidArgumentError, match="Tensor name: b has inconsistent batch size: 3 expecting: 2"):
        write(ROW, a=np.zeros(2), b=np.zeros(3))
    assert write(COLUMNAR, a=np.zeros(1), b=np.zeros(2)) == {"outputs": {"a": [0.0], "b": [0.0, 0.0]}}


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0.0"), (-0.0, "-0.0"), (1.0, "1.0"), (0.1, "0.1"), (100000.0, "100000.0"), (1000000.0, "1e+06"),
        (1234567.0, "1234567.0"), (123456.7, "123456.703"), (1e-5, "1e-05"), (3.4028235e38, "3.40282347e+38"),
        (0.333333343, "0.333333343"), (1e-45, "0.0"), (1.17549435e-38, "1.17549435e-38"),
        (np.nan, "NaN"), (np.inf, "Infinity"), (-np.inf, "-Infinity"),
    ],
)  # fmt: skip
def test_float32_as_tensorflow_serving_writes_it(number, text):
    assert write_outputs(COLUMNAR, {"y": np.float32(number)}) == f'{{\n    "outputs": {text}\n}}'


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.1, "0.1"), (0.30000000000000004, "0.30000000000000004"), (1e15, "1e+15"), (123456789.0, "123456789.0"),
        (9007199254740992.0, "9007199254740992.0"), (5e-324, "0.0"), (0.3333333333333333, "0.33333333333333331"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
    ],
)  # fmt: skip
def test_float64_as_tensorflow_serving_writes_it(number, text):
    assert write_outputs(COLUMNAR, {"y": np.float64(number)}) == f'{{\n    "outputs": {text}\n}}'


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False)))
def test_float32_round_trips(numbers):
    back = np.float32(write(ROW, y=np.array(numbers, np.float32))["predictions"])
    np.testing.assert_array_equal(back, np.float32(numbers))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)))
def test_float64_round_trips(numbers):
    assert write(ROW, y=np.array(numbers, np.float64))["predictions"] == numbers


def test_strings_and_bytes():
    strings = np.array(["é".encode(), b'"\n', b"\xff"], object)
    text = write_outputs(ROW, {"y": strings}).encode("utf-8", "surrogateescape")
    assert text == '{\n    "predictions": ["é", "\\"\\n", "'.encode() + b'\xff"\n    ]\n}'
    assert write(ROW, y_bytes=strings[:1]) == {"predictions": [{"b64": "w6k="}]}


@pytest.mark.parametrize(
    ("dtype", "name"),
    [("float16", "half"), ("complex64", "complex64"), ("uint16", "uint16"), (ml_dtypes.bfloat16, "bfloat16")],
)
@pytest.mark.parametrize("layout", [ROW, COLUMNAR])
def test_types_without_a_json_form_are_refused(layout, dtype, name):
    with pytest.raises(InvalidArgumentError, match=f"Failed to write JSON value for tensor type: {name}"):
        write_outputs(layout, {"y": np.zeros(1, dtype)})
