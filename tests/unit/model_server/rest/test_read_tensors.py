import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_server.errors import InvalidArgumentError, ServingError, UnimplementedError
from model_server.rest.read_tensors import Format, read_inputs, read_signature_name
from tfs_api.protos import types_pb2

DTYPES = {
    "DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_BOOL": "bool", "DT_INT8": "int8", "DT_UINT8": "uint8",
    "DT_INT16": "int16", "DT_INT32": "int32", "DT_UINT32": "uint32", "DT_INT64": "int64", "DT_UINT64": "uint64",
}  # fmt: skip


def read(document, **types):
    layout, arrays = read_inputs(document, {name: types_pb2.DataType.Value(kind) for name, kind in types.items()})
    assert layout is (Format.ROW if "instances" in document else Format.COLUMNAR)
    return arrays


def refusal(document, **types):
    with pytest.raises(ServingError) as failure:
        read(document, **types)
    return failure.value.message


def documents(array):
    """Write an array in each format that means a single input `x`."""
    return (
        {"instances": array.tolist()},
        {"instances": [{"x": row} for row in array.tolist()]},
        {"inputs": array.tolist()},
        {"inputs": {"x": array.tolist(), "ignored": 1}},
    )


def test_a_type_that_tensorflow_does_not_have_is_refused():
    with pytest.raises(UnimplementedError, match="Conversion of JSON Value: 1 to type: 99"):
        read_inputs({"inputs": [1]}, {"x": 99})


@pytest.mark.parametrize("shape", [(2,), (1, 3), (2, 0), (2, 1, 3)])
def test_numbers_of_every_type_are_read_in_both_formats(shape):
    for kind, dtype in DTYPES.items():
        array = (np.arange(np.prod(shape, dtype=int)) % 2).reshape(shape).astype(dtype)
        for document in documents(array):
            decoded = read(document, x=kind)["x"]
            assert (decoded.dtype, decoded.shape) == (array.dtype, array.shape), document
            np.testing.assert_array_equal(decoded, array, err_msg=str(document))


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1))
def test_small_integers_wrap_around(numbers):
    for kind, dtype in (("DT_INT8", "int8"), ("DT_UINT8", "uint8"), ("DT_INT16", "int16")):
        np.testing.assert_array_equal(read({"instances": numbers}, x=kind)["x"], np.array(numbers).astype(dtype))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("DT_INT8", 2**31),
        ("DT_INT32", 2**31),
        ("DT_INT32", -(2**31) - 1),
        ("DT_UINT32", -1),
        ("DT_UINT32", 2**32),
        ("DT_INT64", 2**63),
        ("DT_UINT64", -1),
        ("DT_UINT64", 2**64),
        ("DT_INT32", 1.0),
        ("DT_INT32", True),
        ("DT_FLOAT", True),
        ("DT_FLOAT", "1"),
        ("DT_FLOAT", None),
        ("DT_BOOL", 1),
        ("DT_STRING", 5),
        ("DT_STRING", None),
        ("DT_FLOAT", {"b64": "AA=="}),
    ],
)
def test_values_of_the_wrong_type_are_refused(kind, value):
    name = kind.removeprefix("DT_").lower()
    assert refusal({"inputs": value}, x=kind).endswith(f" is not of expected type: {name}")
    message = refusal({"instances": [value]}, x=kind)
    assert message.startswith("Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: ")


def test_floats_accept_integers_and_overflow_to_infinity():
    np.testing.assert_array_equal(read({"inputs": [1, 2.5, 1e39]}, x="DT_FLOAT")["x"], np.float32([1, 2.5, np.inf]))
    assert read({"inputs": 2**70}, x="DT_DOUBLE")["x"] == 2.0**70


@pytest.mark.parametrize("kind", ["DT_HALF", "DT_BFLOAT16", "DT_UINT16", "DT_COMPLEX64"])
def test_unsupported_types_are_refused(kind):
    name = kind.removeprefix("DT_").lower()
    with pytest.raises(UnimplementedError, match=f"Conversion of JSON Value: 1.5 to type: {name}"):
        read({"inputs": [1.5]}, x=kind)
    message = refusal({"instances": [1.5]}, x=kind)
    assert message.endswith(f"Error: UNIMPLEMENTED: Conversion of JSON Value: 1.5 to type: {name}")


def test_strings_and_bytes():
    document = {"instances": ["a", "é", "\udcff", {"b64": "aGVsbG8="}]}
    assert read(document, x="DT_STRING")["x"].tolist() == [b"a", "é".encode(), b"\xff", b"hello"]
    assert read({"inputs": {"b64": "aGVsbG8="}}, x="DT_STRING")["x"].item() == b"hello"
    assert read({"inputs": {"x": {"b64": "aGVsbG8="}}}, x="DT_STRING")["x"].item() == b"hello"
    assert read({"instances": [[{"b64": ""}]]}, x="DT_STRING")["x"].tolist() == [[b""]]


