"""Arrays and protos are converted as by TensorFlow's `make_tensor_proto` and `make_ndarray`."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfs_api.output_tensors import to_typed_tensor_proto
from tfs_api.protos import tensor_pb2, types_pb2
from tfs_api.tensors import TensorProto, from_tensor_proto, to_tensor_proto

tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

DTYPES = {
    "DT_BOOL": "bool", "DT_INT8": "int8", "DT_UINT8": "uint8", "DT_INT16": "int16", "DT_UINT16": "uint16",
    "DT_INT32": "int32", "DT_UINT32": "uint32", "DT_INT64": "int64", "DT_UINT64": "uint64",
    "DT_HALF": "float16", "DT_FLOAT": "float32", "DT_DOUBLE": "float64",
    "DT_COMPLEX64": "complex64", "DT_COMPLEX128": "complex128",
}  # fmt: skip
SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
NUMBERS = st.sampled_from(sorted(DTYPES.values())).flatmap(lambda dtype: arrays.arrays(dtype, SHAPES))
STRINGS = arrays.arrays(object, SHAPES, elements=st.binary(max_size=200))


def assert_same(ours: np.ndarray, theirs: np.ndarray):
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    np.testing.assert_array_equal(ours, theirs)


@given(NUMBERS | STRINGS)
def test_tensorflow_decodes_our_protos(array: np.ndarray):
    assert_same(tf.make_ndarray(to_tensor_proto(array)), array)
    assert_same(tf.make_ndarray(to_typed_tensor_proto(array)), array)


@given(NUMBERS | STRINGS)
def test_protos_of_tensorflow_are_decoded(array: np.ndarray):
    assert_same(from_tensor_proto(tf.make_tensor_proto(array)), array)


@given(NUMBERS)
def test_protos_equal_those_of_tensorflow(array: np.ndarray):
    theirs = tf.make_tensor_proto(array)

    if theirs.tensor_content:  # TensorFlow uses a typed field for less than two elements
        assert to_tensor_proto(array) == theirs
    else:
        assert_same(from_tensor_proto(to_typed_tensor_proto(array)), tf.make_ndarray(theirs))


@st.composite
def short_typed_protos(draw: st.DrawFn) -> TensorProto:
    """Draw protos with fewer values than elements; the last value stands for the rest."""
    name = draw(st.sampled_from(sorted(DTYPES)))
    shape = draw(SHAPES)
    elements = draw(arrays.arrays(DTYPES[name], st.integers(0, int(np.prod(shape, dtype=int)))))
    proto = to_typed_tensor_proto(elements)
    del proto.tensor_shape.dim[:]
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


@given(short_typed_protos())
def test_missing_values_are_filled_as_by_tensorflow(proto: TensorProto):
    assert_same(from_tensor_proto(proto), tf.make_ndarray(proto))


@given(arrays.arrays("float32", SHAPES))
def test_bfloat16_is_converted_in_both_directions(array: np.ndarray):
    as_bfloat16 = array.astype(tf.bfloat16.as_numpy_dtype)

    theirs = tf.make_tensor_proto(as_bfloat16)
    ours = to_tensor_proto(as_bfloat16)

    assert_same(from_tensor_proto(theirs), as_bfloat16.astype(np.float32))
    assert ours.dtype == types_pb2.DT_BFLOAT16
    np.testing.assert_array_equal(
        tf.make_ndarray(ours).view(np.uint16), np.ascontiguousarray(as_bfloat16).view(np.uint16)
    )


@given(STRINGS)
def test_strings_in_tensor_content_are_decoded(array: np.ndarray):
    """No function of TensorFlow's Python API encodes them; the layout is that of EncodeStringList."""
    lengths = b"".join(
        bytes([len(item)]) if len(item) < 128 else bytes([len(item) & 127 | 128, len(item) >> 7])
        for item in array.ravel()
    )
    proto = to_tensor_proto(array)
    proto.tensor_content = lengths + b"".join(array.ravel())

    assert_same(from_tensor_proto(proto), array)
    assert isinstance(proto, tensor_pb2.TensorProto)
