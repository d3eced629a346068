"""Read weights from ONNX and Caffe files, with descriptors of only those few fields that contain them.

Sources: https://github.com/onnx/onnx, onnx/onnx.proto; https://github.com/BVLC/caffe, src/caffe/proto/caffe.proto.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from train.weights.tensors import Array, Tensors, WeightsFileError, read_file, to_array

_Field = descriptor_pb2.FieldDescriptorProto
_FIELDS: Mapping[str, Mapping[str, tuple[int, int | str]]] = {
    "OnnxModel": {"graph": (7, "OnnxGraph")},
    "OnnxGraph": {"initializer": (5, "OnnxTensor")},
    "OnnxTensor": {
        "dims": (1, _Field.TYPE_INT64),
        "data_type": (2, _Field.TYPE_INT32),
        "float_data": (4, _Field.TYPE_FLOAT),
        "name": (8, _Field.TYPE_STRING),
        "raw_data": (9, _Field.TYPE_BYTES),
    },
    "CaffeNet": {"layer": (100, "CaffeLayer")},
    "CaffeLayer": {"name": (1, _Field.TYPE_STRING), "blobs": (7, "CaffeBlob")},
    "CaffeBlob": {"shape": (7, "CaffeShape"), "data": (5, _Field.TYPE_FLOAT)},
    "CaffeShape": {"dim": (1, _Field.TYPE_INT64)},
}
"""Number and type of each field, by message. All fields are declared repeated: a single value is a list of one."""
_ONNX_DTYPES = {1: "f4", 10: "f2"}
_PARTS = ("weight", "bias")


def read_onnx(path: Path) -> Tensors:
    """Read the float arrays of an ONNX model; the initializer `conv1_w_0` is returned as `conv1.weight`.

    Raises:
        WeightsFileError: The file cannot be read, or is not an ONNX model with weights.
    """
    try:
        model = _parse("OnnxModel", path)
        arrays = {tensor.name[0]: _onnx_array(tensor) for graph in model.graph for tensor in graph.initializer}
    except (ValueError, IndexError) as error:
        raise WeightsFileError(f"{path}: expected an ONNX file with weights: {error!r}") from error
    endings = {"_w_0": ".weight", "_b_0": ".bias"}
    return {name[: -len("_w_0")] + endings.get(name[-len("_w_0") :], ""): array for name, array in arrays.items()}


def read_caffe(path: Path) -> Tensors:
    """Read the arrays of a Caffe network; the first array of a layer is its `weight`, the second its `bias`.

    Raises:
        WeightsFileError: The file cannot be read, or is not a Caffe network with weights.
    """
    try:
        return {
            f"{layer.name[0]}.{part}": np.array(blob.data, np.float32).reshape(blob.shape[0].dim)
            for layer in _parse("CaffeNet", path).layer
            for part, blob in zip(_PARTS, layer.blobs, strict=False)
        }
    except (ValueError, IndexError) as error:
        raise WeightsFileError(f"{path}: expected a Caffe file with weights: {error!r}") from error


def _onnx_array(tensor: Any) -> Array:
    if tensor.raw_data:
        return to_array(tensor.raw_data[0], _ONNX_DTYPES[tensor.data_type[0]]).reshape(tensor.dims).astype(np.float32)
    return np.array(tensor.float_data, np.float32).reshape(tensor.dims)


def _parse(name: str, path: Path) -> Any:
    try:
        return _MESSAGES[name].FromString(read_file(path))
    except DecodeError as error:
        raise ValueError("not a protobuf message") from error


def _build_messages() -> Mapping[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="weights.proto", package="weights", syntax="proto2")
    for message, fields in _FIELDS.items():
        descriptor = file.message_type.add(name=message)
        for field, (number, kind) in fields.items():
            field_descriptor = descriptor.field.add(name=field, number=number, label=_Field.LABEL_REPEATED)
            if isinstance(kind, str):
                field_descriptor.type, field_descriptor.type_name = _Field.TYPE_MESSAGE, f".weights.{kind}"
            else:
                field_descriptor.type = _Field.Type.ValueType(kind)
    return message_factory.GetMessages([file], pool=descriptor_pool.DescriptorPool())


_MESSAGES: Mapping[str, Any] = {name.removeprefix("weights."): kind for name, kind in _build_messages().items()}
