"""Parse the body of an inference of the Open Inference Protocol, with the extension for binary tensors.

https://github.com/kserve/open-inference-protocol and Triton's extension_binary_data: JSON, and behind it the tensors
that have `binary_data_size`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.deadline import Deadline
from gateway.errors import BadRequestError
from gateway.http.bodies import BodyRequest
from gateway.http.headers import INFERENCE_JSON_BYTES
from gateway.http.hints import quote
from gateway.http.json_objects import parse_json_object
from gateway.http.request_parser import RequestLimits, check_image_count, check_names, read_body
from gateway.models.binding import ServedModel
from gateway.prediction.image_loader import ImageSource
from gateway.protocols.infer_data import DTYPES, InputTensor, read_images
from gateway.protocols.numbers import MAX_RANK

LENGTH = re.compile(r"[0-9]{1,15}")
IGNORED = ("content_type",)
"""Parameters of other servers that change nothing here."""


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """How the scores are returned.

    Attributes:
        is_binary: Whether they follow the JSON as bytes.
        classes: Number of best classes to return as texts `score:index:label`; None for the scores of all.
    """

    is_binary: bool = False
    classes: int | None = None


@dataclass(frozen=True, slots=True)
class InferRequest:
    """An inference.

    Attributes:
        images: The images, at least one.
        id: What the caller calls the request; None if it has no name.
        output: How the scores are returned.
    """

    images: Sequence[ImageSource]
    id: str | None
    output: OutputFormat


@dataclass(frozen=True, slots=True)
class InferParser:
    """Parses inferences within limits.

    Attributes:
        limits: Limits on one request.
    """

    limits: RequestLimits

    def parse(self, request: BodyRequest, served: ServedModel, *, deadline: Deadline) -> InferRequest:
        """Parse a request for a version of a model.

        Raises:
            BadRequestError: It is malformed, or does not fit the model.
            TooManyImagesError: It has more images than the limit.
            GatewayError: See `read_body`.
        """
        document, binary = _split(read_body(request), request.headers.get(INFERENCE_JSON_BYTES))
        fields = parse_json_object(document, self.limits.json, make_numbers=memoryview)
        check_names(fields, ("id", "parameters", "inputs", "outputs"), "member", prefix="/")
        request_id = fields.get("id")
        if not isinstance(request_id, str | None):
            raise BadRequestError("id must be a short string.", field="/id")
        output = _parse_outputs(fields, served)
        tensor = _parse_input(fields.get("inputs"), served)
        check_image_count(tensor.shape[0], self.limits.max_images)
        return InferRequest(read_images(tensor, binary, request, served, deadline), request_id, output)


def _split(body: bytes, length: str | None) -> tuple[bytes, memoryview]:
    """Return the JSON of a body, and what follows."""
    if length is None:
        return body, memoryview(b"")
    if not LENGTH.fullmatch(length) or int(length) > len(body):
        raise BadRequestError(
            f"{INFERENCE_JSON_BYTES} must be the number of bytes of the JSON, at most the {len(body)} of the body, not "
            f"{quote(length)}."
        )
    return body[: int(length)], memoryview(body)[int(length) :]


def _parse_outputs(fields: Mapping[str, Any], served: ServedModel) -> OutputFormat:
    is_binary = _parameters(fields, "", None).get("binary_data_output", False)
    outputs = fields.get("outputs") or [{"name": served.call.output}]
    if not isinstance(outputs, list) or len(outputs) != 1 or not isinstance(outputs[0], dict):
        raise BadRequestError(f"outputs must be a list of one object: {served.name} has one output.", field="/outputs")
    check_names(outputs[0], ("name", "parameters"), "member", prefix="/outputs/0/")
    _check_name(outputs[0].get("name"), served.call.output, "output", served)
    parameters = _parameters(outputs[0], "outputs/0/", ("binary_data", "classification", *IGNORED))
    is_binary, classes = parameters.get("binary_data", is_binary), parameters.get("classification")
    if not isinstance(is_binary, bool):
        raise BadRequestError("binary_data and binary_data_output must be true or false.")
    if classes is not None and (not isinstance(classes, int) or isinstance(classes, bool) or classes < 1):
        raise BadRequestError("classification must be a number of classes, at least 1.")
    return OutputFormat(is_binary, classes)


def _parse_input(inputs: object, served: ServedModel) -> InputTensor:
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise BadRequestError(
            f"inputs must be a list of one object: {served.name} takes one input, {quote(served.input_name)}.",
            field="/inputs",
        )
    fields: Mapping[str, Any] = inputs[0]
    check_names(fields, ("name", "shape", "datatype", "parameters", "data"), "member", prefix="/inputs/0/")
    _check_name(fields.get("name"), served.input_name, "input", served)
    datatype, shape = fields.get("datatype"), fields.get("shape")
    if not isinstance(datatype, str) or datatype not in DTYPES:
        raise BadRequestError(f"datatype must be one of {', '.join(DTYPES)}.", field="/inputs/0/datatype")
    is_shape = isinstance(shape, list) and 0 < len(shape) <= MAX_RANK
    if not is_shape or not all(type(size) is int and size > 0 for size in shape or ()):
        raise BadRequestError(
            "shape must be a list of whole numbers of at least 1, of which the first is the number of images.",
            field="/inputs/0/shape",
        )
    size = _parameters(fields, "inputs/0/", ("binary_data_size", *IGNORED)).get("binary_data_size")
    if size is not None and (type(size) is not int or "data" in fields):
        raise BadRequestError("Send either data, or binary_data_size as a number of bytes behind the JSON.")
    return InputTensor(datatype, tuple(shape or ()), fields.get("data"), size)


def _parameters(fields: Mapping[str, Any], where: str, accepted: Sequence[str] | None) -> Mapping[str, Any]:
    """Return the parameters of an object, of which it may have none.

    Args:
        fields: The object.
        where: What precedes its members in a JSON pointer.
        accepted: Names of its parameters; None for any name, since servers and clients add their own.
    """
    parameters = fields.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise BadRequestError("parameters must be an object.", field=f"/{where}parameters")
    if accepted is not None:
        check_names(parameters, accepted, "parameter", prefix=f"/{where}parameters/")
    return parameters


def _check_name(name: object, expected: str, kind: str, served: ServedModel) -> None:
    if name != expected:
        quoted = quote(name) if isinstance(name, str) else "without a name"
        raise BadRequestError(f"There is no {kind} {quoted}: {served.name} has the {kind} {quote(expected)}.")
