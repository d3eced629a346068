"""The images in the one tensor of an inference: files or pixels, as JSON or as bytes behind it.

In a binary tensor BYTES, each file follows its length in four bytes, little-endian (Triton's extension_binary_data).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gateway.deadline import Deadline
from gateway.errors import BadRequestError, GatewayError
from gateway.http.bodies import BodyRequest
from gateway.http.long_text import LongText
from gateway.http.request_parser import Origin, decode_image
from gateway.model_client.protocol import Array
from gateway.models.binding import ServedModel
from gateway.prediction.image_loader import ImageBytes, ImageSource
from gateway.protocols.numbers import read_numbers
from gateway.protocols.tensors import BYTES, DATATYPES, hold_memory, require_shape, split_rows

LENGTH_BYTES = 4
DTYPES = {datatype: dtype for dtype, datatype in DATATYPES.items()}
FILES = "image files as BYTES[N]"


@dataclass(frozen=True, slots=True)
class InputTensor:
    """The tensor of a request, whose elements have not been read.

    Attributes:
        datatype: Its element type in the words of the protocol.
        shape: Its shape, of at least one dimension, each at least 1.
        data: Its elements in JSON; None if there are none.
        binary_size: Number of bytes that it takes behind the JSON; None if it is not there.
    """

    datatype: str
    shape: tuple[int, ...]
    data: object
    binary_size: int | None


def read_images(
    tensor: InputTensor, binary: memoryview, request: BodyRequest, served: ServedModel, deadline: Deadline
) -> Sequence[ImageSource]:
    """Return the images of a tensor.

    Args:
        tensor: The tensor.
        binary: What follows the JSON.
        request: Holds the memory for an array that is made.
        served: The model that is to classify them.
        deadline: Time limit on the request.

    Raises:
        BadRequestError: The elements are not what the tensor says, or not what the model takes.
        GatewayError: There is no memory for them, or the deadline has passed.
    """
    size = tensor.binary_size
    if len(binary) != (size or 0):
        raise BadRequestError(
            f"{len(binary)} bytes follow the JSON; "
            f"{'no input has binary_data_size' if size is None else f'binary_data_size is {size}'}."
        )
    if tensor.datatype == BYTES:
        if math.prod(tensor.shape) != tensor.shape[0]:
            raise BadRequestError(f"The shape of image files is [N], not {[*tensor.shape]}.", field="/inputs/0/shape")
        return _decode_files(tensor, deadline) if size is None else _split_files(binary, tensor.shape[0])
    require_shape(served, DTYPES[tensor.datatype], tensor.shape, files=FILES)
    is_json = size is None
    return split_rows(_decode_numbers(tensor, request, deadline) if is_json else _split_numbers(tensor, binary))


def _split_files(binary: memoryview, count: int) -> list[ImageSource]:
    """Return the files of a binary tensor."""
    files: list[bytes] = []
    start = 0
    for _ in range(count):
        begin = start + LENGTH_BYTES
        start = begin + int.from_bytes(binary[start:begin], "little")
        files.append(bytes(binary[begin:start]))
    if start != len(binary) or not all(files):
        raise BadRequestError(
            f"The binary data is not {count} image files, each behind its length in 4 bytes, little-endian."
        )
    return [ImageBytes(file) for file in files]


def _decode_files(tensor: InputTensor, deadline: Deadline) -> list[ImageSource]:
    """Return the files of a tensor in JSON, whose texts are base64."""
    texts = tensor.data if isinstance(tensor.data, list) else []
    for _ in tensor.shape[1:]:  # they have the length 1
        texts = [item[0] if isinstance(item, list) and len(item) == 1 else item for item in texts]
    if len(texts) != tensor.shape[0] or not all(isinstance(text, str | LongText) for text in texts):
        raise BadRequestError(
            f"data must be a list of {tensor.shape[0]} image files as strings of base64.", field="/inputs/0/data"
        )
    images: list[ImageSource] = []
    for index, text in enumerate(texts):
        image = decode_image(text, f"inputs[0].data[{index}]", deadline, Origin())
        if isinstance(image, GatewayError):
            raise image
        images.append(image)
    return images


def _decode_numbers(tensor: InputTensor, request: BodyRequest, deadline: Deadline) -> Array:
    numbers = read_numbers(tensor.data)
    dtype, count = DTYPES[tensor.datatype], math.prod(tensor.shape)
    if numbers is None or numbers.shape not in {tensor.shape, (count,)}:
        arrived = "" if numbers is None else f" This has the shape {[*numbers.shape]}."
        raise BadRequestError(
            f"data must be a list of {count} numbers, flat or nested as the shape {[*tensor.shape]}.{arrived}",
            field="/inputs/0/data",
        )
    hold_memory(request, count * np.dtype(dtype).itemsize)
    return numbers.to_array(dtype, deadline=deadline).reshape(tensor.shape)


def _split_numbers(tensor: InputTensor, binary: memoryview) -> Array:
    dtype = np.dtype(DTYPES[tensor.datatype]).newbyteorder("<")
    size = math.prod(tensor.shape) * dtype.itemsize
    if len(binary) != size:
        raise BadRequestError(
            f"binary_data_size is {len(binary)}; {tensor.datatype}{[*tensor.shape]} takes {size} bytes."
        )
    return np.frombuffer(binary, dtype).reshape(tensor.shape)
