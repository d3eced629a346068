"""A model server over gRPC that computes nothing and answers when a test lets it."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from bench.latency_server import Models, Predictions
from tfs_api.services import model_service_pb2_grpc, prediction_service_pb2_grpc

TIMEOUT_S = 60


class GatedPredictions(Predictions):
    """Answers while `may_answer` is set, as it is at first.

    Attributes:
        sizes: Bytes of each request to Predict, in order.
        may_answer: Each call waits for it, at most 60 s.
    """

    def __init__(self) -> None:
        super().__init__(slots=8, latency_s=0)
        self.sizes: list[int] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802  # the service's name for it
        self.sizes.append(request.ByteSize())
        assert self.may_answer.wait(TIMEOUT_S)
        return super().Predict(request, context)


@contextlib.contextmanager
def serve(predictions: Predictions, *interceptors: grpc.ServerInterceptor) -> Iterator[str]:
    """Run a model server with the model `slow`, and yield its address."""
    server = grpc.server(ThreadPoolExecutor(32), interceptors=interceptors)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(predictions, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Models(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
