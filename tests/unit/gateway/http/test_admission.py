import base64
import dataclasses
import io
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from flask import Flask
from werkzeug.test import TestResponse

from gateway.capacity import PLACE_BYTES
from gateway.deadline import Deadline
from gateway.fetching.fetcher import Allowance
from gateway.prediction.predictor import CALL_FACTOR
from tests.support.fake_model_server import FakeModelServer, classifier, constant
from tests.support.waiting import until
from vision.card import Card

PREDICT = "/api/v1/predict"


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture
def unblock(server: FakeModelServer) -> Iterator[threading.Event]:
    """Block every prediction until the event is set."""
    unblock = threading.Event()
    server.before["predict"] = lambda: unblock.wait(30) and None
    yield unblock
    unblock.set()


@pytest.fixture
def busy(
    make_app: Callable[..., Flask],
    server: FakeModelServer,
    unblock: threading.Event,
    png: bytes,
    pool: ThreadPoolExecutor,
) -> Iterator[tuple[Flask, list[Future[TestResponse]]]]:
    """Return an app of two slots, and the responses to two predictions in progress, which end with `unblock`."""
    app = make_app(threads=2, max_waiting=0)
    unblock.set()
    assert predict(app, png).status_code == 200  # reads the card
    assert app.test_client().get("/readyz").status_code == 200  # checks the version
    unblock.clear()
    before = server.calls["predict"]
    pending = [pool.submit(predict, app, png) for _ in range(2)]
    until(lambda: server.calls["predict"] == before + 2)
    yield app, pending
    unblock.set()


def predict(app: Flask, png: bytes) -> TestResponse:
    return app.test_client().post(PREDICT, data=png, content_type="image/png")


def test_a_prediction_beyond_the_limit_is_refused_with_retry_after(
    busy: tuple[Flask, list[Future[TestResponse]]], unblock: threading.Event, server: FakeModelServer, png: bytes
):
    app, pending = busy
    before = server.calls["predict"]

    response = predict(app, png)

    assert (response.status_code, response.get_json(force=True)["type"]) == (503, "/problems/overloaded")
    assert int(response.headers["Retry-After"]) > 0
    assert server.calls["predict"] == before

    unblock.set()
    assert [future.result(10).status_code for future in pending] == [200, 200]
    assert predict(app, png).status_code == 200


def test_requests_about_models_are_refused_too(busy: tuple[Flask, list[Future[TestResponse]]]):
    for path in ("/api/v1/models", "/api/v1/models/pets"):
        assert busy[0].test_client().get(path).status_code == 503, path


def test_health_checks_and_the_openapi_document_are_not_refused(busy: tuple[Flask, list[Future[TestResponse]]]):
    for path in ("/livez", "/readyz", "/metrics", "/api/v1/openapi.json"):
        assert busy[0].test_client().get(path).status_code == 200, path


def test_a_slot_is_released_when_a_request_fails(make_app: Callable[..., Flask], server: FakeModelServer, png: bytes):
    app = make_app(threads=1, max_waiting=0)
    server.before["predict"] = lambda: 1 // 0
    assert predict(app, png).status_code == 500
    assert app.test_client().post(PREDICT, data=b"", content_type="image/png").status_code == 400
    assert app.test_client().get("/api/v1/models/unknown").status_code == 404

    server.before.clear()
    assert predict(app, png).status_code == 200


def test_batches_in_progress_leave_slots_for_photos_and_none_for_batches(
    make_app: Callable[..., Flask],
    server: FakeModelServer,
    unblock: threading.Event,
    png: bytes,
    pool: ThreadPoolExecutor,
):
    app = make_app(threads=4, max_wait_s=0.02)
    unblock.set()
    assert predict(app, png).status_code == 200
    unblock.clear()
    before = server.calls["predict"]

    def send_batch() -> TestResponse:
        files = [(io.BytesIO(png), f"{number}.png") for number in range(64)]
        return app.test_client().post(PREDICT, data={"image": files})

    batch = pool.submit(send_batch)
    until(lambda: server.calls["predict"] == before + 1)
    photos = [pool.submit(predict, app, png) for _ in range(2)]
    until(lambda: server.calls["predict"] == before + 3)

    assert send_batch().status_code == 503
    assert predict(app, png).status_code == 503
    unblock.set()
    assert [photo.result(10).status_code for photo in photos] == [200, 200]
    assert len(batch.result(10).get_json()["results"]) == 64
    assert send_batch().status_code == predict(app, png).status_code == 200