@given(st.binary(), st.booleans())
def test_base64(data, padded):
    encoded = base64.b64encode(data).decode()
    document = {"inputs": {"b64": encoded if padded else encoded.rstrip("=")}}
    assert read(document, x="DT_STRING")["x"].item() == data


@pytest.mark.parametrize("encoded", ["aGVs bG8=", "aGVs\nbG8=", "aGVsbG9="])
def test_base64_with_white_space_or_spare_bits(encoded):
    assert read({"inputs": {"b64": encoded}}, x="DT_STRING")["x"].item() == b"hello"


@pytest.mark.parametrize("encoded", ["!!!!", "a", "_-8=", "aGVsbG8==", "=", "data:image/jpeg;base64,aGVsbG8=", "é"])
def test_invalid_base64_is_refused(encoded):
    assert refusal({"inputs": {"b64": encoded}}, x="DT_STRING") == "Unable to base64 decode"


def test_an_object_that_is_neither_bytes_nor_inputs_is_refused():
    message = refusal({"inputs": [{"b64": 5}]}, x="DT_STRING")
    assert message.endswith("not formatted correctly for base64 data")


def test_several_inputs():
    rows = [{"a": [1, 2], "b": 10}, {"a": [3, 4], "b": 20}]
    columns = {"a": [[1, 2], [3, 4]], "b": [10, 20]}
    for document in ({"instances": rows}, {"inputs": columns}):
        arrays = read(document, a="DT_FLOAT", b="DT_INT32")
        assert {name: array.tolist() for name, array in arrays.items()} == columns


ROW = "Failed to process element: "


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"instances": 1}, "JSON Value: {\n    \"instances\": 1\n} Expecting 'instances' to be an list/array"),
        ({"instances": []}, "JSON Value: {\n    \"instances\": []\n} No values in 'instances' array"),
        ({"instances": [{}]}, ROW + "0 of 'instances' list. JSON object: {} keys must be equal to: x"),
        (
            {"instances": [{"y": 1}]},
            ROW + "0 key: y of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not have named input: y",
        ),
        (
            {"instances": [{"x": 1}, {"x": "a"}]},
            ROW + "1 key: x of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: \"a\" Type: String is not of "
            "expected type: float",
        ),
        ({"instances": [{"x": 1}, 2]}, "Expecting object but got list at item 1 of input list"),
        ({"instances": [1, {"x": 2}]}, "Expecting value/list but got object at item 1 of input list"),
        (
            {"instances": [[1, 2], [3]]},
            ROW + "1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 2 but got: 1",
        ),
        (
            {"instances": [[[1]], [2]]},
            ROW + "1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [1,1] but got: [1]",
        ),
        (
            {"instances": [[1, [2]]]},
            ROW
            + "0 of 'instances' list. Error: INVALID_ARGUMENT: Encountered list at unexpected level: 1 expected < 1",
        ),
        (
            {"instances": [[[1], 2]]},
            ROW + "0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: 2 found at incorrect level: 2 in the "
            "JSON DOM. Expected at level: 2",
        ),
        ({"inputs": {}}, "Missing named input: x in 'inputs' object."),
        ({"inputs": None}, "JSON Value: null Type: Null is not of expected type: float"),
        ({"inputs": [[1, 2], [3]]}, "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ({"inputs": [False]}, "JSON Value: false Type: False is not of expected type: float"),
        ({"inputs": [[[[1]]] * 65]}, None),
    ],
)
def test_invalid_documents_are_refused(document, message):
    if message is None:
        nested = 1.0
        for _ in range(70):
            nested = [nested]
        document, message = {"inputs": nested}, "tensor parsing error: x"
    assert refusal(document, x="DT_FLOAT") == message


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"instances": [[1, 2]]},
            (
                "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
                "tensorinfo_map"
            ),
        ),
        (
            {"inputs": [[1, 2]]},
            (
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            ),
        ),
        (
            {"instances": [{"b": 1}]},
            ROW + "0 of 'instances' list. JSON object: {\n    \"b\": 1\n} keys must be equal to: a,b",
        ),
        ({"inputs": {"a": [1]}}, "Missing named input: b in 'inputs' object."),
    ],
)
def test_invalid_documents_for_two_inputs_are_refused(document, message):
    assert refusal(document, a="DT_FLOAT", b="DT_INT32") == message


def test_both_formats_at_once_are_refused():
    message = refusal({"instances": [1], "inputs": [1]}, x="DT_FLOAT")
    assert message.endswith("expecting only one of 'inputs' or 'instances' keys to exist ")


def test_signature_names():
    assert read_signature_name({"instances": [1]}) == ""
    assert read_signature_name({"signature_name": "a"}) == "a"
    with pytest.raises(InvalidArgumentError, match="JSON Value: \\[1\\] Is not object"):
        read_signature_name([1])
    with pytest.raises(InvalidArgumentError, match="'signature_name' key must be a string value"):
        read_signature_name({"signature_name": 5})
