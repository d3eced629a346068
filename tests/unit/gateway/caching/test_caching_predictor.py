"""The cache over an in-memory model server: what is returned from it, and what never is."""

import base64
import dataclasses
import io
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient

from gateway.errors import ModelFailedError
from gateway.observability import metrics
from gateway.settings import Settings, SettingsError
from tests.support.fake_model_server import (
    INSPECTION_CALLS,
    FakeModelServer,
    after_check,
    classifier,
    constant,
    explainable,
    score_lightness,
)
from tests.support.waiting import until
from vision.card import Card

PREDICT = "/api/v1/predict"
HIT = "image-gateway; hit"
STORED = "image-gateway; fwd=miss; stored"
COLLAPSED = "image-gateway; fwd=miss; collapsed"


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(cache="memory")


@pytest.fixture
def shades() -> list[bytes]:
    """Return five different images."""
    return [cv2.imencode(".png", np.full((4, 4), tone, np.uint8))[1].tobytes() for tone in range(5)]


def predict(
    client: FlaskClient, png: bytes, query: str = "", path: str = PREDICT
) -> tuple[str | None, Mapping[str, Any]]:
    response = client.post(f"{path}{query}", data=png, content_type="image/png")
    document = response.get_json()
    document.pop("request_id")
    return response.headers.get("Cache-Status"), document


def predict_batch(client: FlaskClient, *pngs: bytes) -> tuple[str | None, list[Any]]:
    parts = [(io.BytesIO(png), "a.png") for png in pngs]
    response = client.post(PREDICT, data={"image": parts}, content_type="multipart/form-data")
    return response.headers.get("Cache-Status"), response.get_json()["results"]


def test_the_cache_is_off_by_default(make_app: Callable[..., Flask], server: FakeModelServer, png: bytes):
    client = make_app().test_client()
    assert [predict(client, png)[0] for _ in range(2)] == [None, None]
    assert server.calls["predict"] == INSPECTION_CALLS + 2  # both requests


def test_the_same_image_is_computed_once(client: FlaskClient, server: FakeModelServer, png: bytes):
    (first, computed), (second, cached) = predict(client, png), predict(client, png)

    assert (first, second) == (STORED, HIT)
    assert computed == cached
    assert server.calls["predict"] == INSPECTION_CALLS + 1


def test_an_image_is_found_in_every_input_form(client: FlaskClient, png: bytes):
    predict(client, png)
    response = client.post(PREDICT, data={"image": (io.BytesIO(png), "b.png")})
    assert response.headers["Cache-Status"] == HIT


def test_a_different_image_is_computed(client: FlaskClient, png: bytes, shades: list[bytes]):
    assert [predict(client, data)[0] for data in (png, *shades)] == [STORED] * 6


def test_predictions_with_different_options_are_stored_separately(client: FlaskClient, png: bytes):
    unlimited = predict(client, png)[1]
    for query in ("?top_k=2", "?threshold=0.5", "?threshold=0.65"):
        (first, computed), (second, cached) = predict(client, png, query), predict(client, png, query)
        assert (first, second) == (STORED, HIT), query
        assert computed == cached != unlimited, query
    assert predict(client, png) == (HIT, unlimited)


def test_a_heat_map_is_returned_from_the_cache(client: FlaskClient, server: FakeModelServer, card: Card, png: bytes):
    def heat(images: Any, _: Any) -> Any:
        return np.full((len(images), 2, 2), 0.5, np.float32)

    server.swap("pets", 2, explainable(card, constant(0.2, 0.7, 0.1), heat))

    (first, computed), (second, cached) = (predict(client, png, "?explain=true") for _ in range(2))

    assert (first, second) == (STORED, HIT)
    assert computed == cached
    assert computed["explanation"]["heatmap"].startswith("data:image/png;base64,")
    assert "explanation" not in predict(client, png)[1]


# Versions


def test_a_swap_invalidates_the_cache_at_once(client: FlaskClient, server: FakeModelServer, card: Card, png: bytes):
    assert [predict(client, png)[0] for _ in range(2)] == [STORED, HIT]

    server.swap("pets", 2, classifier(card, constant(0.9, 0.05, 0.05)))
    responses = [predict(client, png) for _ in range(3)]

    assert [status for status, _ in responses] == ["image-gateway; fwd=stale", STORED, HIT]
    assert {(document["class"], document["model"]["version"]) for _, document in responses} == {("cat", 2)}


