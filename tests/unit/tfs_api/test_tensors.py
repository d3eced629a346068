from collections.abc import Callable
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest

from tfs_api.output_tensors import to_content_tensor_proto, to_typed_tensor_proto
from tfs_api.protos import tensor_pb2, types_pb2
from tfs_api.tensors import MAX_TENSOR_BYTES, TensorError, TensorProto, from_tensor_proto, to_tensor_proto

Encode = Callable[[npt.ArrayLike], TensorProto]

FIXED_SIZE = [
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
    "float16", "float32", "float64", "complex64", "complex128",
]  # fmt: skip


def tensor(dtype: str, shape: list[int], **fields: object) -> TensorProto:
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DataType.Value(dtype), **fields)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def assert_same(decoded: np.ndarray, array: npt.ArrayLike, case: str = ""):
    array = np.asarray(array)
    assert (decoded.dtype, decoded.shape) == (array.dtype, array.shape), case
    np.testing.assert_array_equal(decoded, array, case)


@pytest.mark.parametrize("encode", [to_tensor_proto, to_typed_tensor_proto, to_content_tensor_proto])
def test_arrays_of_every_type_and_shape_are_decoded_as_they_were_encoded(encode: Encode):
    for dtype, shape in product(FIXED_SIZE, [(), (0,), (3,), (2, 0, 3), (2, 3)]):
        array = (np.arange(np.prod(shape, dtype=int)) - 1).reshape(shape).astype(dtype)

        decoded = from_tensor_proto(encode(array))

        assert_same(decoded, array, f"{dtype}{list(shape)}")


@pytest.mark.parametrize("lengths", [[], [0], [1, 0, 2], [127, 128, 16_383, 16_384]])
def test_strings_in_tensor_content_are_decoded_as_they_were_encoded(lengths: list[int]):
    strings = np.array([b"\xff" * length for length in lengths], object)

    proto = to_content_tensor_proto(strings)

    assert list(proto.string_val) == []
    assert_same(from_tensor_proto(proto), strings)


def test_strings_in_tensor_content_are_all_lengths_and_then_all_bytes():
    proto = to_content_tensor_proto(np.array([b"a", b"b" * 200], object))

    assert proto == tensor("DT_STRING", [2], tensor_content=b"\x01\xc8\x01a" + b"b" * 200)


def test_fixed_size_elements_go_to_tensor_content():
    proto = to_tensor_proto(np.array([[1.0, 2.0]], np.float32))

    assert proto == tensor("DT_FLOAT", [1, 2], tensor_content=b"\0\0\x80?\0\0\0@")


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([1, -1], np.int8), tensor("DT_INT8", [2], int_val=[1, -1])),
        (np.array([1.0, -2.0], np.float16), tensor("DT_HALF", [2], half_val=[0x3C00, 0xC000])),
        (np.array([1 + 2j], np.complex64), tensor("DT_COMPLEX64", [1], scomplex_val=[1, 2])),
        (np.array([True]), tensor("DT_BOOL", [1], bool_val=[True])),
        (np.array([2**64 - 1], np.uint64), tensor("DT_UINT64", [1], uint64_val=[2**64 - 1])),
        (np.array(["ä", b"\xff"], object), tensor("DT_STRING", [2], string_val=[b"\xc3\xa4", b"\xff"])),
    ],
)
def test_elements_go_to_the_typed_field_of_their_type(array: np.ndarray, expected: TensorProto):
    assert to_typed_tensor_proto(array) == expected


def test_values_of_non_contiguous_and_big_endian_arrays_are_preserved():
    array = np.arange(24, dtype=">i4").reshape(2, 3, 4).transpose(2, 0, 1)[::-1]

    for encode in (to_tensor_proto, to_typed_tensor_proto):
        assert_same(from_tensor_proto(encode(array)), array.astype("=i4"))


@pytest.mark.parametrize(
    "strings", [np.array([b"a", b""]), np.array(["a", ""]), np.array([b"a", ""], object), [b"a", b""]]
)
def test_strings_are_decoded_to_bytes(strings: npt.ArrayLike):
    decoded = from_tensor_proto(to_tensor_proto(strings))

    assert decoded.dtype == object
    assert decoded.tolist() == [b"a", b""]


def test_zero_bytes_at_the_end_of_a_string_are_preserved_in_an_object_array():
    decoded = from_tensor_proto(to_tensor_proto(np.array(b"jpeg\0\0", object)))

    assert decoded.item() == b"jpeg\0\0"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("count", [3, 40, 3000])  # the length takes one, two and three bytes
def test_numbers_followed_by_other_fields_are_decoded(dtype: str, count: int):
    array = np.arange(count).astype(dtype) / 7
    alone, followed = to_typed_tensor_proto(array), to_typed_tensor_proto(array)
    followed.string_val.append(b"\x2a\x0c and others")
    unknown = to_typed_tensor_proto(array)
    unknown.MergeFromString(b"\xa2\x06\x04what")  # field 100

    for proto in (alone, followed, unknown):
        assert_same(from_tensor_proto(proto), array)


def test_bfloat16_is_decoded_to_float32():
    one_and_a_half, minus_two = 0x3FC0, 0xC000
    typed = tensor("DT_BFLOAT16", [2], half_val=[one_and_a_half, minus_two])
    content = tensor("DT_BFLOAT16", [2], tensor_content=b"\xc0\x3f\x00\xc0")

    for proto in (typed, content):
        assert_same(from_tensor_proto(proto), np.array([1.5, -2.0], np.float32))


