"""Encode output tensors as TensorFlow Serving does: into typed fields, or into `tensor_content`."""

import numpy as np
import numpy.typing as npt

from tfs_api.encodings import BY_DATA_TYPE, PACKED_TAGS
from tfs_api.protos import types_pb2
from tfs_api.tensors import TensorProto, to_elements, to_tensor_header, to_tensor_proto, to_varint


def to_typed_tensor_proto(array: npt.ArrayLike) -> TensorProto:
    """Encode an array into the typed field of its element type, as TensorFlow Serving does by default.

    Args:
        array: Anything that `to_tensor_proto` accepts.

    Raises:
        TensorError: The element type is not supported.
    """
    array = np.asarray(array)
    if array.dtype.kind in "SUO":
        return to_tensor_proto(array)
    proto = to_tensor_header(array)
    encoding = BY_DATA_TYPE[proto.dtype]
    elements = to_elements(array, encoding).ravel()
    if encoding.data_type == types_pb2.DT_HALF:
        elements = elements.view("<u2")
    if elements.dtype.kind == "c":
        elements = elements.view(encoding.packed)
    if elements.dtype == encoding.packed and encoding.field in PACKED_TAGS:
        proto.MergeFromString(PACKED_TAGS[encoding.field] + to_varint(elements.nbytes) + elements.tobytes())
    else:
        getattr(proto, encoding.field).extend(elements.tolist())
    return proto


def to_content_tensor_proto(array: npt.ArrayLike) -> TensorProto:
    """Encode an array into `tensor_content`, strings included.

    TensorFlow Serving does so with --enable_serialization_as_tensor_content.

    Args:
        array: Anything that `to_tensor_proto` accepts.

    Raises:
        TensorError: The element type is not supported.
    """
    proto = to_tensor_proto(array)
    if proto.dtype == types_pb2.DT_STRING:
        strings = list(proto.string_val)
        proto.ClearField("string_val")
        proto.tensor_content = b"".join([*(to_varint(len(string)) for string in strings), *strings])
    return proto
