"""Tensors of a request: which ones a model takes, and the images in them."""

from collections.abc import Sequence

import numpy as np

from gateway.errors import BadRequestError
from gateway.http.bodies import BodyRequest
from gateway.model_client.protocol import Array, TensorSpec
from gateway.models.binding import ServedModel
from gateway.prediction.image_loader import ImagePixels
from vision.model_io import STRING

BYTES = "BYTES"
DATATYPES = {
    STRING: BYTES,
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
"""Element types in the words of the Open Inference Protocol, by `TensorSpec.dtype`."""


def input_spec(served: ServedModel) -> TensorSpec:
    """Return the input of a model, with the batch dimension."""
    row = served.row
    return TensorSpec(row.dtype, (None, *(row.shape or ())))


def require_shape(served: ServedModel, dtype: str, shape: Sequence[int], *, files: str) -> None:
    """Refuse a tensor that is not a batch of rows of the model's input, before its elements are read.

    Args:
        served: The model.
        dtype: Element type of the tensor, such as `uint8`.
        shape: Its shape, batch dimension included.
        files: How the protocol sends image files, for the message.

    Raises:
        BadRequestError: The model takes another type, rank or size.
    """
    spec, arrived = input_spec(served), TensorSpec(dtype, tuple(shape))
    if spec.dtype == STRING or dtype != spec.dtype or not spec.accepts_shape(tuple(shape)):
        accepted = files if spec.dtype == STRING else f"{spec}, or {files}"
        raise BadRequestError(f"{served.name} takes {accepted}; {arrived} arrived.")


def hold_memory(request: BodyRequest, size: int) -> None:
    """Hold memory for a tensor beside the body that it is read from; that of a small body has room for it.

    Raises:
        OverloadedError: Not enough is free at this moment.
    """
    body = request.place.body if request.place is not None else None
    if body is not None:
        body.resize(body.size + size)


def split_rows(tensor: Array) -> list[ImagePixels]:
    """Return the images of a tensor, [N, …], without a copy.

    Raises:
        BadRequestError: A number is NaN or infinite.
    """
    if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
        raise BadRequestError("The tensor contains NaN or infinity. Send finite numbers.")
    return [ImagePixels(row) for row in tensor]
