"""TensorFlow Serving over gRPC: calls with a deadline, arrays in and out, its failures as ours."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import grpc

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
from gateway.model_client.protocol import Array, Call, Signature, TensorSpec, VersionStatus
from tfs_api.protos import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    types_pb2,
)
from tfs_api.tensors import TensorError, encode_predict_request, from_tensor_proto

# Of several servers, one that answers none of its calls, as one that is frozen, is left out for a while; of one alone
# nothing is left out (https://github.com/grpc/proposal/blob/master/A50-xds-outlier-detection.md).
LEAVE_OUT_THE_DEAD = {
    "interval": "1s",
    "baseEjectionTime": "10s",
    "maxEjectionTime": "60s",
    "maxEjectionPercent": 50,
    "failurePercentageEjection": {
        "threshold": 80,
        "enforcementPercentage": 100,
        "minimumHosts": 2,
        "requestVolume": 2,
    },
    "childPolicy": [{"round_robin": {}}],
}

# A few further tries, a third of a second in all, where the connection broke or the server had no thread or no place in
# its queue of batches: every call may be repeated, none changes anything. While most calls fail none is repeated, the
# throttle sees to that (https://github.com/grpc/proposal/blob/master/A6-client-retries.md).
SERVICE_CONFIG = {
    "loadBalancingConfig": [{"outlier_detection_experimental": LEAVE_OUT_THE_DEAD}],
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ],
    # Half of the tokens may be used up: all calls under way when a server dies, and no more.
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 1},
}

MAX_RETRIED_BYTES = 2**30
HUNG_S = 1.0
"""More than all of gRPC's own tries of a call that is refused at once take together."""
FURTHER_TRIES = 3
"""Of a call that hung, while the request has time left."""

CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # The default waits up to two minutes before it looks for a server that was away.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 300),
    # Despite its name, how long one attempt may take: a busy server needs a while, a lost packet must not cost 20 s.
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    ("grpc.enable_retries", 1),
    # By default a call of more than 256 KiB is not kept for another try; a batch is larger.
    ("grpc.per_rpc_retry_buffer_size", MAX_RETRIED_BYTES),
    # How long a server that was cut off may leave bytes unacknowledged (TCP_USER_TIMEOUT of tcp(7)) before its calls go
    # to another. gRPC sets that together with keepalive pings alone; more than one in five minutes is punished.
    ("grpc.keepalive_time_ms", 600_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    # The model server is a neighbour, never behind the proxy for the outside.
    ("grpc.enable_http_proxy", 0),
)

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
"""Called with bytes instead of a message."""

MAX_VERSION = 2**63 - 1
"""Largest number that a version can have: an int64 in ModelSpec."""

UNKNOWN_LABEL = grpc.StatusCode.INVALID_ARGUMENT
"""What the server answers to a label that it does not know."""

# What the caller is told; what the model server said goes to the log, it may name paths and nodes.
DETAILS: dict[type[GatewayError], str] = {
    ModelUnavailableError: "The model server cannot be reached. Try again shortly.",
    ModelOverloadedError: "The model server has no capacity left. Try again shortly.",
    DeadlineExceededError: "The model server did not answer in time.",
    VersionGoneError: "The model server does not serve this version of the model.",
    ModelFailedError: "The model server could not compute an answer; its log and the gateway's tell why.",
}


@contextmanager
def translated_rpc_errors() -> Iterator[None]:
    """Turn a failed RPC into the `GatewayError` that stands for it, keeping the RPC error as its cause."""
    try:
        yield
    except grpc.RpcError as error:
        kind = ERRORS[error.code()]
        raise kind(DETAILS[kind]) from error


