"""Client of TensorFlow Serving over gRPC: arrays in and out, a deadline for every call, failures as `GatewayError`."""

import math
import time
from collections.abc import Mapping
from typing import Any

import grpc
import structlog

from gateway.deadline import Deadline
from gateway.errors import (
    DeadlineExceededError,
    GatewayError,
    ModelContractError,
    ModelFailedError,
    ModelOverloadedError,
    ModelUnavailableError,
    VersionGoneError,
)
from gateway.model_client import batch_splitting
from gateway.model_client.channel_options import CHANNEL_OPTIONS
from gateway.model_client.protocol import Array, Call, Signature, TensorSpec, VersionStatus, append_confidence
from gateway.model_client.retry_policy import Failure, RetryBudget, RetryPolicy, is_overload
from tfs_api.encodings import data_type_name
from tfs_api.protos import get_model_metadata_pb2, get_model_status_pb2, model_pb2, predict_pb2
from tfs_api.services import model_service_pb2_grpc, prediction_service_pb2_grpc
from tfs_api.tensors import TensorError, encode_predict_request, from_tensor_proto

log = structlog.get_logger(__name__)

ERRORS: dict[grpc.StatusCode, type[GatewayError]] = {
    grpc.StatusCode.CANCELLED: ModelUnavailableError,
    grpc.StatusCode.UNAVAILABLE: ModelUnavailableError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ModelOverloadedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.NOT_FOUND: VersionGoneError,
    grpc.StatusCode.UNKNOWN: ModelFailedError,
    grpc.StatusCode.INVALID_ARGUMENT: ModelFailedError,
    grpc.StatusCode.ALREADY_EXISTS: ModelFailedError,
    grpc.StatusCode.PERMISSION_DENIED: ModelFailedError,
    grpc.StatusCode.UNAUTHENTICATED: ModelFailedError,
    grpc.StatusCode.FAILED_PRECONDITION: ModelFailedError,
    grpc.StatusCode.ABORTED: ModelFailedError,
    grpc.StatusCode.OUT_OF_RANGE: ModelFailedError,
    grpc.StatusCode.UNIMPLEMENTED: ModelFailedError,
    grpc.StatusCode.INTERNAL: ModelFailedError,
    grpc.StatusCode.DATA_LOSS: ModelFailedError,
}

PREDICT = "/tensorflow.serving.PredictionService/Predict"
"""Path of the method; requests are serialised by `encode_predict_request` instead of a stub."""

MAX_VERSIONS = 1000
"""Versions whose number of rows is remembered."""

MAX_VERSION = 2**63 - 1
"""Largest version number: ModelSpec holds an int64."""

UNKNOWN_LABEL = grpc.StatusCode.INVALID_ARGUMENT
"""Status with which the server refuses a label that it does not know."""

# Messages for the caller. The model server's own message may name paths and hosts, so it is only logged.
DETAILS: dict[type[GatewayError], str] = {
    ModelUnavailableError: "The model server cannot be reached. Try again shortly.",
    ModelOverloadedError: "The model server has no capacity left. Try again shortly.",
    DeadlineExceededError: "The model server did not answer in time.",
    VersionGoneError: "The model server does not serve this version of the model.",
    ModelFailedError: "The model server could not compute the result. Its log and the gateway's log have the reason.",
}

UNRESTORED_VARIABLES = ("Could not find variable", "Error while reading resource variable", "uninitialized value")
"""What the server's message contains if a variable of the model has no value; such a model loads, but cannot answer."""
UNRESTORED_DETAIL = (
    "The model server has no values for the model's variables, so it cannot compute anything. The model was probably "
    "saved by tf.saved_model.save from Keras 3, or its folder `variables` is missing. Export it again with "
    "model.export(FOLDER), or rewrite it: python -m train describe SAVEDMODEL --card CARD.json --pictures IMAGES"
)
# Faults of the address, by what gRPC says about them.
ADDRESS_FAULTS = {
    "parsing HTTP/2": "The model server's address answers, but not with gRPC. GATEWAY_TFS_TARGET needs its gRPC port, "
    "by default 8500; 8501 is the REST port.",
    "address lookup failed": "The model server's name cannot be resolved. Try again shortly; if that does not help, "
    "correct GATEWAY_TFS_TARGET.",
    # As servers in Python and in Go say it.
    **dict.fromkeys(
        ("Method not found", "unknown service"),
        "The model server's address answers with gRPC, but not as TensorFlow Serving. Correct GATEWAY_TFS_TARGET.",
    ),
}


