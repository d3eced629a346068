"""Read ONNX models: their graph and their arrays, with descriptors of only those fields that a classifier needs.

Source: https://github.com/onnx/onnx, onnx/onnx.proto.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from train.weights.protobuf_file import Fields, MessageTypes, Scalar, naming_file
from train.weights.tensors import Array, Tensors, read_file, to_array

_FIELDS: Fields = {
    "Model": {"producer_name": (2, Scalar.STRING), "graph": (7, "Graph"), "opset_import": (8, "Opset")},
    "Opset": {"domain": (1, Scalar.STRING), "version": (2, Scalar.INT64)},
    "Graph": {"node": (1, "Node"), "initializer": (5, "Tensor"), "input": (11, "Value"), "output": (12, "Value")},
    "Node": {
        "input": (1, Scalar.STRING),
        "output": (2, Scalar.STRING),
        "name": (3, Scalar.STRING),
        "op_type": (4, Scalar.STRING),
        "attribute": (5, "Attribute"),
        "domain": (7, Scalar.STRING),
    },
    "Attribute": {
        "name": (1, Scalar.STRING),
        "f": (2, Scalar.FLOAT),
        "i": (3, Scalar.INT64),
        "s": (4, Scalar.BYTES),
        "t": (5, "Tensor"),
        "floats": (7, Scalar.FLOAT),
        "ints": (8, Scalar.INT64),
        "strings": (9, Scalar.BYTES),
        "type": (20, Scalar.INT32),
    },
    "Tensor": {
        "dims": (1, Scalar.INT64),
        "data_type": (2, Scalar.INT32),
        "float_data": (4, Scalar.FLOAT),
        "int32_data": (5, Scalar.INT32),
        "int64_data": (7, Scalar.INT64),
        "name": (8, Scalar.STRING),
        "raw_data": (9, Scalar.BYTES),
        "double_data": (10, Scalar.DOUBLE),
        "external_data": (13, "Entry"),
        "data_location": (14, Scalar.INT32),
    },
    "Entry": {"key": (1, Scalar.STRING), "value": (2, Scalar.STRING)},
    "Value": {"name": (1, Scalar.STRING), "type": (2, "Type")},
    "Type": {"tensor_type": (1, "TensorType")},
    "TensorType": {"elem_type": (1, Scalar.INT32), "shape": (2, "Shape")},
    "Shape": {"dim": (1, "Dimension")},
    "Dimension": {"dim_value": (1, Scalar.INT64), "dim_param": (2, Scalar.STRING)},
}
MESSAGES = MessageTypes("onnx_file", _FIELDS)
DTYPES: Mapping[int, str] = {
    1: "float32",
    2: "uint8",
    3: "int8",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    16: "bfloat16",
}
"""Names of the element types by their numbers."""
EXTERNAL = 1
"""Value of `data_location` for arrays in another file."""
_MEMBERS = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints", 8: "strings"}
"""Field of an attribute's value by the number of its type."""