def test_a_newer_version_beside_the_old_one_invalidates_the_cache(
    client: FlaskClient, server: FakeModelServer, card: Card, png: bytes
):
    for _ in range(2):
        predict(client, png)

    server.models["pets"][2] = classifier(card, constant(0.9, 0.05, 0.05))
    assert predict(client, png)[1]["model"]["version"] == 2


def test_a_targeted_version_is_cached_while_it_is_served(
    client: FlaskClient, server: FakeModelServer, card: Card, png: bytes
):
    path = "/api/v1/models/pets/versions/1/predict"
    server.models["pets"][2] = classifier(card, constant(0.9, 0.05, 0.05))
    assert [predict(client, png, path=path)[0] for _ in range(2)] == [STORED, HIT]
    assert predict(client, png)[1]["model"]["version"] == 2

    del server.models["pets"][1]
    assert predict(client, png, path=path)[1]["status"] == 404


def test_a_label_that_moves_invalidates_the_cache(
    make_app: Callable[..., Flask], server: FakeModelServer, card: Card, png: bytes
):
    server.models["pets"][2] = classifier(card, constant(0.9, 0.05, 0.05))
    server.labels["pets"] = {"stable": 1}
    client = make_app(cache="memory").test_client()
    path = "/api/v1/models/pets/labels/stable/predict"
    assert [predict(client, png, path=path)[1]["class"] for _ in range(2)] == ["dog", "dog"]

    server.labels["pets"] = {"stable": 2}
    assert predict(client, png, path=path)[1]["class"] == "cat"


def test_the_same_version_with_a_different_card_invalidates_the_cache(
    client: FlaskClient, server: FakeModelServer, card: Card, png: bytes
):
    predict(client, png)
    server.away = True
    assert predict(client, png)[1]["status"] == 503

    server.away = False
    renamed = Card(name="pets", labels=("cow", "hen", "pig"), input=card.input)
    server.swap("pets", 1, classifier(renamed, constant(0.2, 0.7, 0.1)))
    client.application.extensions["registry"]._current.clear()
    client.application.extensions["registry"]._versions.clear()  # as the watcher does in an outage
    assert predict(client, png)[1]["class"] == "hen"


def test_a_prediction_of_another_version_than_resolved_is_not_stored(
    client: FlaskClient, server: FakeModelServer, card: Card, png: bytes
):
    predict(client, png)

    def swap() -> None:
        server.before.clear()
        server.swap("pets", 2, classifier(card, constant(0.9, 0.05, 0.05)))

    server.before["predict"] = swap
    assert predict(client, png, "?top_k=1")[1]["model"]["version"] == 2
    assert predict(client, png, "?top_k=1")[1]["class"] == "cat"


# Concurrent requests


@pytest.mark.timeout(120)
def test_a_hundred_concurrent_requests_make_one_call(app: Flask, server: FakeModelServer, png: bytes):
    predict(app.test_client(), png, "?top_k=1")  # reads the card
    calls = server.calls["predict"]
    unblock, collapsed = threading.Event(), metrics.CACHE.labels("collapsed")
    server.before["predict"] = lambda: unblock.wait(60)
    count = collapsed._value.get()
    started: list[int] = []

    def all_have_started() -> bool:
        return len(started) == 100 and server.calls["predict"] - calls == 1

    def predict_once(number: int) -> tuple[str | None, str]:
        started.append(number)
        status, document = predict(app.test_client(), png)
        return status, document["class"]

    with ThreadPoolExecutor(100) as pool:
        requests = [pool.submit(predict_once, number) for number in range(100)]
        until(all_have_started, within_s=60, what="a hundred requests, one of them computing")
        unblock.set()
        responses = [request.result() for request in requests]

    assert server.calls["predict"] - calls == 1
    assert {label for _, label in responses} == {"dog"}
    statuses = [status for status, _ in responses]
    assert statuses.count(STORED) == 1
    assert set(statuses) <= {STORED, COLLAPSED, HIT}
    assert collapsed._value.get() - count == statuses.count(COLLAPSED)