class TensorFlowServing:
    """A client of one model server, or of several behind one name; safe to use from many threads.

    Create it in the process that uses it: a gRPC channel does not survive a fork.

    Args:
        target: gRPC name of the server, such as `127.0.0.1:8500`, `dns:///models:8500` or `unix:/run/tfs.sock`.
        call_deadline_s: Time limit on a call that may be repeated; a shorter deadline of the request takes precedence.
        max_retried_rows: Rows that may be repeated at once, in all calls together; see `RetryBudget`.
    """

    def __init__(self, target: str, *, call_deadline_s: float, max_retried_rows: float) -> None:
        self._channel = grpc.insecure_channel(target, options=CHANNEL_OPTIONS)
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._predict: Any = self._channel.unary_unary(
            PREDICT, response_deserializer=predict_pb2.PredictResponse.FromString
        )
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._retry_policy = RetryPolicy(call_deadline_s)
        self._retry_budget = RetryBudget(max_retried_rows)
        self._answered_s = -math.inf  # when the server answered a call last, in seconds of `time.monotonic`
        self._max_rows: dict[tuple[str, int], int] = {}  # of versions whose server has refused a larger call

    def close(self) -> None:
        """Close the connection; calls in progress fail."""
        self._channel.close()

    def version_statuses(self, model: str, *, deadline: Deadline) -> list[VersionStatus]:
        """List the versions of a model; see `ModelServer`.

        Raises:
            ModelOverloadedError: The server was late, but has answered other calls meanwhile.
        """
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        started_s = time.monotonic()
        try:
            reply = self._call(self._models.GetModelStatus, request, deadline)
        except DeadlineExceededError as error:
            if self._answered_s <= started_s:
                raise
            raise ModelOverloadedError(DETAILS[ModelOverloadedError]) from error
        return [
            VersionStatus(item.version, item.State.Name(item.state), item.status.error_message)
            for item in reply.model_version_status
        ]

    def signatures(self, model: str, version: int, *, deadline: Deadline) -> Mapping[str, Signature]:
        """List the signatures of one version; see `ModelServer`."""
        if version > MAX_VERSION:
            raise VersionGoneError(DETAILS[VersionGoneError])
        reply = self._metadata(deadline, name=model, version={"value": version})
        signature_map = get_model_metadata_pb2.SignatureDefMap()
        reply.metadata["signature_def"].Unpack(signature_map)
        return {
            name: Signature(_tensor_specs(definition.inputs), _tensor_specs(definition.outputs))
            for name, definition in signature_map.signature_def.items()
        }

    def resolve_label(self, model: str, label: str, *, deadline: Deadline) -> int:
        """Return the version that a label points to; see `ModelServer`.

        Only the server knows its labels: they come from its configuration and can be changed over gRPC. The metadata
        is requested because the server ignores labels in requests for the status.
        """
        try:
            reply = self._metadata(deadline, name=model, version_label=label)
        except ModelFailedError as error:
            if isinstance(error.__cause__, grpc.RpcError) and error.__cause__.code() is UNKNOWN_LABEL:
                raise VersionGoneError(f"The model server has no label {label!r} for {model}.") from error
            raise
        return int(reply.model_spec.version.value)

    def predict(self, call: Call, inputs: Mapping[str, Array], *, deadline: Deadline, request_id: str = "") -> Array:
        """Run one signature; see `ModelServer`.

        The inputs are checked here because the server does not compare shapes: a tensor of the wrong rank ends its
        process. More rows than the server accepts in one call are sent in several.
        """
        _check_inputs(call, inputs)
        rows = len(next(iter(inputs.values()))) if call.takes_batches and inputs else 1
        max_rows = self._max_rows.get((call.model, call.version), rows)
        if rows <= max_rows:
            outputs = [call.output] if call.confidence is None else [call.output, call.confidence]
            request = encode_predict_request(call.model, call.version, call.signature_name, outputs, inputs)
            try:
                reply = self._call(self._predict, request, deadline, request_id, rows)
                output = from_tensor_proto(reply.outputs[call.output])
                if call.confidence is None:
                    return output
                return append_confidence(call.model, output, from_tensor_proto(reply.outputs[call.confidence]))
            except TensorError as error:
                raise ModelFailedError(DETAILS[ModelFailedError]) from error
            except ModelFailedError as error:
                max_rows = self._learn_max_rows(call, rows, error)

        def predict(part: Mapping[str, Array]) -> Array:
            return self.predict(call, part, deadline=deadline, request_id=request_id)

        return batch_splitting.predict_in_parts(predict, inputs, max_rows)

    def _learn_max_rows(self, call: Call, rows: int, error: ModelFailedError) -> int:
        """Return how many rows the server accepts in one call, and remember it for this version.

        Raises:
            ModelFailedError: `error`, if the call failed for another reason. It names the model if the model is that.
        """
        max_rows = batch_splitting.find_max_rows(error, rows)
        if max_rows is None:
            if error.detail == UNRESTORED_DETAIL:
                detail = f"{call.model} version {call.version}: {UNRESTORED_DETAIL}"
                raise ModelFailedError(detail) from error.__cause__
            raise error
        log.warning("batch_too_large", model=call.model, version=call.version, rows=rows, max_rows=max_rows)
        if len(self._max_rows) >= MAX_VERSIONS:
            self._max_rows.clear()
        self._max_rows[call.model, call.version] = max_rows
        return max_rows

    def _metadata(self, deadline: Deadline, **model_spec: Any) -> Any:
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.CopyFrom(model_pb2.ModelSpec(**model_spec))
        return self._call(self._predictions.GetModelMetadata, request, deadline)

    def _call(self, method: Any, request: Any, deadline: Deadline, request_id: str = "", rows: int = 1) -> Any:
        """Call a method of the server, and call it again as the retry policy says and its budget allows."""
        metadata = (("x-request-id", request_id),) if request_id else None
        failures: list[Failure] = []
        while True:
            timeout_s = self._retry_policy.timeout_s(
                deadline, len(failures), can_repeat=not self._retry_budget.is_spent
            )
            started_s = time.monotonic()
            try:
                reply = method(request, timeout=timeout_s, metadata=metadata)
            except grpc.RpcError as error:
                failures.append(Failure(error, time.monotonic() - started_s))
                if self._retry_policy.should_retry(failures, deadline) and self._retry_budget.spend(rows):
                    continue
                rpc_error = self._retry_policy.error_to_report(failures)
                error_type = _error_type(rpc_error)
                if error_type is ModelUnavailableError:
                    self._max_rows.clear()  # a server that comes back may accept more
                raise error_type(_detail(error_type, rpc_error)) from rpc_error
            self._answered_s = time.monotonic()
            self._retry_budget.earn(rows)
            return reply


