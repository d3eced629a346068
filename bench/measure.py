"""What is measured, and one measurement of it."""

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

from bench import network, pictures
from bench.alternatives.preparing import by_opencv, by_pillow
from bench.clients import Load, NoAnswerError, Question, ReadyCall, ask, call
from bench.services import ROOT, Service
from bench.stage import Stage
from tfs_api.protos import predict_pb2
from tfs_api.tensors import encode_predict_request, from_tensor_proto
from vision.card import InputSpec
from vision.preprocess import load

Image: TypeAlias = npt.NDArray[np.uint8]

PHOTO = (500, 375)
LARGE = (4000, 3000)
BATCH = 32
CALL_S = 60.0
REST_S, REST_STEP_S, IDLE_SHARE = 30.0, 0.25, 0.1
PREDICT = "/tensorflow.serving.PredictionService/Predict"


@dataclass(frozen=True, slots=True)
class Cell:
    """One thing that is measured in every round.

    Attributes:
        name: What the tables call it.
        services: Whose CPU time is counted, by itself.
        load: Makes the load, for so many seconds.
        images: Pictures in each request.
    """

    name: str
    services: Sequence[Service]
    load: Callable[[float], Load]
    images: int = 1


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement.

    Attributes:
        cell: What was measured.
        images: Answered, each rightly.
        load: What the client counted.
        cpu_s: CPU seconds by service.
    """

    cell: str
    images: int
    load: Load
    cpu_s: Mapping[str, float]

    def cpu_ms(self, *services: str) -> float:
        """Return CPU milliseconds per picture of these services, of all without names."""
        return sum(self.cpu_s[name] for name in services or self.cpu_s) / self.images * 1e3

    @property
    def rate(self) -> float:
        """Pictures per second."""
        return self.images / self.load.wall_s

    def as_json(self) -> Mapping[str, Any]:
        """Return it for the raw results."""
        return {"cell": self.cell, "images": self.images, "cpu_s": dict(self.cpu_s), **asdict(self.load)}


def take(cell: Cell, seconds: float) -> Sample:
    """Measure once, for longer where that is too short for an answer; whoever is next finds all at rest.

    Raises:
        NoAnswerError: even the longest time was too short.
    """
    for longer in (1, 4, 16):
        with contextlib.suppress(NoAnswerError):
            return _take(cell, seconds * longer)
    raise NoAnswerError(cell.name)


def _take(cell: Cell, seconds: float) -> Sample:
    try:
        before = {service.name: service.cpu_s() for service in cell.services}
        counted = cell.load(seconds)
        after = {service.name: service.cpu_s() for service in cell.services}
    finally:
        _rest(cell.services)
    cpu_s = {name: after[name] - before[name] for name in after}
    return Sample(cell.name, counted.requests * cell.images, counted, cpu_s)


def _rest(services: Sequence[Service]) -> None:
    """Wait until what was asked last, and not waited for by the client, is done."""
    give_up_s = time.monotonic() + REST_S
    spent_s = sum(service.cpu_s() for service in services)
    while time.monotonic() < give_up_s:
        time.sleep(REST_STEP_S)
        now_s = sum(service.cpu_s() for service in services)
        if now_s - spent_s <= IDLE_SHARE * REST_STEP_S:
            return
        spent_s = now_s


def floor(picture: bytes, folder: Path, seconds: float) -> Sample:
    """Decode and resize in a bare loop."""
    path = folder / "picture"
    path.write_bytes(picture)
    command = [sys.executable, "-m", "bench.floor", str(path), str(network.SIDE), str(seconds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    images, cpu_s = done.stdout.split()
    return Sample("", int(images), Load(int(images), seconds), {"loop": float(cpu_s)})


class Oracle:
    """Knows the right answers: what the model server says about pixels that were prepared here."""

    def __init__(self, address: str) -> None:
        self._address = address

    def request(self, model: str, image: Image) -> bytes:
        """Write a ready request."""
        return encode_predict_request(model, 1, "serving_default", "probabilities", {"image": image})

    def reply(self, request: bytes) -> bytes:
        """Ask once."""
        with grpc.insecure_channel(self._address) as channel:
            predict: Any = channel.unary_unary(PREDICT)
            return bytes(predict(request, timeout=CALL_S))

    def best(self, model: str, image: Image) -> int:
        """Return the best class of uint8[1, H, W, C]."""
        reply = predict_pb2.PredictResponse.FromString(self.reply(self.request(model, image)))
        return int(from_tensor_proto(reply.outputs["probabilities"])[0].argmax())


def cells(stage: Stage) -> list[Cell]:
    """List all that is measured in a round."""
    oracle = Oracle(stage.grpc)
    photo, large = pictures.photo(*PHOTO), pictures.photo(*LARGE)
    # As the gateway prepares them: of the large one the decoder makes an eighth.
    classes = {data: oracle.best(network.NAME, _prepared(data)) for data in (photo, large)}
    stack = (stage.nginx, stage.gateway, stage.server)

    def asked(body: tuple[str, bytes], label: str, model: str = network.NAME, images: int = 1) -> Question:
        expected = [f'"predictions":[{{"class":"{label}"'] * images
        return Question(f"{stage.url}/api/v1/models/{model}/predict", *body, expected, images)

    def cell(name: str, question: Question, number: int) -> Cell:
        return _cell(name, stack, question, number, stage.folder)

    one = asked(pictures.multipart([photo]), f"c{classes[photo]}")
    found = [cell(f"photo, multipart, {number}", one, number) for number in (1, 8, 32)]
    alone = replace(one, url=one.url.replace(stage.url, stage.single_url))
    found += [
        cell("photo, raw, 8", asked(("image/jpeg", photo), f"c{classes[photo]}"), 8),
        cell("photo, base64, 8", asked(pictures.in_json(photo), f"c{classes[photo]}"), 8),
        _cell("photo, one worker, 8", (stage.single, stage.server), alone, 8, stage.folder),
        cell(
            "batch of 32 photos, 2", asked(pictures.multipart([photo] * BATCH), f"c{classes[photo]}", images=BATCH), 2
        ),
        cell("12 MP, multipart, 8", asked(pictures.multipart([large]), f"c{classes[large]}"), 8),
    ]
    for model in ("digits", "cifar10"):
        picture = pictures.golden(model)
        label = golden_label(stage.models, model)
        found.append(cell(f"{model}, raw, 8", asked(("image/png", picture), label, model), 8))
    return [*found, *_direct(stage, oracle, photo), *_others(stage, oracle, photo, large)]


def _direct(stage: Stage, oracle: Oracle, photo: bytes) -> list[Cell]:
    request = oracle.request(network.NAME, by_opencv(photo))
    ready = ReadyCall(stage.grpc, request, oracle.reply(request))

    def cell(number: int) -> Cell:
        return Cell(
            f"direct gRPC, {number}",
            (stage.server,),
            lambda seconds: call(ready, stage.folder, concurrency=number, seconds=seconds),
        )

    return [cell(number) for number in (1, 8, 32)]


def _others(stage: Stage, oracle: Oracle, photo: bytes, large: bytes) -> list[Cell]:
    found = []
    for name, (service, url) in stage.others.items():
        prepare = by_opencv if name.startswith("FastAPI") else by_pillow
        services = (service, stage.server) if name.startswith("tutorial") else (service,)
        for kind, picture, numbers in (("photo", photo, (1, 8, 32)), ("12 MP", large, (8,))):
            best = oracle.best(network.NAME, prepare(picture))
            expected = [f'"predictions":[{{"class_id":{best},']
            question = Question(f"{url}/predict", *pictures.multipart([picture]), expected)
            found += [
                _cell(f"{name}, {kind}, {number}", services, question, number, stage.folder) for number in numbers
            ]
    return found


def _cell(name: str, services: Sequence[Service], question: Question, number: int, folder: Path) -> Cell:
    return Cell(
        name,
        services,
        lambda seconds: ask(question, folder, connections=number, seconds=seconds),
        question.images,
    )


def _prepared(picture: bytes) -> Image:
    """Prepare a photo as the gateway does for this network."""
    spec = InputSpec(height=network.SIDE, width=network.SIDE)
    return load(picture, spec, max_pixels=LARGE[0] * LARGE[1])[np.newaxis].astype(np.uint8, copy=False)


def golden_label(models: Path, model: str) -> str:
    """Return what a committed model says about its first golden image, as it was when it was exported."""
    extra = models / model / "1" / "assets.extra"
    golden = json.loads((extra / "golden" / "golden.json").read_text(encoding="utf-8"))
    card = json.loads((extra / "card.json").read_text(encoding="utf-8"))
    return str(card["labels"][int(np.argmax(golden["images"][0]["probabilities"]))])
