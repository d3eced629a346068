"""Read protobuf files with descriptors of only those fields that are needed; among them, the weights of Caffe files.

Source: https://github.com/BVLC/caffe, src/caffe/proto/caffe.proto.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from train.weights.tensors import Tensors, WeightsFileError, read_file

_Field = descriptor_pb2.FieldDescriptorProto


class Scalar(IntEnum):
    """Types of fields that are not messages."""

    DOUBLE = _Field.TYPE_DOUBLE
    FLOAT = _Field.TYPE_FLOAT
    INT64 = _Field.TYPE_INT64
    INT32 = _Field.TYPE_INT32
    STRING = _Field.TYPE_STRING
    BYTES = _Field.TYPE_BYTES


Fields: TypeAlias = Mapping[str, Mapping[str, tuple[int, Scalar | str]]]
"""Number and type of each field, by message. All fields are declared repeated: a single value is a list of one."""

_CAFFE_FIELDS: Fields = {
    "Net": {"layer": (100, "Layer")},
    "Layer": {"name": (1, Scalar.STRING), "blobs": (7, "Blob")},
    "Blob": {"shape": (7, "Shape"), "data": (5, Scalar.FLOAT)},
    "Shape": {"dim": (1, Scalar.INT64)},
}
_PARTS = ("weight", "bias")


class MessageTypes:
    """The messages of a format."""

    def __init__(self, package: str, fields: Fields) -> None:
        file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto2")
        for message, members in fields.items():
            descriptor = file.message_type.add(name=message)
            for field, (number, kind) in members.items():
                added = descriptor.field.add(name=field, number=number, label=_Field.LABEL_REPEATED)
                if isinstance(kind, Scalar):
                    added.type = _Field.Type.ValueType(kind)
                else:
                    added.type, added.type_name = _Field.TYPE_MESSAGE, f".{package}.{kind}"
        messages = message_factory.GetMessages([file], pool=descriptor_pool.DescriptorPool())
        self._messages: Mapping[str, Any] = {name.removeprefix(f"{package}."): kind for name, kind in messages.items()}

    def create(self, name: str) -> Any:
        """Return an empty message."""
        return self._messages[name]()

    def parse(self, name: str, content: bytes) -> Any:
        """Parse a message.

        Raises:
            ValueError: The content is not such a message.
        """
        try:
            return self._messages[name].FromString(content)
        except DecodeError as error:
            raise ValueError("it has another format or is truncated") from error


@contextmanager
def naming_file(path: Path, expected: str, missing: str) -> Iterator[None]:
    """Name a file in the errors of reading its messages.

    Args:
        path: The file.
        expected: What it should be.
        missing: What a field that is not there means.

    Raises:
        WeightsFileError: As `ValueError` or `LookupError` within the block.
    """
    try:
        yield
    except ValueError as error:
        raise WeightsFileError(f"{path}: expected {expected}: {error}") from error
    except LookupError as error:
        raise WeightsFileError(f"{path}: expected {expected}: {missing}") from error


_CAFFE_MESSAGES = MessageTypes("caffe_file", _CAFFE_FIELDS)


def read_caffe(path: Path) -> Tensors:
    """Read the arrays of a Caffe network; the first array of a layer is its `weight`, the second its `bias`.

    Raises:
        WeightsFileError: The file cannot be read, or is not a Caffe network with weights.
    """
    with naming_file(path, "a Caffe file with weights", "a layer lacks its name or shape"):
        return {
            f"{layer.name[0]}.{part}": np.array(blob.data, np.float32).reshape(blob.shape[0].dim)
            for layer in _CAFFE_MESSAGES.parse("Net", read_file(path)).layer
            for part, blob in zip(_PARTS, layer.blobs, strict=False)
        }
