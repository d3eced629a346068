"""The load that whole stacks get, and the answers that are correct."""

from pathlib import Path
from typing import Any, TypeAlias

import grpc
import numpy as np
import numpy.typing as npt

from bench import images, network
from bench.alternatives.preprocessing import by_opencv
from bench.external_load import GrpcRequest, HttpRequest, run_h2load
from bench.measure import Cell, http_cell
from bench.served_models import first_golden
from bench.services import WholeStack
from tfs_api.protos import predict_pb2
from tfs_api.tensors import encode_predict_request, from_tensor_proto
from vision.card import InputSpec
from vision.preprocess import load

Image: TypeAlias = npt.NDArray[np.uint8]

PHOTO, LARGE = (500, 375), (4000, 3000)
BATCH = 32
CONNECTIONS = (8, 32)
CALL_TIMEOUT_S = 60.0
DIRECT = "direct gRPC"
DIRECT_CALLS = (1, 8)
"""Calls at once; the model server rejects those beyond what the gateway can send."""
PREDICT = "/tensorflow.serving.PredictionService/Predict"


class ModelClient:
    """Calls the model server directly, to obtain the expected answers.

    Args:
        address: host:port of the model server.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def message(self, model: str, image: Image) -> bytes:
        """Return a serialized PredictRequest."""
        return encode_predict_request(model, 1, "serving_default", ["probabilities"], {"image": image})

    def predict(self, message: bytes) -> bytes:
        """Call Predict and return the serialized answer."""
        with grpc.insecure_channel(self._address) as channel:
            call: Any = channel.unary_unary(PREDICT)
            return bytes(call(message, timeout=CALL_TIMEOUT_S))

    def best_class(self, model: str, image: Image) -> int:
        """Return the best class of uint8[1, H, W, C]."""
        answer = predict_pb2.PredictResponse.FromString(self.predict(self.message(model, image)))
        return int(from_tensor_proto(answer.outputs["probabilities"])[0].argmax())


class StackLoad:
    """Load for one whole stack, with the answers that are correct.

    Args:
        system: Name of the stack in the tables.
        stack: The running stack.
        folder: Folder for the input files of wrk and h2load.
    """

    def __init__(self, system: str, stack: WholeStack, folder: Path) -> None:
        self._system = system
        self._stack = stack
        self._folder = folder
        self._client = ModelClient(stack.model_server.address)

    def usual_photos(self, photo: bytes) -> list[Cell]:
        """Return the measurements of photos in forms with 8 and 32 connections."""
        return [self.photos(f"photo, {connections}", photo, connections) for connections in CONNECTIONS]

    def photos(self, workload: str, photo: bytes, connections: int, *, number: int = 1) -> Cell:
        """Return the measurement of a form with copies of a photo."""
        return self._cell(workload, self._photo_request(images.multipart([photo] * number), photo, number), connections)

    def encodings(self, photo: bytes) -> list[Cell]:
        """Return the measurements of a photo as the whole body and as base64 in JSON."""
        bodies = {"photo, raw, 8": ("image/jpeg", photo), "photo, base64, 8": images.base64_json(photo)}
        return [self._cell(workload, self._photo_request(body, photo), 8) for workload, body in bodies.items()]

    def committed(self, model: str) -> Cell:
        """Return the measurement of a committed model with one of its golden images."""
        image, label = first_golden(self._stack.models, model)
        return self._cell(f"{model}, 8", self._request(model, ("image/png", image), label), 8)

    def direct(self, photo: bytes) -> list[Cell]:
        """Return the measurements of direct calls to the model server with a prepared photo."""
        message = self._client.message(network.NAME, by_opencv(photo))
        request = GrpcRequest(self._stack.model_server.address, message, self._client.predict(message))

        def cell(concurrency: int) -> Cell:
            return Cell(
                DIRECT,
                f"photo, {concurrency}",
                (self._stack.model_server,),
                lambda seconds: run_h2load(request, self._folder, concurrency=concurrency, seconds=seconds),
            )

        return [cell(concurrency) for concurrency in DIRECT_CALLS]

    def _photo_request(self, body: tuple[str, bytes], photo: bytes, number: int = 1) -> HttpRequest:
        label = f"c{self._client.best_class(network.NAME, _prepare(photo))}"
        return self._request(network.NAME, body, label, number)

    def _request(self, model: str, body: tuple[str, bytes], label: str, number: int = 1) -> HttpRequest:
        expected = [f'"predictions":[{{"class":"{label}"'] * number
        return HttpRequest(f"{self._stack.nginx.address}/api/v1/models/{model}/predict", *body, expected, number)

    def _cell(self, workload: str, request: HttpRequest, connections: int) -> Cell:
        return http_cell(
            self._system, workload, self._stack.services, request, connections=connections, folder=self._folder
        )


def _prepare(image: bytes) -> Image:
    """Prepare a photo as the gateway does for this network; the decoder reduces the large one to an eighth."""
    spec = InputSpec(height=network.SIDE, width=network.SIDE)
    return load(image, spec, max_pixels=LARGE[0] * LARGE[1])[np.newaxis].astype(np.uint8, copy=False)