class TensorFlowServing:
    """A client of one model server, or of several behind one name; safe to use from many threads.

    Create it in the process that uses it: a gRPC channel does not survive a fork.

    Args:
        target: gRPC name of the server, such as `127.0.0.1:8500`, `dns:///models:8500` or `unix:/run/tfs.sock`.
        call_deadline_s: Longest time for one call; a shorter deadline of the request counts before it.
    """

    def __init__(self, target: str, *, call_deadline_s: float) -> None:
        self._channel = grpc.insecure_channel(target, options=CHANNEL_OPTIONS)
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._predict: Any = self._channel.unary_unary(
            PREDICT, response_deserializer=predict_pb2.PredictResponse.FromString
        )
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._call_deadline_s = call_deadline_s

    def close(self) -> None:
        """Give the connection back; calls in progress fail."""
        self._channel.close()

    def version_statuses(self, model: str, *, deadline: Deadline) -> list[VersionStatus]:
        """List the versions that the server knows of a model; see `ModelServer`."""
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        reply = self._call(self._models.GetModelStatus, request, deadline)
        return [
            VersionStatus(item.version, item.State.Name(item.state), item.status.error_message)
            for item in reply.model_version_status
        ]

    def signatures(self, model: str, version: int, *, deadline: Deadline) -> Mapping[str, Signature]:
        """List the entry points of one version; see `ModelServer`."""
        if version > MAX_VERSION:
            raise VersionGoneError(DETAILS[VersionGoneError])
        reply = self._metadata(deadline, name=model, version={"value": version})
        packed = get_model_metadata_pb2.SignatureDefMap()
        reply.metadata["signature_def"].Unpack(packed)
        return {
            name: Signature(_tensor_specs(definition.inputs), _tensor_specs(definition.outputs))
            for name, definition in packed.signature_def.items()
        }

    def resolve_label(self, model: str, label: str, *, deadline: Deadline) -> int:
        """Say which version a label points to; see `ModelServer`.

        The server knows, by its configuration or by what it was told over gRPC since; status, unlike metadata, does
        not look at labels.
        """
        try:
            reply = self._metadata(deadline, name=model, version_label=label)
        except ModelFailedError as error:
            if isinstance(error.__cause__, grpc.RpcError) and error.__cause__.code() is UNKNOWN_LABEL:
                raise VersionGoneError(f"The model server knows no label {label!r} of {model}.") from error
            raise
        return int(reply.model_spec.version.value)

    def predict(self, call: Call, inputs: Mapping[str, Array], *, deadline: Deadline, request_id: str = "") -> Array:
        """Run one entry point; see `ModelServer`.

        What is sent is checked here and not left to the server: it compares no shapes, and a tensor of the wrong
        rank ends its process.
        """
        _check_inputs(call, inputs)
        request = encode_predict_request(call.model, call.version, call.signature_name, call.output, inputs)
        reply = self._call(self._predict, request, deadline, request_id)
        try:
            return from_tensor_proto(reply.outputs[call.output])
        except TensorError as error:
            raise ModelFailedError(DETAILS[ModelFailedError]) from error

    def _metadata(self, deadline: Deadline, **asked: Any) -> Any:
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.CopyFrom(model_pb2.ModelSpec(**asked))
        return self._call(self._predictions.GetModelMetadata, request, deadline)

    def _call(self, method: Any, request: Any, deadline: Deadline, request_id: str = "") -> Any:
        metadata = (("x-request-id", request_id),) if request_id else None
        with translated_rpc_errors():
            patience_s = deadline.remaining_s(self._call_deadline_s)
            unreachable: grpc.RpcError | None = None
            made = 0
            while True:
                started_s = time.monotonic()
                try:
                    return method(request, timeout=patience_s, metadata=metadata)
                except grpc.RpcError as error:
                    unavailable = error.code() is grpc.StatusCode.UNAVAILABLE
                    # gRPC leaves out some calls of a connection that broke; one try more is for those.
                    broke = unavailable and made == 0
                    again = broke or _hung(error.code(), time.monotonic() - started_s)
                    if made == FURTHER_TRIES or deadline.has_passed or not again:
                        if unreachable is not None and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                            raise unreachable from error  # the last try was merely given too little time to find out
                        raise
                    if unavailable:
                        unreachable = error
                # Of several servers, another one's turn may have come; if not, there is half of the time left.
                patience_s = deadline.remaining_s(self._call_deadline_s) / 2
                made += 1


def _hung(code: grpc.StatusCode, spent_s: float) -> bool:
    """Tell whether a call got no answer, rather than a refusal: the time was over, or its server was cut off."""
    return code is grpc.StatusCode.DEADLINE_EXCEEDED or (code is grpc.StatusCode.UNAVAILABLE and spent_s > HUNG_S)


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
    name = str(types_pb2.DataType.Name(data_type)).removeprefix("DT_").lower()
    return {"float": "float32", "double": "float64", "half": "float16"}.get(name, name)


def _shape(proto: Any) -> tuple[int | None, ...] | None:
    if proto.unknown_rank:
        return None
    return tuple(None if dimension.size < 0 else dimension.size for dimension in proto.dim)
