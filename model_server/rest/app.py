"""The REST API: convert the request, call the data plane, convert the result. Sockets are in `http_server`.

Paths, statuses and messages are those of tensorflow_serving/model_servers/http_rest_api_handler.cc.
"""

import json
import logging
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from google.protobuf import json_format

from model_server.dataplane import DEFAULT_SIGNATURE, DataPlane, ModelSpec
from model_server.errors import Code, InvalidArgumentError, ServingError
from model_server.monitoring import Monitoring
from model_server.proto_conversion import Message, metadata_response, status_response
from model_server.rest import rapidjson_compat
from model_server.rest.rapidjson_compat import JsonError
from model_server.rest.read_tensors import InputTypes, read_inputs, read_signature_name
from model_server.rest.tf_examples import read_examples, write_classifications, write_regressions
from model_server.rest.write_tensors import write_outputs
from model_server.servable import Servable

_LOG = logging.getLogger(__name__)

_STATUSES = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}
"""HTTP status of each canonical code, as TensorFlow Serving maps them."""

# TensorFlow Serving matches paths regardless of case, and then compares the method and "metadata" exactly.
_MODEL = r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?"
_ANY_PATH = re.compile(r"/v1/.*", re.IGNORECASE | re.DOTALL)
_PREDICTION_PATH = re.compile(_MODEL + r":(\w+)", re.IGNORECASE | re.ASCII)
_STATUS_PATH = re.compile(_MODEL + r"(?:/(metadata))?", re.IGNORECASE | re.ASCII)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

_CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}

_MAX_VERSION = 2**63 - 1
_VERSION_DIGITS = 20
"""2**63 has 19 digits, so 20 are enough to reject a number."""
_MAX_UNCOMPRESSED_BYTES = 100 * 2**20
_MAX_JSON_VALUES = 10_000_000
"""A number or an empty list in JSON can be as short as two bytes; it takes up to a hundred as a Python object."""


@dataclass(frozen=True, slots=True)
class Request:
    """A complete HTTP request."""

    method: str
    path: str
    """The target as sent. TensorFlow Serving treats the query as part of the path."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Values by name in lower case."""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    close: bool = False
    """Close the connection after the response."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Additional headers."""


class VersionOutOfRangeError(InvalidArgumentError):
    """A version number does not fit into an int64. The response to it has no body."""


class RestApp:
    """Answers HTTP requests."""

    def __init__(self, plane: DataPlane, monitoring: Monitoring, *, timeout_s: float, cors: bool = False) -> None:
        """Serve `plane`.

        Args:
            plane: The operations.
            monitoring: Counts requests; has the path of the metrics page.
            timeout_s: Time limit of a computation, in seconds.
            cors: Allow pages of other origins to read responses.
        """
        self._plane = plane
        self._monitoring = monitoring
        self._timeout_s = timeout_s
        self._headers = _CORS_HEADERS if cors else {}
        self._methods = {"predict": self._predict, "classify": self._classify, "regress": self._regress}

    def respond(self, request: Request) -> Response:
        """Answer a request; errors become responses."""
        if self._monitoring.path and request.path == self._monitoring.path:
            return Response(200, self._monitoring.metrics.page().encode(), "text/plain")
        if not _ANY_PATH.fullmatch(request.path):
            return html_error(HTTPStatus.NOT_FOUND)
        if _BAD_ESCAPE.search(request.path):
            return html_error(HTTPStatus.BAD_REQUEST)
        response = _preflight(request) if request.method == "OPTIONS" else self._respond(request)
        return replace(response, headers=self._headers) if self._headers else response

    def _respond(self, request: Request) -> Response:
        try:
            return self._dispatch(request)
        except VersionOutOfRangeError:
            return Response(400)
        except ServingError as error:
            return json_error(_STATUSES[error.code], error.message)
        except RecursionError:
            return json_error(400, "JSON Parse error: Nested too deeply")
        except Exception:  # noqa: BLE001  # the last handler; the caller gets a response in any case
            _LOG.exception("%s %s failed", request.method, request.path)
            return json_error(500, "Internal error, see the server's log")

    def _dispatch(self, request: Request) -> Response:
        if request.method == "POST":
            match = _PREDICTION_PATH.fullmatch(request.path)
            if match and match[4] in self._methods:
                spec = _model_spec(match)
                with self._monitoring.metrics.request(spec.name, match[4], "REST"):
                    return self._methods[match[4]](spec, request)
        if request.method == "GET":
            if request.path.lower() == "/v1/models":
                raise InvalidArgumentError("Missing model name in request.")
            match = _STATUS_PATH.fullmatch(request.path)
            if match and match[4] == "metadata":
                return self._metadata(_model_spec(match))
            if match:
                return _proto_response(status_response(self._plane.statuses(_model_spec(match))))
        raise InvalidArgumentError(f"Malformed request: {request.method} {request.path}")

    def _predict(self, spec: ModelSpec, request: Request) -> Response:
        document = _read_json(request)
        name = read_signature_name(document) or DEFAULT_SIGNATURE
        with self._plane.lease(spec) as (_, servable):
            layout, inputs = read_inputs(document, _input_types(servable, name))
            outputs = self._plane.run(servable, name, inputs, timeout_s=self._timeout_s)
        return _text_response(write_outputs(layout, outputs))

    def _classify(self, spec: ModelSpec, request: Request) -> Response:
        spec, examples = _example_request(spec, request)
        _, classifications = self._plane.classify(spec, examples, self._timeout_s)
        return _text_response(write_classifications(classifications))

    def _regress(self, spec: ModelSpec, request: Request) -> Response:
        spec, examples = _example_request(spec, request)
        _, regressions = self._plane.regress(spec, examples, self._timeout_s)
        return _text_response(write_regressions(regressions))

    def _metadata(self, spec: ModelSpec) -> Response:
        version, signatures = self._plane.signatures(spec)
        message = _to_dict(metadata_response(spec, version, signatures))
        any_map = message["metadata"]["signature_def"]
        signature_map = {"signature_def": {"signature_def": any_map["signature_def"]}}
        return _json_response({"model_spec": message["model_spec"], "metadata": signature_map})