class GatedFetcher:
    """A `Fetcher` of one image, whose fetches begin with `begun` and wait for `may_end`."""

    def __init__(self, image: bytes) -> None:
        self.begun = threading.Semaphore(0)
        self.may_end = threading.Event()
        self._image = image

    def fetch(self, url: str, *, deadline: Deadline, allowance: Allowance, **_: object) -> bytes:  # noqa: ARG002  # the parameters of the protocol
        allowance.take(len(self._image))
        self.begun.release()
        assert self.may_end.wait(10)
        return self._image


def test_requests_that_fetch_images_occupy_no_slot_meanwhile(
    make_app: Callable[..., Flask], png: bytes, pool: ThreadPoolExecutor
):
    fetcher = GatedFetcher(png)
    app = make_app(threads=1, max_waiting=9, fetcher=fetcher)
    requests = [pool.submit(app.test_client().post, PREDICT, json={"url": "https://slow/"}) for _ in range(2)]
    try:
        for _ in requests:
            assert fetcher.begun.acquire(timeout=10)

        assert predict(app, png).status_code == 200
    finally:
        fetcher.may_end.set()
    assert [request.result(10).status_code for request in requests] == [200, 200]


def test_images_of_a_batch_of_urls_share_one_limit_of_bytes(
    make_app: Callable[..., Flask], images_by_url: dict[str, bytes], png: bytes
):
    images_by_url |= {"https://x/small": png, "https://x/large": b"x" * 1024}
    app = make_app(max_body_bytes=1024, fetch_threads=1)
    items = [{"url": f"https://x/{name}"} for name in ("small", "large", "small")]

    response = app.test_client().post(PREDICT, json={"instances": items})

    first, large, last = response.get_json()["results"]
    assert (large["status"], large["type"], large["max_bytes"]) == (413, "/problems/body-too-large", 1024)
    assert "class" in first
    assert "class" in last
    assert app.test_client().post(PREDICT, json={"url": "https://x/small"}).status_code == 200


@pytest.fixture(scope="module")
def large_png() -> bytes:
    """Return an image of more bytes than every request may send without a reservation."""
    pixels = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    image = cv2.imencode(".png", pixels)[1].tobytes()
    assert len(image) > PLACE_BYTES
    return image


def test_memory_is_reserved_for_what_a_request_holds_and_then_given_back(
    make_app: Callable[..., Flask], server: FakeModelServer, card: Card, png: bytes, large_png: bytes
):
    app = make_app(fetcher=(fetcher := GatedFetcher(large_png)))
    fetcher.may_end.set()
    memory = app.extensions["admission"].memory
    predict(app, png)  # reads the card
    held: list[tuple[int, int]] = []
    server.before["predict"] = lambda: held.append((memory.bodies.reserved, memory.downloads.reserved))
    encoded = base64.b64encode(large_png).decode()

    client = app.test_client()
    client.post(PREDICT, data=large_png, content_type="image/png")
    client.post(PREDICT, json={"image": encoded})
    client.post(PREDICT, json={"instances": [{"image": encoded}, {"url": "https://x/"}, {"url": "https://y/"}]})
    client.post(PREDICT, data=b"x" * len(large_png), content_type="image/png")

    size, inputs_size = len(large_png), 3 * math.prod(card.input.shape)
    assert held == [(size, 0), (size, 0), (size + inputs_size, 2 * size)]
    assert (memory.bodies.reserved, memory.downloads.reserved, memory.work.reserved) == (0, 0, 0)


