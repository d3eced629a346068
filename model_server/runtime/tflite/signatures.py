"""The signatures of a TensorFlow Lite model, as tensorflow_model_server finds them.

It reads the table in the file's metadata, which tensorflow/lite/tools/signature writes: a FlexBuffer map from names to
serialised tensorflow.SignatureDef messages. The signatures that the TensorFlow Lite converter writes are not used.
"""

import itertools
import logging
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from flatbuffers import flexbuffers
from google.protobuf.message import DecodeError

from model_server.dataplane import DEFAULT_SIGNATURE, PREDICT_METHOD
from model_server.errors import Code, InvalidArgumentError, ServingError
from model_server.runtime.tflite.interpreter import TensorDetails
from model_server.servable import SignatureDef
from tfs_api.encodings import data_type_of
from tfs_api.protos import meta_graph_pb2

_LOG = logging.getLogger(__name__)

TABLE_NAME = "signature_defs_metadata"
"""Name of the table in the file's metadata."""
MAX_SIGNATURES = 1000

_SERVED_TYPES = frozenset(map(np.dtype, ("f4", "i4", "u1", "i8", "O", "?", "i2", "c8", "i1")))


def read_table(table: bytes) -> dict[str, SignatureDef]:
    """Parse the table of signatures.

    Like tensorflow_model_server, use each message only up to its first zero byte, and take other types for an empty
    table or message.

    Raises:
        InvalidArgumentError: The table or one of its messages is damaged, or there are more than `MAX_SIGNATURES`.
    """
    try:
        entries = dict(itertools.islice(_entries(table), MAX_SIGNATURES + 1))
    except (AssertionError, IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        raise _invalid("The table of signatures is damaged.") from error
    if len(entries) > MAX_SIGNATURES:
        raise _invalid(f"The table has more than {MAX_SIGNATURES} signatures.")
    try:
        return {name: meta_graph_pb2.SignatureDef.FromString(message) for name, message in entries.items()}
    except DecodeError as error:
        raise _invalid("Cannot parse signature def found in flatbuffer.") from error


def _entries(table: bytes) -> Iterator[tuple[str, bytes]]:
    root = flexbuffers.GetRoot(table)
    if not root.IsMap:
        return
    for key, value in zip(root.AsMap.Keys, root.AsMap.Values, strict=False):
        content = bytes(value.AsStringBytes) if value.IsString else b""
        yield key.AsKeyBytes.decode(), content.partition(b"\0")[0]


def _invalid(problem: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"Invalid SignatureDefs found in TfLite model: {problem}")


def resolve(
    table: Mapping[str, SignatureDef], inputs: Mapping[str, TensorDetails], outputs: Mapping[str, TensorDetails]
) -> dict[str, SignatureDef]:
    """Return the signatures to serve: those of the table, with the file's tensor names, or a generated one.

    Args:
        table: Signatures in the file's metadata, by name; may be empty.
        inputs: Input tensors by name.
        outputs: Output tensors by name.

    Raises:
        ServingError: A signature names a tensor that is not an input or output, or a tensor's type cannot be served.
    """
    for details in (*inputs.values(), *outputs.values()):
        if details.dtype not in _SERVED_TYPES:
            raise ServingError(f"Unknown TfLite type: {details.dtype} of tensor {details.name}", Code.INTERNAL)
    if not table:
        _LOG.warning("No signature def found in TFLite model. Generating one.")
        return {DEFAULT_SIGNATURE: _generate(inputs, outputs)}
    for signature in table.values():
        _correct_names(signature.inputs, inputs, "input")
        _correct_names(signature.outputs, outputs, "output")
    return dict(table)


def _correct_names(infos: Mapping[str, Any], tensors: Mapping[str, TensorDetails], kind: str) -> None:
    for alias, info in sorted(infos.items()):
        name = next((name for name in (info.name, _without_index(info.name)) if name in tensors), None)
        if name is None:
            raise ServingError(
                f"Unknown tensor '{info.name}'.\n\tSignature {kind} {alias} references an unknown tensor", Code.INTERNAL
            )
        info.name = name


def _generate(inputs: Mapping[str, TensorDetails], outputs: Mapping[str, TensorDetails]) -> SignatureDef:
    """Name inputs and outputs like their tensors, without the index; of several that differ by it, the last stays."""
    signature = meta_graph_pb2.SignatureDef(method_name=PREDICT_METHOD)
    for infos, tensors in ((signature.inputs, inputs), (signature.outputs, outputs)):
        for name, details in sorted(tensors.items()):
            info = meta_graph_pb2.TensorInfo(name=name, dtype=data_type_of(details.dtype))
            info.tensor_shape.SetInParent()
            for size in details.shape:
                info.tensor_shape.dim.add(size=size)
            infos[_without_index(name)].CopyFrom(info)
    return signature


def _without_index(name: str) -> str:
    return name.partition(":")[0]
