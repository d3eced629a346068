"""numpy arrays <-> TensorProto, for every element type a classifier may use.

The rules are those of TensorFlow's C++ `Tensor::FromProto` (tensorflow/core/framework/tensor.cc), which
decides what a model server accepts:

- `tensor_content`, if not empty, holds all elements in C order, little-endian, and wins over typed fields;
- a typed field (`float_val`, `int_val`, ...) with too few values repeats the last one, with none it stands
  for zeros (empty strings), and what is too much is ignored;
- a shape of unknown rank without dimensions is a scalar.

bfloat16 has no numpy type of its own. It is read as float32, which holds each of its values, and written
from arrays of the ml_dtypes package where the caller has that.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tfs_api.protos import tensor_pb2, tensor_shape_pb2, types_pb2

TensorProto: TypeAlias = Any
"""The generated message classes have no types."""

MAX_TENSOR_BYTES = 2**31 - 1
"""No tensor larger than this is built: it is the most that one protobuf message can carry.

Without a limit, a message of 30 bytes could ask for terabytes of one repeated value.
"""

_MAX_RANK = 64
"""numpy's limit."""


class TensorError(ValueError):
    """A TensorProto that does not describe a tensor, or an array that no TensorProto can carry."""


@dataclass(frozen=True, slots=True)
class _Encoding:
    """How the elements of one DataType are laid out in a TensorProto."""

    data_type: int
    """The DataType enum's number."""
    field: str
    """The typed field."""
    content: np.dtype[Any]
    """Elements of `tensor_content`."""
    packed: np.dtype[Any]
    """Elements of the typed field: the smallest types travel in an int32, a complex as two numbers."""


def _encoding(data_type: str, field: str, content: str, packed: str) -> _Encoding:
    return _Encoding(types_pb2.DataType.Value(data_type), field, np.dtype(content), np.dtype(packed))


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
_PACKED_BYTES = {
    field: bytes([tensor_pb2.TensorProto.DESCRIPTOR.fields_by_name[field].number << 3 | 2])
    for field in ("float_val", "scomplex_val", "double_val", "dcomplex_val")
}
"""What begins a field of floating-point numbers in a serialised message; its elements follow as they lie in memory.

Merged in and taken out as bytes, they take a small part of the time that they take as objects of Python.
"""
_HALF = types_pb2.DT_HALF
_BFLOAT16 = _encoding("DT_BFLOAT16", "half_val", "<u2", "<i4")
_BY_DATA_TYPE = {encoding.data_type: encoding for encoding in (*_ENCODINGS, _BFLOAT16)}
_BY_DTYPE = {encoding.content.newbyteorder("="): encoding for encoding in _ENCODINGS}


def to_tensor_proto(array: npt.ArrayLike) -> TensorProto:
    """Encode an array; elements of fixed size go to `tensor_content`, strings to `string_val`.

    Args:
        array: any shape, scalars and zero-size included; bool, (u)int8..64, float16/32/64, complex64/128,
            ml_dtypes' bfloat16, bytes, str (as UTF-8), or objects that are bytes or str. Any memory layout
            and byte order; a C-contiguous array in little-endian order is copied once.

    Returns:
        A TensorProto.

    Raises:
        TensorError: elements of any other type.
    """
    array = np.asarray(array)
    proto = to_tensor_header(array)
    if proto.dtype == types_pb2.DT_STRING:
        proto.string_val.extend(_as_bytes(item) for item in array.ravel().tolist())
    else:
        encoding = _BY_DATA_TYPE[proto.dtype]
        proto.tensor_content = _fixed_size_elements(array, encoding).tobytes()
    return proto


