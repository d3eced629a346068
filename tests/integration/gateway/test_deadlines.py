"""When the deadline of a request has passed, nothing goes on for it: neither in the gateway nor at the model server."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import cv2
import grpc
import numpy as np
import pytest
import requests

from bench.latency_server import Models, Predictions
from tests.support.light_gateway import LightGateway, light_gateway
from tests.support.raw_server import RawServer, Script
from tests.support.waiting import until
from tfs_api.protos import model_service_pb2_grpc, prediction_service_pb2_grpc
from tools.processes import cpu_s

DEADLINE_S = 0.3
MAX_CPU_AFTERWARDS_S = 1.5
"""For what cannot be interrupted. Each of these requests would otherwise take several seconds."""
WINDOW_S = 0.3
MAX_CPU_AT_REST_S = 0.02
TIMEOUT_S = 60
GATEWAY_TIMEOUT = 504

Send = Callable[[LightGateway], requests.Response]


class GatedPredictions(Predictions):
    """Answers while `may_answer` is set, and counts the calls."""

    def __init__(self) -> None:
        super().__init__(slots=8, latency_s=0)
        self.may_answer = threading.Event()
        self.calls = 0
        self.may_answer.set()

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.calls += 1
        assert self.may_answer.wait(TIMEOUT_S)
        return super().Predict(request, context)


@dataclass(frozen=True)
class System:
    """A gateway and its model server."""

    gateway: LightGateway
    model_server: GatedPredictions
    slow_url: str
    images: dict[str, bytes] = field(default_factory=dict)

    def post(self, timeout_s: float = DEADLINE_S, **options: Any) -> requests.Response:
        url = f"http://127.0.0.1:{self.gateway.port}/api/v1/predict"
        headers = {"X-Request-Timeout": str(timeout_s), **options.pop("headers", {})}
        return requests.post(url, headers=headers, timeout=TIMEOUT_S, **options)

    def await_rest(self) -> None:
        """Wait until the gateway takes no processor time."""

        def rests() -> bool:
            before = cpu_s(self.gateway.process.pid)
            threading.Event().wait(WINDOW_S)
            return cpu_s(self.gateway.process.pid) - before <= MAX_CPU_AT_REST_S

        until(rests, TIMEOUT_S, "the gateway at rest")


def encode(side: int) -> bytes:
    return cv2.imencode(".png", np.zeros((side, side, 3), np.uint8))[1].tobytes()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("gateway")
    model_server = GatedPredictions()
    server = grpc.server(ThreadPoolExecutor(32))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(model_server, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Models(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    variables = {
        "GATEWAY_MODELS": "slow",
        "GATEWAY_TFS_TARGET": f"127.0.0.1:{port}",
        "GATEWAY_FETCH_ALLOWED_HOSTS": "127.0.0.1",
        "GATEWAY_CALLS_IN_FLIGHT": "1",
        "GATEWAY_CARDS_DIR": str(folder),
    }
    closing = threading.Event()

    def hang(_: str, send: Callable[[bytes], None]) -> None:
        send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")
        closing.wait(TIMEOUT_S)

    script: Script = hang
    with (
        RawServer(script) as slow,
        (folder / "log").open("wb") as log,
        light_gateway(folder, log, variables) as gateway,
    ):
        system = System(gateway, model_server, slow.url(), {"inline": encode(3900), "apart": encode(7000)})
        until(lambda: system.post(10, data=encode(28), headers={"Content-Type": "image/png"}).ok, TIMEOUT_S, "ready")
        yield system
        closing.set()
    model_server.may_answer.set()
    server.stop(None).wait()


def batch(image: bytes, number: int) -> list[tuple[str, tuple[str, bytes]]]:
    return [("image", ("a.png", image))] * number


def test_hung_fetches_end(system: System):
    responses = [
        system.post(json={"url": system.slow_url}),
        system.post(json={"instances": [{"url": system.slow_url}] * 64}),
    ]

    assert {response.status_code for response in responses} == {GATEWAY_TIMEOUT}
    assert_rest(system)


@pytest.mark.parametrize("kind", ["inline", "apart"])
def test_decoding_ends(system: System, kind: str):
    response = system.post(files=batch(system.images[kind], 64))

    assert response.status_code == GATEWAY_TIMEOUT
    assert_rest(system)


def test_calls_of_the_model_server_end_and_are_not_repeated(system: System):
    image = encode(28)
    calls = system.model_server.calls
    system.model_server.may_answer.clear()
    try:
        with ThreadPoolExecutor(8) as pool:
            options = {"data": image, "headers": {"Content-Type": "image/png"}}
            responses = list(pool.map(lambda _: system.post(**options), range(8)))

        assert {response.status_code for response in responses} == {GATEWAY_TIMEOUT}
        assert_rest(system)
        assert system.model_server.calls - calls <= len(responses)
    finally:
        system.model_server.may_answer.set()
    assert system.post(10, **options).ok


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("application/x-www-form-urlencoded", b"image=" + b"%41" * 3_000_000),
        ("application/json", b'{"image":"' + b"\\u0041" * 1_600_000 + b'"}'),
        ("multipart/form-data; boundary=" + "-" * 60, b"-" * 10_000_000),
    ],
    ids=["form", "json", "multipart"],
)
def test_parsing_ends(system: System, media_type: str, body: bytes):
    response = system.post(data=body, headers={"Content-Type": media_type})

    assert response.status_code in {400, 415, 422, GATEWAY_TIMEOUT}
    assert_rest(system)


def assert_rest(system: System) -> None:
    """Check that little processor time is spent from now on."""
    answered = cpu_s(system.gateway.process.pid)
    system.await_rest()
    assert cpu_s(system.gateway.process.pid) - answered <= MAX_CPU_AFTERWARDS_S