Attributes: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OnnxNode:
    """A call of an operator.

    Attributes:
        operator: Name of the operator, with its domain if that is not ONNX' own.
        name: Name of the node, for messages.
        inputs: Names of the inputs; an empty one stands for an optional input that is left out.
        outputs: Names of the outputs.
        attributes: Numbers, texts, arrays and lists by name.
    """

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class OnnxValue:
    """An input or output of a model.

    Attributes:
        name: Its name.
        dtype: Name of its element type, as numpy names it.
        shape: Length of each dimension, None for any; None if the rank is not stated.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """A model.

    Attributes:
        path: Its file.
        opset: Version of ONNX' own operators.
        inputs: Inputs that are not among the arrays.
        outputs: Outputs.
        nodes: Calls in the order of the computation.
        arrays: Weights and other constants by name.
    """

    path: Path
    opset: int
    inputs: tuple[OnnxValue, ...]
    outputs: tuple[OnnxValue, ...]
    nodes: tuple[OnnxNode, ...]
    arrays: Tensors


def read_onnx_model(path: Path) -> OnnxModel:
    """Read a model.

    Raises:
        WeightsFileError: The file cannot be read, or is not an ONNX model with a graph.
    """
    with naming_file(path, "an ONNX model", "a field that it needs is missing or of an unknown type"):
        model = MESSAGES.parse("Model", read_file(path))
        graph = _only(model.graph, "graph")
        arrays = {_first(tensor.name, ""): _array(tensor, path.parent) for tensor in graph.initializer}
        versions = [_first(opset.version, 0) for opset in model.opset_import if not _first(opset.domain, "").strip()]
        nodes = tuple(_node(node, path.parent) for node in graph.node)
        inputs = tuple(_value(value) for value in graph.input)
        outputs = tuple(_value(value) for value in graph.output)
    free = tuple(value for value in inputs if value.name not in arrays)  # before IR version 4, weights are inputs, too
    return OnnxModel(path, max(versions, default=1), free, outputs, nodes, arrays)


def read_onnx(path: Path) -> Tensors:
    """Read the float arrays of an ONNX model; the initializer `conv1_w_0` is returned as `conv1.weight`.

    Raises:
        WeightsFileError: The file cannot be read, or is not an ONNX model with weights.
    """
    arrays = read_onnx_model(path).arrays
    endings = {"_w_0": ".weight", "_b_0": ".bias"}
    return {
        name[: -len("_w_0")] + endings.get(name[-len("_w_0") :], ""): array.astype(np.float32)
        for name, array in arrays.items()
        if array.dtype.kind == "f"
    }


def _node(node: Any, folder: Path) -> OnnxNode:
    domain, operator = _first(node.domain, ""), node.op_type[0]
    return OnnxNode(
        operator if domain in {"", "ai.onnx"} else f"{domain}.{operator}",
        _first(node.name, operator),
        tuple(node.input),
        tuple(node.output),
        {attribute.name[0]: _attribute(attribute, folder) for attribute in node.attribute},
    )


def _attribute(attribute: Any, folder: Path) -> Any:
    member = _MEMBERS[_first(attribute.type, 0)]
    values = getattr(attribute, member)
    if member == "t":
        return _array(values[0], folder)
    if member in {"s", "strings"}:
        texts = [value.decode() for value in values]
        return texts if member == "strings" else _first(texts, "")
    return list(values) if member in {"floats", "ints"} else _first(values, 0)


def _value(value: Any) -> OnnxValue:
    tensor = _only(_only(value.type, "type of an input or output").tensor_type, "tensor as an input or output")
    dtype = DTYPES.get(_first(tensor.elem_type, 0), "another type")
    if not tensor.shape:
        return OnnxValue(value.name[0], dtype, None)
    return OnnxValue(
        value.name[0], dtype, tuple(_first(dimension.dim_value, 0) or None for dimension in tensor.shape[0].dim)
    )


def _array(tensor: Any, folder: Path) -> Array:
    dtype = DTYPES[tensor.data_type[0]]
    if _first(tensor.data_location, 0) == EXTERNAL:
        flat = to_array(_external_bytes(tensor, folder), dtype)
    elif tensor.raw_data:
        flat = to_array(tensor.raw_data[0], dtype)
    elif dtype in {"float16", "bfloat16"}:  # their bits, each as an integer
        flat = to_array(np.array(tensor.int32_data, "<u2").tobytes(), dtype)
    else:
        flat = np.array([*tensor.float_data, *tensor.int32_data, *tensor.int64_data, *tensor.double_data], dtype)
    return flat.reshape(tuple(tensor.dims))


def _external_bytes(tensor: Any, folder: Path) -> bytes:
    """Read an array from another file, which must be in the folder of the model or below."""
    entries = {entry.key[0]: entry.value[0] for entry in tensor.external_data}
    path = (folder / entries["location"]).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"the weights are in {entries['location']}, outside of the model's folder")
    try:
        with path.open("rb") as file:
            file.seek(int(entries.get("offset", 0)))
            content: bytes = file.read(int(entries.get("length", -1)))
    except OSError as error:
        raise ValueError(
            f"its weights are in {entries['location']}, which must be in the same folder, as its exporter wrote it: "
            f"{error.strerror}"
        ) from error
    return content


def _only(values: Sequence[Any], what: str) -> Any:
    """Return the value of a field that a model must have once."""
    if len(values) != 1:
        raise ValueError(f"it has no {what}" if not len(values) else f"it has more than one {what}")
    return values[0]


def _first(values: Sequence[Any], default: Any) -> Any:
    """Return the value of an optional field."""
    return values[0] if len(values) else default
