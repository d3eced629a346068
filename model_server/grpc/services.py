"""The gRPC services: convert the request, call the data plane, convert the result."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import grpc

from model_server.dataplane import DataPlane
from model_server.errors import InvalidArgumentError, ResourceExhaustedError
from model_server.grpc.health import health_service
from model_server.grpc.messages import MessageReader, rpc_errors
from model_server.memory import MAX_REQUEST_BYTES
from model_server.monitoring import Metrics
from model_server.proto_conversion import (
    Message,
    classification_response,
    example_list,
    input_arrays,
    metadata_response,
    model_spec,
    multi_inference_response,
    predict_response,
    regression_response,
    reload_response,
    status_response,
    task_spec,
)
from model_server.versions.repository import read_reload_request
from tfs_api.protos import model_pb2
from tfs_api.services import model_service_pb2_grpc, prediction_service_pb2_grpc

Context: TypeAlias = grpc.ServicerContext

_SIGNATURE_DEF = "signature_def"
_NO_DEADLINE_S = 1e9
"""gRPC reports a remaining time far beyond this for a call without a deadline."""


class ConcurrencyLimit:
    """Limits the calls in progress.

    tensorflow_model_server refuses calls when all of its threads but one are busy.
    """

    def __init__(self, threads: int) -> None:
        self._slots = threading.BoundedSemaphore(max(threads - 1, 1))

    @contextmanager
    def acquire(self) -> Iterator[None]:
        """Occupy a slot during one call.

        Raises:
            ResourceExhaustedError: Too many calls are in progress.
        """
        if not self._slots.acquire(blocking=False):
            raise ResourceExhaustedError("Server Threadpool Exhausted")
        try:
            yield
        finally:
            self._slots.release()


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]  # no types
    """The methods of tensorflow_serving/apis/prediction_service.proto."""

    def __init__(self, plane: DataPlane, limit: ConcurrencyLimit, metrics: Metrics, options: "GrpcOptions") -> None:
        self._plane = plane
        self._limit = limit
        self._metrics = metrics
        self._options = options

    def Predict(self, request: Message, context: Context) -> Message:  # noqa: N802  # the service's name for it
        """Run a signature of a model."""
        with rpc_errors(context), self._limit.acquire(), self._counted(request.model_spec, "Predict"):
            spec = model_spec(request)
            inputs = input_arrays(request.inputs, self._options.max_request_bytes)
            prediction = self._plane.predict(spec, inputs, request.output_filter, _remaining_s(context))
            return predict_response(spec, prediction, as_content=self._options.tensor_content)

    def Classify(self, request: Message, context: Context) -> Message:  # noqa: N802  # as above
        """Run a classification signature of a model."""
        with rpc_errors(context), self._limit.acquire(), self._counted(request.model_spec, "Classify"):
            spec = model_spec(request)
            result = self._plane.classify(spec, self._examples(request), _remaining_s(context))
            return classification_response(spec, *result)

    def Regress(self, request: Message, context: Context) -> Message:  # noqa: N802  # as above
        """Run a regression signature of a model."""
        with rpc_errors(context), self._limit.acquire(), self._counted(request.model_spec, "Regress"):
            spec = model_spec(request)
            result = self._plane.regress(spec, self._examples(request), _remaining_s(context))
            return regression_response(spec, *result)

    def MultiInference(self, request: Message, context: Context) -> Message:  # noqa: N802  # as above
        """Run several signatures of a model over the same examples."""
        first_spec = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
        with rpc_errors(context), self._limit.acquire(), self._counted(first_spec, "MultiInference"):
            tasks = [(task_spec(task), task.method_name) for task in request.tasks]
            result = self._plane.multi_inference(tasks, self._examples(request), _remaining_s(context))
            return multi_inference_response([spec for spec, _ in tasks], *result)

    def GetModelMetadata(self, request: Message, context: Context) -> Message:  # noqa: N802  # as above
        """Return a model's signatures."""
        with rpc_errors(context), self._limit.acquire():
            spec = model_spec(request)
            _check_fields(request.metadata_field)
            return metadata_response(spec, *self._plane.signatures(spec))

    def _examples(self, request: Message) -> list[bytes]:
        return example_list(request.input, self._options.max_request_bytes)

    def _counted(self, model_spec: Message, api: str) -> AbstractContextManager[None]:
        return self._metrics.request(model_spec.name, api, "GRPC")


class ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]  # no types
    """The methods of tensorflow_serving/apis/model_service.proto."""

    def __init__(self, plane: DataPlane, limit: ConcurrencyLimit) -> None:
        self._plane = plane
        self._limit = limit

    def GetModelStatus(self, request: Message, context: Context) -> Message:  # noqa: N802  # as above
        """Return the status of a model's versions."""
        with rpc_errors(context), self._limit.acquire():
            return status_response(self._plane.statuses(model_spec(request)))

    def HandleReloadConfigRequest(self, request: Message, context: Context) -> Message:  # noqa: N802  # as above
        """Apply a new configuration of models."""
        with rpc_errors(context), self._limit.acquire():
            self._plane.reload(read_reload_request(request.config), _remaining_s(context))
            return reload_response()


class _UnknownMethods(grpc.GenericRpcHandler):
    """Refuses unknown methods with an empty message, like tensorflow_model_server; grpcio's default has a text."""

    def service(
        self,
        handler_call_details: grpc.HandlerCallDetails,  # noqa: ARG002  # every method is unknown here
    ) -> "grpc.RpcMethodHandler[bytes, bytes]":  # only the published types are generic
        """Answer every method as a stream, because this handler fits every kind of call."""
        return grpc.stream_stream_rpc_method_handler(
            lambda _requests, context: context.abort(grpc.StatusCode.UNIMPLEMENTED, "")
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcOptions:
    """Options of the gRPC server."""

    addresses: Sequence[str]
    """`host:port` or `unix:path`."""
    threads: int
    """Size of the thread pool. One thread fewer may be busy; further calls are refused."""
    arguments: Sequence[tuple[str, str | int]] = ()
    """gRPC channel arguments."""
    credentials: grpc.ServerCredentials | None = None
    """Credentials for TLS; None for plain connections."""
    health: bool = False
    """Whether to offer grpc.health.v1."""
    tensor_content: bool = False
    """Return the elements of tensors in `tensor_content` instead of typed fields."""
    max_request_bytes: int = MAX_REQUEST_BYTES
    """Size of a message, and of what it stands for once decoded."""


def create_server(plane: DataPlane, options: GrpcOptions, metrics: Metrics) -> grpc.Server:
    """Return a server that is bound to its addresses; `start` makes it accept calls.

    Raises:
        RuntimeError: An address is in use.
    """
    reader = MessageReader(options.max_request_bytes)
    arguments = [
        *reader.channel_arguments,
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),  # a port in use must be an error
        *options.arguments,
    ]
    threads = ThreadPoolExecutor(options.threads, thread_name_prefix="grpc")
    server = grpc.server(threads, options=arguments, interceptors=[reader])
    limit = ConcurrencyLimit(options.threads)
    prediction_service = PredictionService(plane, limit, metrics, options)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(prediction_service, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(plane, limit), server)
    if options.health:
        server.add_generic_rpc_handlers((health_service(),))
    server.add_generic_rpc_handlers((_UnknownMethods(),))  # last, because it matches every method
    for address in options.addresses:
        if options.credentials:
            server.add_secure_port(address, options.credentials)
        else:
            server.add_insecure_port(address)
    return server


def _check_fields(fields: Sequence[str]) -> None:
    if not fields:
        raise InvalidArgumentError("GetModelMetadataRequest must specify at least one metadata_field")
    for field in fields:
        if field != _SIGNATURE_DEF:
            raise InvalidArgumentError(f"Metadata field {field} is not supported")


def _remaining_s(context: Context) -> float | None:
    remaining_s = context.time_remaining()
    return remaining_s if remaining_s < _NO_DEADLINE_S else None
