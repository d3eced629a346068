"""Measurements of `python -m bench` that are repeated in every round."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import numpy as np
import numpy.typing as npt

from bench import images, network
from bench.alternatives.preparing import by_opencv, by_pillow
from bench.external_load import GrpcRequest, HttpRequest, NoAnswerError, Throughput, run_h2load, run_wrk
from bench.testbed import Service, Testbed
from tfs_api.protos import predict_pb2
from tfs_api.tensors import encode_predict_request, from_tensor_proto
from tools.programs import ROOT
from vision.card import InputSpec
from vision.preprocess import load

Image: TypeAlias = npt.NDArray[np.uint8]

PHOTO = (500, 375)
LARGE = (4000, 3000)
BATCH = 32
CALL_TIMEOUT_S = 60.0
IDLE_TIMEOUT_S, IDLE_STEP_S, IDLE_SHARE = 30.0, 0.25, 0.1
COMMITTED = ("digits", "cifar10")
PREDICT = "/tensorflow.serving.PredictionService/Predict"


@dataclass(frozen=True, slots=True)
class Cell:
    """One measurement that is repeated in every round.

    Attributes:
        name: Its name in the tables.
        services: The services whose CPU time is counted, each separately.
        load: Generates load for a number of seconds.
        images: Number of images in each request.
    """

    name: str
    services: Sequence[Service]
    load: Callable[[float], Throughput]
    images: int = 1


@dataclass(frozen=True, slots=True)
class Sample:
    """The result of one measurement.

    Attributes:
        cell: Name of what was measured.
        images: Number of images, all answered correctly.
        load: The figures of the load.
        cpu_s: CPU seconds by service.
    """

    cell: str
    images: int
    load: Throughput
    cpu_s: Mapping[str, float]

    def cpu_ms(self, *services: str) -> float:
        """Return the CPU milliseconds per image of the named services, or of all."""
        return sum(self.cpu_s[name] for name in services or self.cpu_s) / self.images * 1e3

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.load.wall_s

    def as_json(self) -> Mapping[str, Any]:
        """Return its entry in results.json."""
        return {"cell": self.cell, "images": self.images, "cpu_s": dict(self.cpu_s), **asdict(self.load)}


def measure(cell: Cell, seconds: float) -> Sample:
    """Measure once, for up to 16 times as long if no answer arrives; all services are idle afterwards.

    Raises:
        NoAnswerError: No answer arrived even in the longest time.
    """
    for factor in (1, 4, 16):
        with contextlib.suppress(NoAnswerError):
            return _measure(cell, seconds * factor)
    raise NoAnswerError(cell.name)


def _measure(cell: Cell, seconds: float) -> Sample:
    try:
        before = {service.name: service.cpu_s() for service in cell.services}
        load = cell.load(seconds)
        after = {service.name: service.cpu_s() for service in cell.services}
    finally:
        _wait_until_idle(cell.services)
    cpu_s = {name: after[name] - before[name] for name in after}
    return Sample(cell.name, load.requests * cell.images, load, cpu_s)


def _wait_until_idle(services: Sequence[Service]) -> None:
    """Wait until the services have finished the last requests, for which the client did not wait."""
    deadline_s = time.monotonic() + IDLE_TIMEOUT_S
    before_s = sum(service.cpu_s() for service in services)
    while time.monotonic() < deadline_s:
        time.sleep(IDLE_STEP_S)
        now_s = sum(service.cpu_s() for service in services)
        if now_s - before_s <= IDLE_SHARE * IDLE_STEP_S:
            return
        before_s = now_s


def measure_bare_loop(name: str, image: bytes, folder: Path, seconds: float) -> Sample:
    """Measure decoding and resizing in a loop without any service."""
    path = folder / "image"
    path.write_bytes(image)
    command = [sys.executable, "-m", "bench.floor", str(path), str(network.SIDE), str(seconds)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    number, cpu_s = result.stdout.split()
    return Sample(name, int(number), Throughput(int(number), seconds), {"loop": float(cpu_s)})


class ModelClient:
    """Calls the model server directly, to obtain the expected answers.

    Args:
        address: host:port of the model server.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def message(self, model: str, image: Image) -> bytes:
        """Return a serialized PredictRequest."""
        return encode_predict_request(model, 1, "serving_default", "probabilities", {"image": image})

    def predict(self, message: bytes) -> bytes:
        """Call Predict and return the serialized answer."""
        with grpc.insecure_channel(self._address) as channel:
            call: Any = channel.unary_unary(PREDICT)
            return bytes(call(message, timeout=CALL_TIMEOUT_S))

    def best_class(self, model: str, image: Image) -> int:
        """Return the best class of uint8[1, H, W, C]."""
        answer = predict_pb2.PredictResponse.FromString(self.predict(self.message(model, image)))
        return int(from_tensor_proto(answer.outputs["probabilities"])[0].argmax())


