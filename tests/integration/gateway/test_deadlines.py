"""When the deadline of a request has passed, nothing goes on for it: neither in the gateway nor at the model server."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pytest
import requests

from tests.support.gated_model_server import GatedPredictions, serve
from tests.support.light_gateway import LightGateway, light_gateway
from tests.support.raw_server import RawServer
from tests.support.waiting import until
from tools.processes import cpu_s

DEADLINE_S = 0.3
LARGE_BODY_DEADLINE_S = 1.5
"""Leaves time for 10 MB to arrive on a busy machine; to decode them, or parse them badly, would take much longer."""
MAX_CPU_AFTERWARDS_S = 1.5
"""For what cannot be interrupted. Each of these requests would otherwise take several seconds."""
WINDOW_S = 0.3
MAX_CPU_AT_REST_S = 0.02
TIMEOUT_S = 60
GATEWAY_TIMEOUT = 504


@dataclass(frozen=True)
class System:
    """A gateway and its model server."""

    gateway: LightGateway
    model_server: GatedPredictions
    slow_url: str
    images: dict[str, bytes]

    def post(self, timeout_s: float = DEADLINE_S, **options: Any) -> requests.Response:
        url = f"http://127.0.0.1:{self.gateway.port}/api/v1/predict"
        headers = {"X-Request-Timeout": str(timeout_s), **options.pop("headers", {})}
        return requests.post(url, headers=headers, timeout=TIMEOUT_S, **options)

    def await_rest(self) -> None:
        """Wait until the gateway takes no processor time."""

        def rests() -> bool:
            before = cpu_s(self.gateway.process.pid)
            time.sleep(WINDOW_S)  # the window of a measurement of CPU time, so no event ends it
            return cpu_s(self.gateway.process.pid) - before <= MAX_CPU_AT_REST_S

        until(rests, TIMEOUT_S, "the gateway at rest")


def encode(side: int) -> bytes:
    return cv2.imencode(".png", np.zeros((side, side, 3), np.uint8))[1].tobytes()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("gateway")
    model_server = GatedPredictions()

    def hang(_: str, send: Callable[[bytes], None]) -> None:
        send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")
        slow.closing.wait(TIMEOUT_S)

    variables = {
        "GATEWAY_MODELS": "slow",
        "GATEWAY_FETCH_ALLOWED_HOSTS": "127.0.0.1",
        "GATEWAY_CALLS_IN_FLIGHT": "1",
        "GATEWAY_CARDS_DIR": str(folder),
    }
    with (
        serve(model_server) as address,
        RawServer(hang) as slow,
        (folder / "log").open("wb") as log,
        light_gateway(folder, log, variables | {"GATEWAY_TFS_TARGET": address}) as gateway,
    ):
        system = System(gateway, model_server, slow.url(), {"inline": encode(3900), "apart": encode(7000)})
        until(lambda: system.post(10, data=encode(28), headers={"Content-Type": "image/png"}).ok, TIMEOUT_S, "ready")
        yield system


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
    response = system.post(LARGE_BODY_DEADLINE_S, files=batch(system.images[kind], 64))

    assert response.status_code == GATEWAY_TIMEOUT
    assert_rest(system)


def test_calls_of_the_model_server_end_and_are_not_repeated(system: System):
    image = encode(28)
    calls = len(system.model_server.sizes)
    system.model_server.may_answer.clear()
    try:
        with ThreadPoolExecutor(8) as pool:
            options = {"data": image, "headers": {"Content-Type": "image/png"}}
            responses = list(pool.map(lambda _: system.post(**options), range(8)))

        assert {response.status_code for response in responses} == {GATEWAY_TIMEOUT}
        assert_rest(system)
        assert len(system.model_server.sizes) - calls <= len(responses)
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
    response = system.post(LARGE_BODY_DEADLINE_S, data=body, headers={"Content-Type": media_type})

    assert response.status_code in {400, 415, 422, GATEWAY_TIMEOUT}
    assert_rest(system)


def assert_rest(system: System) -> None:
    """Check that little processor time is spent from now on."""
    answered = cpu_s(system.gateway.process.pid)
    system.await_rest()
    assert cpu_s(system.gateway.process.pid) - answered <= MAX_CPU_AFTERWARDS_S
