"""Edit `.tflite` files: the shapes of inputs, the table of signatures that TensorFlow Serving reads, and the card.

TensorFlow Serving 2.20 reads the first subgraph of a file and the metadata entry `signature_defs_metadata`, a
FlexBuffer map from the name of a signature to a serialised `tensorflow.SignatureDef`. It ignores the signatures that
the converter writes. Source: tensorflow_serving/servables/tensorflow/tflite_session.cc at the tag 2.20.0.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import flatbuffers
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers
from tensorflow.core.protobuf import meta_graph_pb2

from train.errors import TrainError

Model: TypeAlias = Any
"""`schema.ModelT`, and likewise for its parts; the schema has no types."""
Shape: TypeAlias = Sequence[int]
"""Of a tensor, without its first dimension, which is the batch."""

TABLE = b"signature_defs_metadata"
IDENTIFIER = b"TFL3"
METHOD = "tensorflow/serving/predict"
BATCH = -1
DTYPES = {
    schema.TensorType.UINT8: tf.uint8,
    schema.TensorType.INT32: tf.int32,
    schema.TensorType.FLOAT32: tf.float32,
    schema.TensorType.STRING: tf.string,
}


class TfliteError(TrainError):
    """A network cannot be written as a `.tflite` file."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One entry of the table.

    Attributes:
        inputs: Shapes of its inputs by name.
        outputs: Shapes of its outputs by name.
    """

    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]


def add_signatures(content: bytes, signatures: Mapping[str, Signature]) -> bytes:
    """Return a file whose inputs have their true shapes, with a batch of 1, and that has a table of signatures.

    The converter drops checks of a shape that it knows, so a network is converted for unknown shapes.

    Args:
        content: A file with one signature of the converter, which names all inputs and outputs.
        signatures: The table, by the names of the signatures.

    Raises:
        TfliteError: TensorFlow Serving could not read an entry.
    """
    model = _parse(content)
    inputs, outputs = _endpoints(model)
    for signature in signatures.values():
        for name, shape in signature.inputs.items():
            inputs[name].shape = np.array([1, *shape], np.int32)
            inputs[name].shapeSignature = np.array([BATCH, *shape], np.int32)
    entries = {name: _signature_def(signature, inputs, outputs) for name, signature in signatures.items()}
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(build_table(entries), np.uint8)
    model.buffers.append(buffer)
    table = schema.MetadataT()
    table.name, table.buffer = TABLE, len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), table]
    return _serialise(model)


def build_table(entries: Mapping[str, Any]) -> bytes:
    """Return the metadata entry for `SignatureDef` messages by name.

    Raises:
        TfliteError: A serialised entry contains a zero byte, at which TensorFlow Serving would cut it off. A scalar's
            empty shape and a dimension of 0 contain one.
    """
    builder = flexbuffers.Builder()
    with builder.Map():
        for name in sorted(entries):
            entry = entries[name].SerializeToString(deterministic=True)
            if b"\0" in entry:
                raise TfliteError(
                    f"the signature {name} has a scalar or an empty dimension, which TensorFlow Serving cannot read in"
                    " a .tflite file; give every input and output a batch dimension"
                )
            builder.Key(name)
            builder.String(_Utf8(entry))
    return bytes(builder.Finish())


def input_names(content: bytes) -> list[str]:
    """Return the names of the inputs in the order of the graph, for callers that pass them by position."""
    model = _parse(content)
    names = {entry.tensorIndex: entry.name.decode() for entry in model.signatureDefs[0].inputs}
    return [names[index] for index in model.subgraphs[0].inputs]


def tensor_names(content: bytes) -> list[str]:
    """Return the names of all tensors of the graph."""
    return [tensor.name.decode() for tensor in _parse(content).subgraphs[0].tensors]


def replace_text(content: bytes, text: str) -> bytes:
    """Return a file whose only string constant is `text`.

    Raises:
        TfliteError: The file has no string constant, or several.
    """
    model = _parse(content)
    buffers = [
        model.buffers[tensor.buffer]
        for tensor in model.subgraphs[0].tensors
        if tensor.type == schema.TensorType.STRING and model.buffers[tensor.buffer].data is not None
    ]
    if len(buffers) != 1:
        raise TfliteError(f"expected one string constant in the converted network, found {len(buffers)}")
    encoded = text.encode()
    # TensorFlow Lite stores strings as their number, the offset of each and of the end, and their bytes.
    offsets = struct.pack("<iii", 1, (start := struct.calcsize("<iii")), start + len(encoded))
    buffers[0].data = np.frombuffer(offsets + encoded, np.uint8)
    return _serialise(model)


def _parse(content: bytes) -> Model:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(content), 0))


def _serialise(model: Model) -> bytes:
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _endpoints(model: Model) -> tuple[dict[str, Model], dict[str, Model]]:
    """Return the input and the output tensors by the names in the converter's signature."""
    tensors, (signature,) = model.subgraphs[0].tensors, model.signatureDefs
    inputs, outputs = (
        {entry.name.decode(): tensors[entry.tensorIndex] for entry in entries}
        for entries in (signature.inputs, signature.outputs)
    )
    return inputs, outputs


def _signature_def(signature: Signature, inputs: Mapping[str, Model], outputs: Mapping[str, Model]) -> Any:
    message = meta_graph_pb2.SignatureDef(method_name=METHOD)
    for infos, shapes, tensors in (
        (message.inputs, signature.inputs, inputs),
        (message.outputs, signature.outputs, outputs),
    ):
        for name, shape in shapes.items():
            tensor = tensors[name]
            infos[name].name = tensor.name.decode()
            infos[name].dtype = DTYPES[tensor.type].as_datatype_enum
            infos[name].tensor_shape.CopyFrom(tf.TensorShape([None, *shape]).as_proto())
    return message


class _Utf8(str):
    """Bytes for `flexbuffers.Builder.String`, which would encode a text as UTF-8."""

    __slots__ = ("_content",)
    _content: bytes

    def __new__(cls, content: bytes) -> Self:
        text = super().__new__(cls)
        text._content = content
        return text

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:  # noqa: ARG002  # as in `str`
        return self._content