def to_typed_tensor_proto(array: npt.ArrayLike) -> TensorProto:
    """Encode an array into the typed field of its element type, as TensorFlow Serving writes its answers.

    Takes what `to_tensor_proto` takes.

    Raises:
        TensorError: elements of a type that `to_tensor_proto` does not take either.
    """
    array = np.asarray(array)
    if array.dtype.kind in "SUO":
        return to_tensor_proto(array)
    proto = to_tensor_header(array)
    encoding = _BY_DATA_TYPE[proto.dtype]
    elements = _fixed_size_elements(array, encoding).ravel()
    if encoding.data_type == _HALF:
        elements = elements.view("<u2")
    if elements.dtype.kind == "c":
        elements = elements.view(encoding.packed)
    if elements.dtype == encoding.packed and encoding.field in _PACKED_BYTES:
        proto.MergeFromString(_PACKED_BYTES[encoding.field] + to_varint(elements.nbytes) + elements.tobytes())
    else:
        getattr(proto, encoding.field).extend(elements.tolist())
    return proto


def to_content_tensor_proto(array: npt.ArrayLike) -> TensorProto:
    """Encode an array into `tensor_content`, strings too: as TensorFlow Serving answers if it is told to.

    Takes what `to_tensor_proto` takes.

    Raises:
        TensorError: elements of a type that `to_tensor_proto` does not take either.
    """
    proto = to_tensor_proto(array)
    if proto.dtype == types_pb2.DT_STRING:
        strings = list(proto.string_val)
        proto.ClearField("string_val")
        proto.tensor_content = b"".join([*(to_varint(len(item)) for item in strings), *strings])
    return proto


def from_tensor_proto(proto: TensorProto) -> npt.NDArray[Any]:
    """Decode a TensorProto.

    Returns:
        An array of the proto's shape and element type, in native byte order and possibly read-only; float32
        for bfloat16, object with elements `bytes` for strings.

    Raises:
        TensorError: an element type or a shape that cannot be decoded, or more elements than were sent in
            `tensor_content` or than `MAX_TENSOR_BYTES` allows.
    """
    shape = _shape(proto)
    size = math.prod(shape)
    if proto.dtype == types_pb2.DT_STRING:
        _check_size(shape, np.dtype(object).itemsize)
        return _strings(proto, size).reshape(shape)
    encoding = _BY_DATA_TYPE.get(proto.dtype)
    if encoding is None:
        raise TensorError(f"tensors of type {_type_name(proto.dtype)} are not supported")
    _check_size(shape, encoding.content.itemsize)
    if proto.tensor_content:
        elements = _content(proto.tensor_content, size, encoding)
    else:
        elements = _repeat_last(_typed_values(proto, encoding), size)
    if encoding is _BFLOAT16:
        elements = (elements.astype(np.uint32) << 16).view(np.float32)
    return elements.reshape(shape)


def to_tensor_header(array: npt.NDArray[Any]) -> TensorProto:
    """Make the TensorProto of an array without its elements.

    Raises:
        TensorError: elements of a type that cannot be sent.
    """
    shape = tensor_shape_pb2.TensorShapeProto(
        dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in array.shape]
    )
    return tensor_pb2.TensorProto(dtype=_data_type(array.dtype), tensor_shape=shape)


@lru_cache  # numpy makes the name of a type anew each time
def _data_type(dtype: np.dtype[Any]) -> int:
    if dtype.kind in "SUO":
        return int(types_pb2.DT_STRING)
    if dtype.name == "bfloat16":
        return _BFLOAT16.data_type
    encoding = _BY_DTYPE.get(dtype.newbyteorder("="))
    if encoding is None:
        raise TensorError(f"arrays of type {dtype} cannot be sent; convert them first, to float32 for example")
    return encoding.data_type


def _fixed_size_elements(array: npt.NDArray[Any], encoding: _Encoding) -> npt.NDArray[Any]:
    if encoding is _BFLOAT16:
        array = np.ascontiguousarray(array).view(np.uint16)
    return array.astype(encoding.content, copy=False)


def _as_bytes(item: object) -> bytes:
    if isinstance(item, str):
        return item.encode()
    if isinstance(item, bytes):
        return item
    raise TensorError(f"an element of type {type(item).__name__} cannot be sent; expected bytes or str")


