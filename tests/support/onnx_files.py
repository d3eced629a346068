"""ONNX files, written with the descriptors with which they are read."""

from pathlib import Path
from typing import Any

import numpy as np

from train.weights.onnx_file import DTYPES, MESSAGES

NUMBERS = {name: number for number, name in DTYPES.items()}
IR_VERSION = b"\x08\x08"
"""Field 1 of a model, which ONNX Runtime requires: version 8 of the format."""
FLOAT, INT, STRING, TENSOR, FLOATS, INTS = 1, 2, 3, 4, 6, 7


def add_tensor(tensor: Any, name: str, array: np.ndarray) -> None:
    """Fill a tensor with an array."""
    tensor.name.append(name)
    tensor.dims.extend(array.shape)
    tensor.data_type.append(NUMBERS[array.dtype.name])
    tensor.raw_data.append(array.tobytes())


def add_node(graph: Any, operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
    """Add a call of an operator."""
    node = graph.node.add()
    node.op_type.append(operator)
    node.name.append(f"{operator}_{len(graph.node)}")
    node.input.extend(inputs)
    node.output.extend(outputs)
    for name, value in attributes.items():
        attribute = node.attribute.add()
        attribute.name.append(name)
        if isinstance(value, np.ndarray):
            attribute.type.append(TENSOR)
            add_tensor(attribute.t.add(), name, value)
        elif isinstance(value, list):
            attribute.type.append(INTS if isinstance(value[0], int) else FLOATS)
            (attribute.ints if isinstance(value[0], int) else attribute.floats).extend(value)
        elif isinstance(value, str):
            attribute.type.append(STRING)
            attribute.s.append(value.encode())
        else:
            attribute.type.append(INT if isinstance(value, int) else FLOAT)
            (attribute.i if isinstance(value, int) else attribute.f).append(value)


def add_value(values: Any, name: str, shape: list[int | None]) -> None:
    """Add an input or output of float32."""
    value = values.add()
    value.name.append(name)
    tensor = value.type.add().tensor_type.add()
    tensor.elem_type.append(NUMBERS["float32"])
    dimensions = tensor.shape.add()
    for size in shape:
        dimension = dimensions.dim.add()
        if size is None:
            dimension.dim_param.append("N")
        else:
            dimension.dim_value.append(size)


class OnnxBuilder:
    """Builds a model node by node; each call returns the name of the output."""

    def __init__(self, shape: list[int | None], opset: int = 17, seed: int = 0) -> None:
        self._model = MESSAGES.create("Model")
        opsets = self._model.opset_import.add()
        opsets.domain.append("")
        opsets.version.append(opset)
        self._graph = self._model.graph.add()
        self._random = np.random.default_rng(seed)
        self._count = 0
        add_value(self._graph.input, "image", shape)

    def constant(self, array: Any) -> str:
        """Add an array."""
        self._count += 1
        add_tensor(self._graph.initializer.add(), f"constant{self._count}", np.asarray(array))
        return f"constant{self._count}"

    def weights(self, *shape: int) -> str:
        """Add random weights."""
        return self.constant(self._random.normal(0, 0.4, shape).astype(np.float32))

    def call(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node."""
        self._count += 1
        names = [f"{operator}{self._count}_{index}" for index in range(outputs)]
        add_node(self._graph, operator, list(inputs), names, **attributes)
        return names[0] if outputs == 1 else names

    def batch_normalization(self, x: str, channels: int) -> str:
        """Add a normalisation with random statistics."""
        arrays = [self._random.uniform(0.5, 1.5, channels).astype(np.float32) for _ in range(4)]
        return str(self.call("BatchNormalization", x, *map(self.constant, arrays)))

    def save(self, path: Path, output: str, shape: list[int | None]) -> Path:
        """Write the file."""
        add_value(self._graph.output, output, shape)
        path.write_bytes(IR_VERSION + self._model.SerializeToString())
        return path
