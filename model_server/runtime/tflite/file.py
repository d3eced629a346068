"""The parts of a TensorFlow Lite file that LiteRT does not return: metadata, and which tensors are constants.

The file is a FlatBuffer of tensorflow/compiler/mlir/lite/schema/schema.fbs. LiteRT's own Python classes for it take as
long to import as all else that serving needs.
"""

import struct
from collections.abc import Generator
from typing import Any

from flatbuffers import number_types
from flatbuffers.table import Table

from model_server.errors import DataLossError

_MODEL_SUBGRAPHS, _MODEL_BUFFERS, _MODEL_METADATA = 2, 4, 6
_METADATA_NAME, _METADATA_BUFFER = 0, 1
_BUFFER_DATA, _BUFFER_SIZE = 0, 2
_SUBGRAPH_TENSORS = 0
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_BUFFER = 0, 1, 2

_ELEMENT_BYTES = (4, 2, 4, 1, 8, 16, 1, 2, 8, 1, 8, 16, 8, 8, 8, 4, 2)
"""Bytes of an element by the number of its TensorType, float32 to uint16; for a string (5) an estimate."""
_OTHER_ELEMENT_BYTES = 2
"""Of the later types, bfloat16 is the largest."""


class TfliteFile:
    """A file whose structure LiteRT has verified."""

    def __init__(self, content: bytes) -> None:
        self._model = _Table(content, struct.unpack_from("<I", content)[0])

    def metadata(self, name: str) -> bytes | None:
        """Return the content of an entry of the model's metadata; None if there is no such entry.

        Raises:
            DataLossError: The entry refers to a buffer that does not exist.
        """
        for entry in self._model.tables(_MODEL_METADATA):
            if entry.text(_METADATA_NAME) == name.encode():
                buffers = list(self._model.tables(_MODEL_BUFFERS))
                number = entry.number(_METADATA_BUFFER, number_types.Uint32Flags)
                if number >= len(buffers):
                    raise DataLossError(f"The metadata entry {name} refers to a buffer that does not exist")
                return buffers[number].data(_BUFFER_DATA)
        return None

    def activation_bytes(self) -> int:
        """Return the memory of all tensors of the first subgraph that are not constants, with the file's shapes.

        An upper bound: tensors that are not needed at the same time share memory.
        """
        constants = [
            buffer.length(_BUFFER_DATA) > 0 or buffer.number(_BUFFER_SIZE, number_types.Uint64Flags) > 0
            for buffer in self._model.tables(_MODEL_BUFFERS)
        ]
        subgraph = next(self._model.tables(_MODEL_SUBGRAPHS))
        return sum(
            tensor.element_count(_TENSOR_SHAPE) * _element_bytes(tensor.number(_TENSOR_TYPE, number_types.Int8Flags))
            for tensor in subgraph.tables(_SUBGRAPH_TENSORS)
            if not constants[tensor.number(_TENSOR_BUFFER, number_types.Uint32Flags)]
        )


class _Table:
    """A table of a FlatBuffer; fields are numbered as in the schema, and may be absent."""

    def __init__(self, content: bytes, position: int) -> None:
        self._table = Table(content, position)

    def _offset(self, field: int) -> int:
        """Return where a field starts, relative to the table; 0 if it is absent."""
        return int(self._table.Offset(4 + 2 * field))

    def number(self, field: int, flags: Any) -> int:
        """Return a number; its default in this schema is always 0."""
        offset = self._offset(field)
        return int(self._table.Get(flags, self._table.Pos + offset)) if offset else 0

    def length(self, field: int) -> int:
        """Return the length of a vector."""
        offset = self._offset(field)
        return int(self._table.VectorLen(offset)) if offset else 0

    def data(self, field: int) -> bytes:
        """Return a vector of bytes."""
        offset = self._offset(field)
        if not offset:
            return b""
        start = self._table.Vector(offset)
        return bytes(self._table.Bytes[start : start + self._table.VectorLen(offset)])

    text = data

    def element_count(self, field: int) -> int:
        """Return the product of a vector of int32, a shape."""
        offset, count = self._offset(field), 1
        for position in range(self.length(field)):
            count *= max(self._table.Get(number_types.Int32Flags, self._table.Vector(offset) + 4 * position), 1)
        return count

    def tables(self, field: int) -> Generator["_Table", None, None]:
        """Yield the tables of a vector."""
        offset = self._offset(field)
        for position in range(self.length(field)):
            yield _Table(self._table.Bytes, self._table.Indirect(self._table.Vector(offset) + 4 * position))


def _element_bytes(tensor_type: int) -> int:
    return _ELEMENT_BYTES[tensor_type] if tensor_type < len(_ELEMENT_BYTES) else _OTHER_ELEMENT_BYTES