def _error_type(error: grpc.RpcError) -> type[GatewayError]:
    if is_overload(error):
        return ModelOverloadedError
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return ModelFailedError
    return ERRORS[error.code()]


def _detail(error_type: type[GatewayError], error: grpc.RpcError) -> str:
    """Return the message for the caller, which names no host."""
    text = error.details() or ""
    if error_type is ModelFailedError and any(cause in text for cause in UNRESTORED_VARIABLES):
        return UNRESTORED_DETAIL
    return next((detail for fault, detail in ADDRESS_FAULTS.items() if fault in text), DETAILS[error_type])


def _check_inputs(call: Call, inputs: Mapping[str, Array]) -> None:
    expected = call.signature.inputs
    if inputs.keys() != expected.keys():
        raise ModelContractError(
            f"Signature {call.signature_name} of {call.model} takes {sorted(expected)}, not {sorted(inputs)}."
        )
    for name, array in inputs.items():
        if not expected[name].accepts(array):
            raise ModelContractError(
                f"Input {name} of {call.model} takes {expected[name]}, not {array.dtype.name}{list(array.shape)}."
            )


def _tensor_specs(tensors: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {name: TensorSpec(_dtype_name(info.dtype), _shape(info.tensor_shape)) for name, info in tensors.items()}


def _dtype_name(data_type: int) -> str:
    name = data_type_name(data_type).removeprefix("DT_").lower()
    return {"float": "float32", "double": "float64", "half": "float16"}.get(name, name)


def _shape(proto: Any) -> tuple[int | None, ...] | None:
    if proto.unknown_rank:
        return None
    return tuple(None if dimension.size < 0 else dimension.size for dimension in proto.dim)