def _shape(proto: TensorProto) -> tuple[int, ...]:
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank and shape:
        raise TensorError(f"a shape of unknown rank cannot have dimensions, but has {list(shape)}")
    if any(size < 0 for size in shape):
        raise TensorError(f"the shape {list(shape)} has a negative dimension")
    if len(shape) > _MAX_RANK:
        raise TensorError(f"a shape of rank {len(shape)} is not supported")
    return shape


def _type_name(data_type: int) -> str:
    try:
        return str(types_pb2.DataType.Name(data_type))
    except ValueError:
        return str(data_type)


def _check_size(shape: tuple[int, ...], item_bytes: int) -> None:
    # Zero-size tensors have a limit on their other dimensions too: numpy multiplies those all the same.
    if math.prod(max(size, 1) for size in shape) * item_bytes > MAX_TENSOR_BYTES:
        raise TensorError(f"a tensor of shape {list(shape)} is larger than {MAX_TENSOR_BYTES} bytes")


def _content(content: bytes, size: int, encoding: _Encoding) -> npt.NDArray[Any]:
    expected = size * encoding.content.itemsize
    if len(content) != expected:
        raise TensorError(f"tensor_content has {len(content)} bytes, its shape needs {expected}")
    if encoding.data_type == types_pb2.DT_BOOL:
        return np.frombuffer(content, np.uint8).astype(np.bool_)
    return _native(np.frombuffer(content, encoding.content))


def _typed_values(proto: TensorProto, encoding: _Encoding) -> npt.NDArray[Any]:
    values = _numbers(proto, encoding)
    if encoding.content.kind == "c":
        return _native(values[: values.size // 2 * 2].view(encoding.content))
    if encoding.field == "half_val":
        return _native(values.astype("<u2").view(encoding.content))
    return values.astype(encoding.content.newbyteorder("="), copy=False)


def _numbers(proto: TensorProto, encoding: _Encoding) -> npt.NDArray[Any]:
    field = getattr(proto, encoding.field)
    if encoding.field in _PACKED_BYTES:
        size = len(field) * encoding.packed.itemsize
        start = _PACKED_BYTES[encoding.field] + to_varint(size)
        written = proto.SerializeToString()
        place = len(written) - size
        if size and written[place - len(start) : place] == start:  # nothing follows them, as is usual
            return np.frombuffer(written, encoding.packed, offset=place)
    return np.fromiter(field, encoding.packed, len(field))


def _native(elements: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return elements.astype(elements.dtype.newbyteorder("="), copy=False)


def _repeat_last(values: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    if values.size >= size:
        return values[:size]
    if values.size == 0:
        return np.zeros(size, values.dtype)
    elements = np.full(size, values[-1])
    elements[: values.size] = values
    return elements


def _strings(proto: TensorProto, size: int) -> npt.NDArray[np.object_]:
    values = _string_content(proto.tensor_content, size) if proto.tensor_content else list(proto.string_val[:size])
    elements = np.full(size, values[-1] if values else b"", object)
    elements[: len(values)] = values
    return elements


def _string_content(content: bytes, size: int) -> list[bytes]:
    """Decode all lengths as varints, then all bytes: `EncodeStringList` of tensorflow/core/platform/coding.h.

    TensorFlow Serving answers so with --enable_serialization_as_tensor_content.
    """
    lengths, position = [], 0
    for _ in range(size):
        length, position = _varint(content, position)
        lengths.append(length)
    if position + sum(lengths) != len(content):
        raise TensorError(f"tensor_content has {len(content)} bytes, its strings {position + sum(lengths)}")
    values = []
    for length in lengths:
        values.append(content[position : position + length])
        position += length
    return values


def to_varint(number: int) -> bytes:
    """Write a base-128 number: seven bits a byte, the lowest first, and in the eighth whether more follow."""
    digits = []
    while number > 0x7F:  # noqa: PLR2004  # seven bits
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """Read one base-128 number, see https://protobuf.dev/programming-guides/encoding; return what follows."""
    number = 0
    for shift in range(0, 35, 7):
        if position == len(content):
            break
        byte = content[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004  # the bit that says that more follows
            return number, position
    raise TensorError("tensor_content ends within the lengths of its strings")
