"""Parse the body of a prediction in TensorFlow Serving's words, by row (`instances`) or by column (`inputs`)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gateway.deadline import Deadline
from gateway.errors import BadRequestError, GatewayError
from gateway.http.bodies import BodyRequest
from gateway.http.hints import quote
from gateway.http.json_objects import parse_json_object
from gateway.http.long_text import LongText
from gateway.http.request_parser import Origin, RequestLimits, check_image_count, check_names, decode_image, read_body
from gateway.models.binding import SERVING_DEFAULT, ServedModel
from gateway.prediction.image_loader import ImageSource
from gateway.protocols.numbers import Numbers, read_numbers
from gateway.protocols.tensors import hold_memory, require_shape, split_rows
from vision.model_io import STRING

BINARY = "b64"
CLASSIFY_BYTES = "classify_bytes"
SIGNATURES = ("", SERVING_DEFAULT, CLASSIFY_BYTES)
"""Names of signatures that take images and return the scores of each class."""
FORMATS = {"instances": "predictions", "inputs": "outputs"}
"""Name of the answer, by the name of what was sent."""
FILES = 'image files as {"b64": "<base64>"}'


@dataclass(frozen=True, slots=True)
class PredictParser:
    """Parses predictions within limits.

    Attributes:
        limits: Limits on one request.
    """

    limits: RequestLimits

    def parse(
        self, request: BodyRequest, served: ServedModel, *, deadline: Deadline
    ) -> tuple[Sequence[ImageSource], str]:
        """Return the images of a request for a version of a model, and the name of the answer.

        Raises:
            BadRequestError: It is malformed, or does not fit the model.
            TooManyImagesError: It has more images than the limit.
            GatewayError: See `read_body`.
        """
        fields = parse_json_object(read_body(request), self.limits.json, make_numbers=memoryview)
        check_names(fields, (*FORMATS, "signature_name"), "member", prefix="/")
        signature = fields.get("signature_name", "")
        if signature not in SIGNATURES:
            raise BadRequestError(
                f"signature_name must be {SERVING_DEFAULT} or {CLASSIFY_BYTES}, or absent: the gateway prepares images "
                "itself, whichever of them the model has.",
                field="/signature_name",
            )
        names = [name for name in FORMATS if name in fields]
        if len(names) != 1:
            raise BadRequestError('Send either "instances" (by row) or "inputs" (by column).')
        name = names[0]
        value = fields[name]
        if name == "inputs" and isinstance(value, dict) and BINARY not in value:
            value = _only_value(value, name)
        reader = _Reader(request, served, self.limits.max_images, deadline)
        return reader.read(value, name), FORMATS[name]


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the images of one request."""

    request: BodyRequest
    served: ServedModel
    max_images: int
    deadline: Deadline

    def read(self, value: object, name: str) -> Sequence[ImageSource]:
        """Return the images of a batch: a tensor, or a list of files and of tensors without the batch dimension."""
        numbers = read_numbers(value)
        if numbers is not None:
            return self._tensor(numbers, numbers.shape)
        if not isinstance(value, list) or not value:
            raise BadRequestError(
                f"{name} must be a list with one item for each image: {FILES}, or tensors of numbers.", field=f"/{name}"
            )
        check_image_count(len(value), self.max_images)
        return [self._item(item, f"{name}[{index}]") for index, item in enumerate(value)]

    def _item(self, item: object, name: str) -> ImageSource:
        if isinstance(item, dict) and BINARY not in item:
            item = _only_value(item, name)
        if isinstance(item, dict):
            return self._file(item, name)
        numbers = read_numbers(item)
        if numbers is None:
            raise BadRequestError(f"{name} is neither an image file nor a tensor. Send {FILES}, or nested numbers.")
        return self._tensor(numbers, (1, *numbers.shape))[0]

    def _file(self, item: dict[str, object], name: str) -> ImageSource:
        text = item.get(BINARY)
        if len(item) != 1 or not isinstance(text, str | LongText):
            raise BadRequestError(f"{name} must have one member, {quote(BINARY)}, with a string of base64.")
        image = decode_image(text, f"{name}.{BINARY}", self.deadline, Origin())
        if isinstance(image, GatewayError):
            raise image
        return image

    def _tensor(self, numbers: Numbers, shape: tuple[int, ...]) -> Sequence[ImageSource]:
        """Return the rows of a tensor, whose element type is that of the model's input."""
        dtype = self.served.row.dtype
        require_shape(self.served, "float32" if dtype == STRING else dtype, shape, files=FILES)
        check_image_count(shape[0], self.max_images)
        hold_memory(self.request, math.prod(shape) * np.dtype(dtype).itemsize)
        return split_rows(numbers.to_array(dtype, deadline=self.deadline).reshape(shape))


def _only_value(fields: dict[str, object], name: str) -> object:
    """Return the value of the only input, whatever its name is.

    Raises:
        BadRequestError: There are several, or none.
    """
    if len(fields) != 1:
        raise BadRequestError(f"{name} must have one input, the image.", field=f"/{name}")
    return next(iter(fields.values()))