def list_cells(testbed: Testbed) -> list[Cell]:
    """Return all measurements of a round."""
    client = ModelClient(testbed.model_server.address)
    photo, large = images.photo(*PHOTO), images.photo(*LARGE)
    return [
        *_stack_cells(testbed, client, photo, large),
        *_direct_cells(testbed, client, photo),
        *_alternative_cells(testbed, client, photo, large),
    ]


def _stack_cells(testbed: Testbed, client: ModelClient, photo: bytes, large: bytes) -> list[Cell]:
    """Return the measurements of nginx, gateway and model server."""
    stack = (testbed.nginx, testbed.gateway, testbed.model_server)
    photo_label, large_label = (f"c{client.best_class(network.NAME, _prepare(image))}" for image in (photo, large))

    def request(body: tuple[str, bytes], label: str, *, model: str = network.NAME, number: int = 1) -> HttpRequest:
        expected = [f'"predictions":[{{"class":"{label}"'] * number
        return HttpRequest(f"{testbed.nginx.address}/api/v1/models/{model}/predict", *body, expected, number)

    def cell(name: str, request: HttpRequest, connections: int) -> Cell:
        return _cell(name, stack, request, connections, testbed.folder)

    form = request(images.multipart([photo]), photo_label)
    batch = request(images.multipart([photo] * BATCH), photo_label, number=BATCH)
    to_single_worker = replace(form, url=form.url.replace(testbed.nginx.address, testbed.single.address))
    committed = [
        request(("image/png", images.golden(model)), golden_label(testbed.models, model), model=model)
        for model in COMMITTED
    ]
    return [
        *(cell(f"photo, multipart, {number}", form, number) for number in (1, 8, 32)),
        cell("photo, raw, 8", request(("image/jpeg", photo), photo_label), 8),
        cell("photo, base64, 8", request(images.base64_json(photo), photo_label), 8),
        _cell("photo, one worker, 8", (testbed.single, testbed.model_server), to_single_worker, 8, testbed.folder),
        cell("batch of 32 photos, 2", batch, 2),
        cell("12 MP, multipart, 8", request(images.multipart([large]), large_label), 8),
        *(cell(f"{model}, raw, 8", raw, 8) for model, raw in zip(COMMITTED, committed, strict=True)),
    ]


def _direct_cells(testbed: Testbed, client: ModelClient, photo: bytes) -> list[Cell]:
    """Return the measurements of direct calls to the model server."""
    message = client.message(network.NAME, by_opencv(photo))
    request = GrpcRequest(testbed.model_server.address, message, client.predict(message))

    def cell(number: int) -> Cell:
        return Cell(
            f"direct gRPC, {number}",
            (testbed.model_server,),
            lambda seconds: run_h2load(request, testbed.folder, concurrency=number, seconds=seconds),
        )

    return [cell(number) for number in (1, 8, 32)]


def _alternative_cells(testbed: Testbed, client: ModelClient, photo: bytes, large: bytes) -> list[Cell]:
    """Return the measurements of the alternatives."""
    cells = []
    for name, service in testbed.alternatives.items():
        prepare = by_opencv if name.startswith("FastAPI") else by_pillow
        services = (service, testbed.model_server) if name.startswith("tutorial") else (service,)
        for kind, image, numbers in (("photo", photo, (1, 8, 32)), ("12 MP", large, (8,))):
            expected = [f'"predictions":[{{"class_id":{client.best_class(network.NAME, prepare(image))},']
            request = HttpRequest(f"{service.address}/predict", *images.multipart([image]), expected)
            cells += [
                _cell(f"{name}, {kind}, {number}", services, request, number, testbed.folder) for number in numbers
            ]
    return cells


def _cell(name: str, services: Sequence[Service], request: HttpRequest, connections: int, folder: Path) -> Cell:
    return Cell(
        name,
        services,
        lambda seconds: run_wrk(request, folder, connections=connections, seconds=seconds),
        request.images,
    )


def _prepare(image: bytes) -> Image:
    """Prepare a photo as the gateway does for this network; the decoder reduces the large one to an eighth."""
    spec = InputSpec(height=network.SIDE, width=network.SIDE)
    return load(image, spec, max_pixels=LARGE[0] * LARGE[1])[np.newaxis].astype(np.uint8, copy=False)


def golden_label(models: Path, model: str) -> str:
    """Return the label that a committed model gave its first golden image when it was exported."""
    extra = models / model / "1" / "assets.extra"
    golden = json.loads((extra / "golden" / "golden.json").read_text(encoding="utf-8"))
    card = json.loads((extra / "card.json").read_text(encoding="utf-8"))
    return str(card["labels"][int(np.argmax(golden["images"][0]["probabilities"]))])