@pytest.mark.parametrize("array", [[1.5, -2.0], [[1.5], [-2.0]], 1.5, np.zeros([0, 2])])
@pytest.mark.parametrize("encode", [to_tensor_proto, to_typed_tensor_proto])
def test_bfloat16_of_ml_dtypes_is_encoded(array: npt.ArrayLike, encode: Encode):
    ml_dtypes = pytest.importorskip("ml_dtypes")

    proto = encode(np.array(array, ml_dtypes.bfloat16))

    assert proto.dtype == types_pb2.DT_BFLOAT16
    assert_same(from_tensor_proto(proto), np.array(array, np.float32))


@pytest.mark.parametrize(
    ("proto", "expected"),
    [
        (tensor("DT_FLOAT", [3], float_val=[1]), np.float32([1, 1, 1])),
        (tensor("DT_FLOAT", [3], float_val=[1, 2]), np.float32([1, 2, 2])),
        (tensor("DT_FLOAT", [1], float_val=[1, 2]), np.float32([1])),
        (tensor("DT_FLOAT", [2]), np.float32([0, 0])),
        (tensor("DT_FLOAT", [0]), np.float32([])),
        (tensor("DT_FLOAT", [2], int_val=[7]), np.float32([0, 0])),
        (tensor("DT_FLOAT", [], float_val=[3]), np.float32(3)),
        (tensor("DT_FLOAT", [1], float_val=[5], tensor_content=b"\0\0\x80?"), np.float32([1])),
        (tensor("DT_UINT8", [2], int_val=[257, -1]), np.uint8([1, 255])),
        (tensor("DT_COMPLEX64", [2], scomplex_val=[1, 2]), np.complex64([1 + 2j, 1 + 2j])),
        (tensor("DT_COMPLEX64", [1], scomplex_val=[1, 2, 3]), np.complex64([1 + 2j])),
        (tensor("DT_BOOL", [3], tensor_content=b"\0\1\2"), np.array([False, True, True])),
        (tensor("DT_STRING", [2], string_val=[b"a"]), np.array([b"a", b"a"], object)),
        (tensor("DT_STRING", [1], string_val=[b"a", b"b"]), np.array([b"a"], object)),
        (tensor("DT_STRING", [2]), np.array([b"", b""], object)),
        (tensor("DT_STRING", [2], tensor_content=b"\1\2abc"), np.array([b"a", b"bc"], object)),
    ],
)
def test_fields_are_decoded_as_by_tensorflow_serving(proto: TensorProto, expected: np.ndarray):
    assert_same(from_tensor_proto(proto), expected)


def test_string_content_with_a_length_of_two_bytes_is_decoded():
    decoded = from_tensor_proto(tensor("DT_STRING", [1], tensor_content=b"\x80\x01" + b"x" * 128))

    assert decoded.tolist() == [b"x" * 128]


def test_unknown_rank_is_a_scalar():
    proto = tensor("DT_FLOAT", [], float_val=[1])
    proto.tensor_shape.unknown_rank = True

    assert_same(from_tensor_proto(proto), np.float32(1))


def unknown_rank_with_dimensions():
    proto = tensor("DT_FLOAT", [1], float_val=[1])
    proto.tensor_shape.unknown_rank = True
    return proto


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (tensor("DT_FLOAT", [3], tensor_content=b"\0\0\0\0"), "has 4 bytes, its shape needs 12"),
        (tensor("DT_FLOAT", [0], tensor_content=b"\0\0\0\0"), "has 4 bytes, its shape needs 0"),
        (tensor("DT_FLOAT", [-1], float_val=[1]), "negative dimension"),
        (tensor("DT_FLOAT", [10**12], float_val=[1]), "larger than"),
        (tensor("DT_FLOAT", [2**62, 4], float_val=[1]), "larger than"),
        (tensor("DT_FLOAT", [0, 2**62]), "larger than"),
        (tensor("DT_STRING", [10**12], string_val=[b"a"]), "larger than"),
        (tensor("DT_UINT8", [MAX_TENSOR_BYTES + 1], int_val=[1]), "larger than"),
        (tensor("DT_FLOAT", [1] * 65, float_val=[1]), "rank 65"),
        (tensor("DT_INVALID", [1], float_val=[1]), "DT_INVALID"),
        (tensor("DT_VARIANT", [1]), "DT_VARIANT"),
        (tensor_pb2.TensorProto(dtype=12345), "12345"),
        (unknown_rank_with_dimensions(), "unknown rank"),
        (tensor("DT_STRING", [2], tensor_content=b"\1"), "ends within the lengths"),
        (tensor("DT_STRING", [1], tensor_content=b"\x80\x80\x80\x80\x80\x80"), "ends within the lengths"),
        (tensor("DT_STRING", [1], tensor_content=b"\1ab"), "has 3 bytes, its strings need 2"),
    ],
)
def test_protos_that_do_not_describe_a_tensor_are_rejected(proto: TensorProto, message: str):
    with pytest.raises(TensorError, match=message):
        from_tensor_proto(proto)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array(["2026-01-01"], "datetime64[D]"), "datetime64"),
        (np.array([None]), "NoneType"),
        (np.array([1], [("a", "i4")]), "cannot be sent"),
    ],
)
@pytest.mark.parametrize("encode", [to_tensor_proto, to_typed_tensor_proto])
def test_elements_of_unsupported_types_are_rejected(encode: Encode, array: np.ndarray, message: str):
    with pytest.raises(TensorError, match=message):
        encode(array)
