"""Run a model server of fixed latency that computes nothing: `python -m bench.latency_server PORT [LATENCY_S]`.

Its model `slow` takes uint8[N, 28, 28, 1] and answers after 50 ms by default, at most four calls at a time. It reaches
its capacity of 80 calls per second only if the gateway in front keeps all four slots busy.
"""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np

from tfs_api.protos import get_model_metadata_pb2, get_model_status_pb2, meta_graph_pb2, predict_pb2, types_pb2
from tfs_api.services import model_service_pb2_grpc, prediction_service_pb2_grpc
from tfs_api.tensors import to_tensor_proto

MODEL = "slow"
LATENCY_S = 0.05
SLOTS = 4
CLASSES = 10
THREADS = 512
CAPACITY_PER_S = SLOTS / LATENCY_S


class Predictions(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]  # has no published types
    """Returns the same scores for every image, as fast as the slots allow."""

    def __init__(self, slots: int = SLOTS, latency_s: float = LATENCY_S) -> None:
        self._slots = threading.Semaphore(slots)
        self._latency_s = latency_s
        self._row = np.arange(1, CLASSES + 1, dtype=np.float32) / (CLASSES * (CLASSES + 1) / 2)  # sums to 1

    def Predict(self, request: Any, _context: Any) -> Any:  # noqa: N802  # the service's name for it
        """Wait for a slot, then for the latency, and answer."""
        (tensor,) = request.inputs.values()
        with self._slots:
            time.sleep(self._latency_s)
        response = predict_pb2.PredictResponse(model_spec=request.model_spec)
        rows = np.tile(self._row, (tensor.tensor_shape.dim[0].size, 1))
        response.outputs["probabilities"].CopyFrom(to_tensor_proto(rows))
        return response

    def GetModelMetadata(self, request: Any, _context: Any) -> Any:  # noqa: N802  # as above
        """Describe the only signature."""
        signature = meta_graph_pb2.SignatureDef()
        _declare(signature.inputs["image"], types_pb2.DT_UINT8, (-1, 28, 28, 1))
        _declare(signature.outputs["probabilities"], types_pb2.DT_FLOAT, (-1, CLASSES))
        signatures = get_model_metadata_pb2.SignatureDefMap()
        signatures.signature_def["serving_default"].CopyFrom(signature)
        response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=request.model_spec)
        response.metadata["signature_def"].Pack(signatures)
        return response


class Models(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]  # as above
    """Reports version 1 as available."""

    def GetModelStatus(self, _request: Any, _context: Any) -> Any:  # noqa: N802  # as above
        """Return the only version."""
        response = get_model_status_pb2.GetModelStatusResponse()
        response.model_version_status.add(version=1, state=get_model_status_pb2.ModelVersionStatus.AVAILABLE)
        return response


def main(port: int, latency_s: float = LATENCY_S) -> None:
    """Serve until the process is killed."""
    server = grpc.server(ThreadPoolExecutor(THREADS))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Predictions(latency_s=latency_s), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Models(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


def _declare(info: Any, dtype: int, shape: tuple[int, ...]) -> None:
    info.dtype = dtype
    for size in shape:
        info.tensor_shape.dim.add(size=size)


if __name__ == "__main__":
    main(int(sys.argv[1]), *map(float, sys.argv[2:]))