def test_a_batch_whose_inputs_take_more_than_the_share_is_refused(
    make_app: Callable[..., Flask], server: FakeModelServer, card: Card, png: bytes
):
    large = dataclasses.replace(card.input, height=2000, width=2000, dtype="float32")
    server.swap("pets", 2, classifier(dataclasses.replace(card, input=large), constant(0.2, 0.7, 0.1)))
    app = make_app(memory_budget_bytes=256 * 1024**2)
    memory = app.extensions["admission"].memory
    images = [{"image": base64.b64encode(png).decode()}] * (memory.bodies.size // (4 * math.prod(large.shape)) + 1)

    response = app.test_client().post(PREDICT, json={"instances": images})

    assert response.status_code == 413
    assert response.get_json()["max_images"] == len(images) - 1
    assert memory.bodies.reserved == 0


def test_a_place_is_kept_until_the_server_has_sent_the_response(make_app: Callable[..., Flask], png: bytes):
    app = make_app(threads=1, max_waiting=0)
    client = app.test_client()

    response = client.post(PREDICT, data=png, content_type="image/png", environ_overrides={"gunicorn.socket": None})

    assert response.status_code == 200
    assert predict(app, png).status_code == 503
    response.close()
    assert predict(app, png).status_code == 200


def test_a_large_response_is_weighed_and_refused_without_memory(
    make_app: Callable[..., Flask], server: FakeModelServer, card: Card, png: bytes
):
    labels = tuple(f"class {number:05}" for number in range(4000))
    server.swap("pets", 2, classifier(dataclasses.replace(card, labels=labels), constant(*[1 / 4000] * 4000)))
    app = make_app()
    bodies = app.extensions["admission"].memory.bodies

    def send() -> TestResponse:
        url = f"{PREDICT}?top_k=4000"
        return app.test_client().post(
            url, data=png, content_type="image/png", environ_overrides={"gunicorn.socket": None}
        )

    response = send()

    assert bodies.reserved == len(response.data) > PLACE_BYTES
    response.close()
    assert bodies.reserved == 0
    with bodies.reserve(bodies.size, deadline=Deadline.after(10)):
        assert send().status_code == 503


def test_the_tensors_of_a_batch_are_weighed_while_they_are_computed(
    make_app: Callable[..., Flask], server: FakeModelServer, png: bytes
):
    app = make_app()
    work = app.extensions["admission"].memory.work
    predict(app, png)  # reads the card
    held: list[int] = []
    server.before["predict"] = lambda: held.append(work.reserved)

    files = [(io.BytesIO(png), "a.png") for _ in range(3)]
    response = app.test_client().post(PREDICT, data={"image": files})

    assert response.status_code == 200
    assert held == [CALL_FACTOR * 3 * 4 * 4]
    assert work.reserved == 0


def test_a_large_body_for_which_there_is_no_memory_is_not_read(
    make_app: Callable[..., Flask], png: bytes, large_png: bytes, deadline: Deadline
):
    app = make_app(max_wait_s=0.01)
    bodies = app.extensions["admission"].memory.bodies
    body = io.BytesIO(large_png)

    with bodies.reserve(bodies.size, deadline=deadline):
        response = app.test_client().post(PREDICT, input_stream=body, content_length=len(large_png))
        assert predict(app, png).status_code == 200

    assert (response.status_code, response.get_json(force=True)["type"]) == (503, "/problems/overloaded")
    assert int(response.headers["Retry-After"]) > 0
    assert body.tell() == PLACE_BYTES
    assert predict(app, large_png).status_code == 200


def test_images_for_which_there_is_no_memory_fail_alone(
    make_app: Callable[..., Flask], images_by_url: dict[str, bytes], png: bytes, deadline: Deadline
):
    images_by_url["https://x/"] = png
    app = make_app()
    downloads = app.extensions["admission"].memory.downloads
    items = [{"image": base64.b64encode(png).decode()}, {"url": "https://x/"}]

    with downloads.reserve(downloads.size, deadline=deadline):
        response = app.test_client().post(PREDICT, json={"instances": items})

    upload, download = response.get_json()["results"]
    assert "class" in upload
    assert (download["status"], download["type"]) == (503, "/problems/overloaded")