def test_a_request_that_waited_for_a_failed_one_computes_by_itself(app: Flask, server: FakeModelServer, png: bytes):
    predict(app.test_client(), png, "?top_k=1")
    calls = server.calls["predict"]
    computing, unblock = threading.Event(), threading.Event()

    def fail_once() -> None:
        server.before.clear()
        computing.set()
        unblock.wait(60)
        raise ModelFailedError("failed")

    server.before["predict"] = fail_once

    with ThreadPoolExecutor(2) as pool:
        failing = pool.submit(predict, app.test_client(), png)
        assert computing.wait(60)
        waiting = pool.submit(predict, app.test_client(), png)
        unblock.set()

        assert failing.result()[1]["status"] == 502
        assert waiting.result()[1]["class"] == "dog"
    assert server.calls["predict"] - calls == 2


# Batches


def test_only_the_missing_images_of_a_batch_are_computed(
    client: FlaskClient, server: FakeModelServer, shades: list[bytes], card: Card
):
    rows: list[int] = []

    def scores(images: Any) -> Any:
        rows.append(len(images))
        tones = images.reshape(len(images), -1).max(axis=1) / 10
        return np.stack([tones, 1 - tones, 0 * tones], axis=1).astype(np.float32)

    server.swap("pets", 2, classifier(card, after_check(scores)))

    first = predict_batch(client, *shades)
    assert first[0] == STORED
    assert rows == [5]

    mixed = [shades[3], shades[0], shades[3]]
    assert predict_batch(client, *mixed) == (HIT, [first[1][3], first[1][0], first[1][3]])
    assert rows == [5]


def test_a_batch_reports_its_hits_and_keeps_problems_in_place(
    client: FlaskClient, server: FakeModelServer, shades: list[bytes]
):
    predict_batch(client, shades[0], shades[1])
    calls = server.calls["predict"]
    status, results = predict_batch(client, shades[0], b"not an image", shades[2], shades[1])
    assert status == f'{STORED}; detail="2 of 4 were cached"'
    assert [item.get("class", item.get("type")) for item in results] == [
        "dog",
        "/problems/unsupported-image-format",
        "dog",
        "dog",
    ]
    assert server.calls["predict"] - calls == 1


def test_the_error_of_an_image_is_not_reported_as_stored(client: FlaskClient, png: bytes):
    statuses = [predict_batch(client, png[:-20], png[:-10])[0] for _ in range(2)]

    assert statuses == ["image-gateway; fwd=miss"] * 2


def test_an_image_that_a_batch_repeats_is_computed_once(client: FlaskClient, png: bytes):
    status, results = predict_batch(client, png, png)
    assert status == STORED
    assert results[0] == results[1]


def test_pixels_are_not_taken_for_a_file_of_the_same_bytes(app: Flask, server: FakeModelServer, card: Card, png: bytes):
    padded = png.ljust(4 * 64, b"\0")
    spec = dataclasses.replace(card.input, height=16, width=16)
    server.swap("pets", 1, classifier(dataclasses.replace(card, input=spec), score_lightness))
    client = app.test_client()
    tensor = {"name": "image", "shape": [1, 16, 16, 1], "datatype": "UINT8", "data": [*padded]}

    def send(**changes: object) -> tuple[str, list[float]]:
        response = client.post("/v2/models/pets/infer", json={"inputs": [tensor | changes]})
        return response.headers["Cache-Status"], response.get_json()["outputs"][0]["data"]

    file = send(shape=[1], datatype="BYTES", data=[base64.b64encode(padded).decode()])
    pixels, again = send(), send()

    assert (file[0], pixels[0], again[0]) == (STORED, STORED, HIT)
    assert file[1] != pixels[1] == again[1]


def test_an_error_is_not_cached(client: FlaskClient, png: bytes):
    for _ in range(2):
        status, document = predict(client, b"not an image")
        assert (status, document["status"]) == (None, 415)
    assert [predict(client, png)[0] for _ in range(2)] == [STORED, HIT]


def test_a_batch_of_only_errors_is_answered(client: FlaskClient):
    response = client.post(PREDICT, json={"instances": [{"image": "?"}, {}]})
    assert [item["status"] for item in response.get_json()["results"]] == [400, 400]


# Settings


def test_redis_needs_its_package(make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "gateway.caching.redis_store", None)
    with pytest.raises(SettingsError, match=r"tools/uv\.py install \.venv --extra redis"):
        make_app(cache="redis")


def test_invalid_settings_are_refused():
    for name in ("GATEWAY_CACHE_MAX_BYTES", "GATEWAY_CACHE_TTL_S", "GATEWAY_CACHE"):
        with pytest.raises(SettingsError, match=name):
            Settings.from_env({name: "0"})
