"""Bounds on the cost of a request, counted and not timed: calls and bytes to the model server, copies, imports."""

import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc
import numpy as np
import pytest
from flask import Flask
from werkzeug.test import TestResponse

from bench import images
from gateway.app import create_app
from gateway.http.bodies import parse_multipart
from gateway.model_client.micro_batching import MicroBatcher
from gateway.model_client.protocol import ModelServer
from gateway.models.configured import ConfiguredModels
from gateway.services import connect, make_fetcher
from gateway.settings import Settings
from tests.support.gated_model_server import GatedPredictions, serve
from tests.support.traced_memory import peak_bytes
from tests.support.waiting import until
from tfs_api.tensors import encode_predict_request
from vision.card import InputSpec
from vision.preprocess import load

SIDE = 28
PIXELS = SIDE * SIDE
PHOTO_SIDE = 224
PREDICT = "/api/v1/predict"
ENVELOPE_BYTES = 200
"""Size of a request to the model server without its pixels: names and shape."""
OVERHEAD_BYTES = 100_000
"""Memory of Python's own objects, without images."""


@dataclass
class CallRecorder(grpc.ServerInterceptor):
    """Records the method of each call that reaches a server."""

    calls: list[str] = field(default_factory=list)

    def intercept_service(self, continuation, details):
        self.calls.append(details.method.rpartition("/")[2])
        return continuation(details)


@dataclass(frozen=True)
class Wire:
    """A gateway with a real channel to a model server, and what went through it."""

    settings: Settings
    app: Flask
    calls: list[str]
    predictions: GatedPredictions

    @property
    def sizes(self) -> list[int]:
        """Size of each request to the model server in bytes."""
        return self.predictions.sizes

    def classify(self, number: int) -> None:
        """Send one request with this number of images, and record only its calls."""
        self.calls.clear()
        self.sizes.clear()
        response = self.post(number)
        assert response.status_code == 200, response.text

    def post(self, number: int) -> TestResponse:
        """Send one request with this number of images, and return the response."""
        parts = [(io.BytesIO(images.golden("digits")), "a.png") for _ in range(number)]
        return self.app.test_client().post(PREDICT, data={"image": parts})


def make_app(server: ModelServer, settings: Settings) -> Flask:
    return create_app(
        settings,
        server=server,
        fetcher=make_fetcher(settings),
        configured_models=ConfiguredModels.from_names(["slow"]),
    )


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    recorder, predictions = CallRecorder(), GatedPredictions()
    with serve(predictions, recorder) as address:
        folder = tmp_path_factory.mktemp("cards")
        settings = Settings(tfs_target=address, models=("slow",), cards_dir=folder, max_batch_size=32)
        client = connect(settings)
        wire = Wire(settings, make_app(client, settings), recorder.calls, predictions)
        wire.classify(1)  # the gateway reads the model's signature and card once
        yield wire
        client.close()


@pytest.mark.parametrize(("number", "calls"), [(1, 1), (2, 1), (32, 1), (33, 2), (64, 2)])
def test_a_request_makes_as_few_calls_as_its_images_fit_into(wire: Wire, number: int, calls: int):
    wire.classify(number)

    assert wire.calls == ["Predict"] * calls


@pytest.mark.parametrize("number", [1, 32])
def test_a_call_holds_the_pixels_as_bytes_and_little_else(wire: Wire, number: int):
    wire.classify(number)

    assert number * PIXELS <= sum(wire.sizes) <= number * PIXELS + ENVELOPE_BYTES


def test_requests_that_arrive_during_a_call_share_the_next_one(wire: Wire):
    settings = wire.settings.model_copy(update={"calls_in_flight": 1})
    server = connect(settings)
    assert isinstance(server, MicroBatcher)
    batching = replace(wire, app=make_app(server, settings))
    batching.classify(1)
    wire.calls.clear()
    wire.predictions.may_answer.clear()

    with ThreadPoolExecutor(8) as pool:
        responses = [pool.submit(batching.post, 1) for _ in range(8)]
        until(lambda: server.queue_length == 7)
        wire.predictions.may_answer.set()
        assert {future.result(20).status_code for future in responses} == {200}

    assert wire.calls == ["Predict"] * 2


def peak_of(work: Callable[[], object]) -> int:
    """Return the most memory in bytes that a second call of some work takes; the first one fills caches."""
    work()
    return peak_bytes(work)[0]


def test_the_measurement_counts_copies():
    pixels = np.zeros(1_000_000, np.uint8)

    assert peak_of(pixels.tobytes) >= 1_000_000
    assert peak_of(lambda: (pixels.tobytes(), pixels.copy())) >= 2_000_000


@pytest.mark.parametrize("number", [1, 32])
def test_pixels_are_copied_once_into_the_message(number: int):
    batch = np.zeros((number, PHOTO_SIDE, PHOTO_SIDE, 3), np.uint8)

    peak = peak_of(lambda: encode_predict_request("photos", 1, "serving_default", ["probabilities"], {"image": batch}))

    assert batch.nbytes <= peak <= batch.nbytes + OVERHEAD_BYTES


def test_a_file_is_copied_once_out_of_a_multipart_body():
    photo = images.photo(2000, 1500)
    content_type, body = images.multipart([photo])
    boundary = content_type.partition("boundary=")[2].encode()

    peak = peak_of(lambda: [part.content for part in parse_multipart(body, boundary)[1].values()])

    assert len(photo) <= peak <= len(photo) + OVERHEAD_BYTES


def test_an_image_is_decoded_once_and_scaled_once():
    photo = images.photo(500, 375)
    spec = InputSpec(height=PHOTO_SIDE, width=PHOTO_SIDE)
    full_bytes, scaled_bytes = 500 * 375 * 3, PHOTO_SIDE * PHOTO_SIDE * 3

    peak = peak_of(lambda: load(photo, spec, max_pixels=10**6))

    assert full_bytes + scaled_bytes <= peak <= full_bytes + scaled_bytes + OVERHEAD_BYTES


def test_a_large_photo_is_never_decoded_at_full_size():
    photo = images.photo(2000, 1500)
    spec = InputSpec(height=PHOTO_SIDE, width=PHOTO_SIDE)
    quarter_bytes, scaled_bytes = 500 * 375 * 3, PHOTO_SIDE * PHOTO_SIDE * 3

    peak = peak_of(lambda: load(photo, spec, max_pixels=10**7))

    assert quarter_bytes + scaled_bytes <= peak <= quarter_bytes + scaled_bytes + OVERHEAD_BYTES


UNWANTED = {
    "tensorflow",
    "keras",
    "redis",
    "opentelemetry",
    "PIL",
    "pi_heif",
    "pandas",
    "scipy",
    "IPython",
    "unittest",
    "bench",
}


def test_a_worker_imports_only_what_it_needs():
    """Each unwanted package takes a tenth of a second or megabytes, and serves a setting, tests or other programs."""
    code = "import sys, gateway.app; print(*sorted({name.partition('.')[0] for name in sys.modules}))"

    process = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )

    modules = set(process.stdout.split())
    assert "gateway" in modules
    assert not UNWANTED & modules
