"""PredictRequest as bytes, joined around the pixels: they are copied once, from the array into the message.

By way of message objects a batch of 32 photos of 224 x 224 was copied four times, which took more than 9 ms; this takes
0.15 ms.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tfs_api.protos import predict_pb2, tensor_pb2
from tfs_api.tensors import to_tensor_header, to_tensor_proto, to_varint

_MAP_KEY, _MAP_VALUE = 1, 2
"""An entry of a map is a message of these two fields: https://protobuf.dev/programming-guides/encoding/#maps."""

_LIE_AS_THEY_ARE_SENT = frozenset({np.dtype("u1"), np.dtype("<i4"), np.dtype("<f4")})


def predict_request(
    model: str, version: int, signature_name: str, output: str, inputs: Mapping[str, npt.NDArray[Any]]
) -> bytes:
    """Write a PredictRequest for one output of one signature of a version.

    Raises:
        TensorError: an input cannot be sent; see `to_tensor_proto`.
    """
    asked = predict_pb2.PredictRequest(output_filter=[output])
    asked.model_spec.name = model
    asked.model_spec.version.value = version
    asked.model_spec.signature_name = signature_name
    pieces = [asked.SerializeToString()]
    for name, array in inputs.items():
        tensor = _tensor(array)
        key = [*_begin(_MAP_KEY, len(name.encode())), name.encode()]
        entry = [*key, *_begin(_MAP_VALUE, _size(tensor)), *tensor]
        pieces += [*_begin(predict_pb2.PredictRequest.INPUTS_FIELD_NUMBER, _size(entry)), *entry]
    return b"".join(pieces)


def _tensor(array: npt.NDArray[Any]) -> list[Any]:
    """Give the pieces of a TensorProto, the last one the array's own memory where it can be sent as it lies there."""
    if array.dtype not in _LIE_AS_THEY_ARE_SENT or not array.flags.c_contiguous:
        return [to_tensor_proto(array).SerializeToString()]
    header = to_tensor_header(array).SerializeToString()
    content = array.reshape(-1).view(np.uint8).data
    return [header, *_begin(tensor_pb2.TensorProto.TENSOR_CONTENT_FIELD_NUMBER, array.nbytes), content]


def _begin(field: int, size: int) -> tuple[bytes, bytes]:
    """Begin a field of so many bytes: its number with the wire type LEN, which is 2, then their number."""
    return to_varint(field << 3 | 2), to_varint(size)


def _size(pieces: list[Any]) -> int:
    return sum(len(piece) for piece in pieces)