def html_error(status: HTTPStatus) -> Response:
    """Return the error page of TensorFlow Serving's HTTP library."""
    title, heading = f"{status.value} {status.phrase}", status.phrase
    body = f"<HTML><HEAD>\n<TITLE>{title}</TITLE>\n</HEAD><BODY>\n<H1>{heading}</H1>\n</BODY></HTML>\n"
    return Response(status.value, body.encode(), "text/html", close=True)


def _preflight(request: Request) -> Response:
    has_origin = request.headers.get("origin", "null") != "null"
    return Response(200 if has_origin else 400, content_type="text/html; charset=ISO-8859-1")


def _model_spec(match: re.Match[str]) -> ModelSpec:
    name, label = match[1], match[3]
    version = None if match[2] is None else int(match[2].lstrip("0")[:_VERSION_DIGITS] or "0")
    if version is not None and version > _MAX_VERSION:
        raise VersionOutOfRangeError(f"Version {version} is out of range")
    return ModelSpec(unquote(name), version=version, label=None if label is None else unquote(label))


def _read_json(request: Request) -> rapidjson_compat.Json:
    body = request.body
    if request.headers.get("content-encoding", "").lower() == "gzip":
        body = _gunzip(body)
    values = sum(map(body.count, b",[{"))
    if values > _MAX_JSON_VALUES:
        raise InvalidArgumentError(f"The body has about {values} JSON values; at most {_MAX_JSON_VALUES} are accepted")
    try:
        return rapidjson_compat.parse(body)
    except JsonError as error:
        raise InvalidArgumentError(f"JSON Parse error: {error}") from error


def _example_request(spec: ModelSpec, request: Request) -> tuple[ModelSpec, list[bytes]]:
    document = _read_json(request)
    name = read_signature_name(document)
    return replace(spec, signature=name), read_examples(document)


def _gunzip(body: bytes) -> bytes:
    """Decompress gzip. Data that is invalid, truncated or too large yields an empty body, as upstream."""
    reader = zlib.decompressobj(wbits=31)
    try:
        content = reader.decompress(body, _MAX_UNCOMPRESSED_BYTES)
    except zlib.error:
        return b""
    return content if reader.eof else b""


def _input_types(servable: Servable, name: str) -> InputTypes:
    signature = servable.signatures.get(name)
    if signature is None:
        raise InvalidArgumentError(f'Serving signature name: "{name}" not found in signature def')
    if not signature.inputs:
        raise InvalidArgumentError(f"Failed to get input map for signature: {name}")
    return {alias: info.dtype for alias, info in signature.inputs.items()}


def _text_response(text: str) -> Response:
    return Response(200, text.encode("utf-8", "surrogateescape"))


def _proto_response(message: Message) -> Response:
    return _json_response(_to_dict(message))


def _to_dict(message: Message) -> dict[str, Any]:
    return dict(
        json_format.MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    )


def _json_response(value: object) -> Response:
    return Response(200, json.dumps(_with_short_numbers(value), indent=1, ensure_ascii=False).encode())


def _with_short_numbers(value: Any) -> Any:
    """Convert 100.0 to 100, as C++ protobuf prints it. Such numbers occur in the defaults of signatures."""
    if isinstance(value, dict):
        return {name: _with_short_numbers(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_with_short_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def json_error(status: int, message: str) -> Response:
    """Return an error of the API."""
    text = json.dumps({"error": message}, indent=4, ensure_ascii=False)
    return Response(status, text.encode("utf-8", "surrogateescape"))
