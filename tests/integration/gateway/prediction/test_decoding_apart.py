"""Images that are not plain are decoded in processes of their own, with the answers of plain ones."""

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from flask.testing import FlaskClient

from gateway.app import create_app
from gateway.fetching.fetcher import DisabledFetcher
from gateway.models.configured import ConfiguredModels
from gateway.settings import Settings
from tests.support.decoder_processes import decoder_pids
from tests.support.fake_model_server import FakeModelServer, explainable
from tests.support.image_files import encoded
from tests.support.processes import suspend
from tests.support.waiting import until
from vision.card import Card, InputSpec
from vision.isolation.pool import DecoderPool

CARD = Card(name="tone", labels=("dark", "bright"), input=InputSpec(height=8, width=8))
PHOTO = cv2.resize(np.random.default_rng(1).integers(0, 255, (6, 8, 3), np.uint8), (160, 120))
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="finds the process in /proc")

Start = Callable[..., FlaskClient]


def brightness(images: np.ndarray) -> np.ndarray:
    bright = images.reshape(len(images), -1).mean(1) / 255
    return np.stack([1 - bright, bright], 1).astype(np.float32)


def heat(images: np.ndarray, _: np.ndarray) -> np.ndarray:
    return images.mean(3).astype(np.float32) / 255


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Create a gateway with these settings; the pools that it creates are closed at the end."""
    pools: list[DecoderPool] = []
    monkeypatch.setattr(
        "gateway.services.DecoderPool", lambda **options: pools.append(DecoderPool(**options)) or pools[-1]
    )
    server = FakeModelServer()
    server.swap("tone", 1, explainable(CARD, brightness, heat))

    def start(**options: object) -> FlaskClient:
        return create_app(
            Settings(**{"cards_dir": tmp_path, "request_deadline_s": 30, "decode_deadline_s": 30} | options),
            server=server,
            fetcher=DisabledFetcher(),
            configured_models=ConfiguredModels.from_names(["tone"]),
        ).test_client()

    yield start
    for pool in pools:
        pool.close()


def predict(client: FlaskClient, *images: bytes, query: str = "") -> tuple[int, dict]:
    parts = [(io.BytesIO(data), f"{index}.bin") for index, data in enumerate(images)]
    response = client.post(f"/api/v1/predict{query}", data={"image": parts})
    return response.status_code, response.get_json()


def test_a_photo_has_the_same_prediction_in_every_format(start: Start):
    client = start()
    _, expected = predict(client, encoded(PHOTO, ".png"))

    for extension in (".tiff", ".bmp"):  # lossless, like the PNG
        status, document = predict(client, encoded(PHOTO, extension))

        assert status == 200
        assert document["predictions"] == expected["predictions"]


def test_a_plain_photo_of_many_pixels_has_the_same_prediction_and_heat_map(start: Start):
    data = encoded(PHOTO, ".png")

    documents = [predict(start(inline_max_pixels=pixels), data, query="?explain=true")[1] for pixels in (10**6, 0)]

    inline, apart = ({**document, "request_id": ""} for document in documents)
    assert apart == inline


@pytest.fixture
def stopped(start: Start) -> FlaskClient:
    """A gateway whose decoder process does not go on."""
    others = decoder_pids()
    client = start(decode_deadline_s=1)
    until(lambda: predict(client, encoded(PHOTO, ".bmp"))[0] == 200, 60)  # it has loaded
    (pid,) = decoder_pids() - others
    suspend(pid)
    return client


@linux_only
def test_an_image_that_takes_too_long_fails_alone(stopped: FlaskClient):
    status, document = predict(stopped, encoded(PHOTO, ".png"), encoded(PHOTO, ".bmp"), encoded(PHOTO, ".jpg"))

    assert status == 200
    assert ["predictions" in item for item in document["results"]] == [True, False, True]
    assert document["results"][1]["type"] == "/problems/deadline-exceeded"
    assert "takes too long to decode" in document["results"][1]["detail"]


@linux_only
def test_a_single_image_that_takes_too_long_is_told_so(stopped: FlaskClient):
    status, document = predict(stopped, encoded(PHOTO, ".bmp"))

    assert status == 504
    assert "takes too long to decode" in document["detail"]


def test_a_batch_of_all_kinds_keeps_its_order(start: Start):
    dark, bright = (encoded(np.full((9, 9, 3), tone, np.uint8), ".bmp") for tone in (10, 240))
    gray = encoded(np.full((9, 9, 3), 120, np.uint8), ".png")

    _, document = predict(start(), bright, gray, b"nothing", dark, encoded(PHOTO, ".gif"))

    scores = [item.get("predictions", [{}])[0].get("class") for item in document["results"]]
    assert scores == ["bright", "dark", None, "dark", "dark" if PHOTO.mean() < 127.5 else "bright"]


@linux_only
def test_a_photo_does_not_wait_for_an_image_that_takes_long(start: Start):
    others = decoder_pids()
    client = start(threads=1)
    predict(client, encoded(PHOTO, ".bmp"))
    (pid,) = decoder_pids() - others
    suspend(pid)

    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(predict, client.application.test_client(), encoded(PHOTO, ".tiff"))
        until(lambda: client.application.extensions["admission"].memory.decoders.reserved)
        photo = predict(client, encoded(PHOTO, ".png"))
        os.kill(pid, signal.SIGCONT)

    assert (photo[0], slow.result()[0]) == (200, 200)
