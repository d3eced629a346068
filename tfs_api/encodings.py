"""How a TensorProto lays out the elements of each data type."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from tfs_api.protos import tensor_pb2, types_pb2


class TensorError(ValueError):
    """A TensorProto that does not describe a tensor, or an array that no TensorProto can hold."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the elements of one data type are laid out in a TensorProto.

    Attributes:
        data_type: Number in the enum DataType.
        field: Name of the typed field.
        content: dtype of the elements in `tensor_content`, little-endian.
        packed: dtype of the elements in the typed field: the smallest types are widened to int32, a complex number
            is two floating-point numbers.
    """

    data_type: int
    field: str
    content: np.dtype[Any]
    packed: np.dtype[Any]


def _encoding(data_type: str, field: str, content: str, packed: str) -> Encoding:
    return Encoding(types_pb2.DataType.Value(data_type), field, np.dtype(content), np.dtype(packed))


_ENCODINGS = (
    _encoding("DT_BOOL", "bool_val", "?", "?"),
    _encoding("DT_INT8", "int_val", "<i1", "<i4"),
    _encoding("DT_UINT8", "int_val", "<u1", "<i4"),
    _encoding("DT_INT16", "int_val", "<i2", "<i4"),
    _encoding("DT_UINT16", "int_val", "<u2", "<i4"),
    _encoding("DT_INT32", "int_val", "<i4", "<i4"),
    _encoding("DT_UINT32", "uint32_val", "<u4", "<u4"),
    _encoding("DT_INT64", "int64_val", "<i8", "<i8"),
    _encoding("DT_UINT64", "uint64_val", "<u8", "<u8"),
    _encoding("DT_HALF", "half_val", "<f2", "<i4"),
    _encoding("DT_FLOAT", "float_val", "<f4", "<f4"),
    _encoding("DT_DOUBLE", "double_val", "<f8", "<f8"),
    _encoding("DT_COMPLEX64", "scomplex_val", "<c8", "<f4"),
    _encoding("DT_COMPLEX128", "dcomplex_val", "<c16", "<f8"),
)
BFLOAT16 = _encoding("DT_BFLOAT16", "half_val", "<u2", "<i4")
BY_DATA_TYPE = {encoding.data_type: encoding for encoding in (*_ENCODINGS, BFLOAT16)}
_BY_DTYPE = {encoding.content.newbyteorder("="): encoding for encoding in _ENCODINGS}

PACKED_TAGS = {
    field: bytes([tensor_pb2.TensorProto.DESCRIPTOR.fields_by_name[field].number << 3 | 2])
    for field in ("float_val", "scomplex_val", "double_val", "dcomplex_val")
}
"""First byte of each packed field of floating-point numbers in a serialized message.

After it come the field's size and its elements, laid out as in memory. Reading and writing them as bytes takes a small
part of the time that Python objects take.
"""


def data_type_name(data_type: int) -> str:
    """Return the name of a number in the enum DataType, such as `DT_FLOAT`; of one that is not in it, the number."""
    return str(types_pb2.DataType.Name(data_type)) if data_type in types_pb2.DataType.values() else str(data_type)


@lru_cache  # numpy builds a dtype's name at each access
def data_type_of(dtype: np.dtype[Any]) -> int:
    """Return the number in the enum DataType for a numpy dtype.

    Raises:
        TensorError: No TensorProto can hold such elements.
    """
    if dtype.kind in "SUO":
        return int(types_pb2.DT_STRING)
    if dtype.name == "bfloat16":
        return BFLOAT16.data_type
    encoding = _BY_DTYPE.get(dtype.newbyteorder("="))
    if encoding is None:
        raise TensorError(f"arrays of type {dtype} cannot be sent; convert them first, for example to float32")
    return encoding.data_type
