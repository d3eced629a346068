"""The cache, over a model server in memory: what is told again, and what never is."""

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
from tests.support.fake_model_server import FakeModelServer, classifier, constant, explainable
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
def others() -> list[bytes]:
    """Draw pictures that differ."""
    return [cv2.imencode(".png", np.full((4, 4), tone, np.uint8))[1].tobytes() for tone in range(5)]


def ask(client: FlaskClient, png: bytes, query: str = "", path: str = PREDICT) -> tuple[str | None, Mapping[str, Any]]:
    response = client.post(f"{path}{query}", data=png, content_type="image/png")
    document = response.get_json()
    document.pop("request_id")
    return response.headers.get("Cache-Status"), document


def batch(client: FlaskClient, *pngs: bytes) -> tuple[str | None, list[Any]]:
    parts = [(io.BytesIO(png), "a.png") for png in pngs]
    response = client.post(PREDICT, data={"image": parts}, content_type="multipart/form-data")
    return response.headers.get("Cache-Status"), response.get_json()["results"]


def test_it_is_off_unless_it_is_set(make_app: Callable[..., Flask], server: FakeModelServer, png: bytes):
    client = make_app().test_client()
    assert [ask(client, png)[0] for _ in range(2)] == [None, None]
    assert server.calls["predict"] == 1 + 2  # the card, and both questions


def test_the_same_picture_is_computed_once(client: FlaskClient, server: FakeModelServer, png: bytes):
    (first, computed), (second, told) = ask(client, png), ask(client, png)
    assert (first, second) == (STORED, HIT)
    assert computed == told
    assert server.calls["predict"] == 1 + 1


def test_every_form_of_request_finds_the_picture(client: FlaskClient, png: bytes):
    ask(client, png)
    response = client.post(PREDICT, data={"image": (io.BytesIO(png), "b.png")})
    assert response.headers["Cache-Status"] == HIT


def test_another_picture_is_computed(client: FlaskClient, png: bytes, others: list[bytes]):
    assert [ask(client, data)[0] for data in (png, *others)] == [STORED] * 6


@pytest.mark.parametrize("query", ["?top_k=2", "?threshold=0.5", "?threshold=0.65"])
def test_other_options_are_another_question(client: FlaskClient, png: bytes, query: str):
    whole = ask(client, png)[1]
    (first, chosen), (second, again) = ask(client, png, query), ask(client, png, query)
    assert (first, second) == (STORED, HIT)
    assert chosen == again != whole
    assert ask(client, png) == (HIT, whole)


def test_a_heat_map_is_told_again(client: FlaskClient, server: FakeModelServer, card: Card, png: bytes):
    def heat(images: Any, _: Any) -> Any:
        return np.full((len(images), 2, 2), 0.5, np.float32)

    server.swap("pets", 2, explainable(card, constant(0.2, 0.7, 0.1), heat))
    (first, drawn), (second, again) = ask(client, png, "?explain=true"), ask(client, png, "?explain=true")
    assert (first, second) == (STORED, HIT)
    assert drawn == again
    assert drawn["explanation"]["heatmap"].startswith("data:image/png;base64,")
    assert "explanation" not in ask(client, png)[1]


# Versions


def test_a_swap_ends_what_was_kept_at_once(client: FlaskClient, server: FakeModelServer, card: Card, png: bytes):
    assert [ask(client, png)[0] for _ in range(2)] == [STORED, HIT]
    server.swap("pets", 2, classifier(card, constant(0.9, 0.05, 0.05)))
    told = [ask(client, png) for _ in range(3)]
    assert [status for status, _ in told] == ["image-gateway; fwd=stale", STORED, HIT]
    assert {(document["class"], document["model"]["version"]) for _, document in told} == {("cat", 2)}


def test_a_newer_version_beside_the_old_one_takes_over(
    client: FlaskClient, server: FakeModelServer, card: Card, png: bytes
):
    for _ in range(2):
        ask(client, png)
    server.models["pets"][2] = classifier(card, constant(0.9, 0.05, 0.05))
    assert ask(client, png)[1]["model"]["version"] == 2


def test_a_version_asked_for_by_number_is_told_while_it_is_served(
    client: FlaskClient, server: FakeModelServer, card: Card, png: bytes
):
    path = "/api/v1/models/pets/versions/1/predict"
    server.models["pets"][2] = classifier(card, constant(0.9, 0.05, 0.05))
    assert [ask(client, png, path=path)[0] for _ in range(2)] == [STORED, HIT]
    assert ask(client, png)[1]["model"]["version"] == 2
    del server.models["pets"][1]
    assert ask(client, png, path=path)[1]["status"] == 404


def test_a_label_that_moved_takes_its_answers_along(
    make_app: Callable[..., Flask], server: FakeModelServer, card: Card, png: bytes
):
    server.models["pets"][2] = classifier(card, constant(0.9, 0.05, 0.05))
    server.labels["pets"] = {"stable": 1}
    client = make_app(cache="memory").test_client()
    path = "/api/v1/models/pets/labels/stable/predict"
    assert [ask(client, png, path=path)[1]["class"] for _ in range(2)] == ["dog", "dog"]
    server.labels["pets"] = {"stable": 2}
    assert ask(client, png, path=path)[1]["class"] == "cat"


def test_the_same_number_with_another_card_is_another_version(
    client: FlaskClient, server: FakeModelServer, card: Card, png: bytes
):
    ask(client, png)
    server.away = True
    assert ask(client, png)[1]["status"] == 503
    server.away = False
    renamed = Card(name="pets", labels=("cow", "hen", "pig"), input=card.input)
    server.swap("pets", 1, classifier(renamed, constant(0.2, 0.7, 0.1)))
    client.application.extensions["registry"]._current.clear()
    client.application.extensions["registry"]._inspected.clear()  # as when the watcher has met the server away
    assert ask(client, png)[1]["class"] == "hen"


def test_a_version_that_goes_while_it_computes_is_not_kept(
    client: FlaskClient, server: FakeModelServer, card: Card, png: bytes
):
    ask(client, png)

    def swap() -> None:
        server.before.clear()
        server.swap("pets", 2, classifier(card, constant(0.9, 0.05, 0.05)))

    server.before["predict"] = swap
    assert ask(client, png, "?top_k=1")[1]["model"]["version"] == 2
    assert ask(client, png, "?top_k=1")[1]["class"] == "cat"


# At once


@pytest.mark.timeout(120)
def test_a_hundred_at_once_make_one_call(app: Flask, server: FakeModelServer, png: bytes):
    ask(app.test_client(), png, "?top_k=1")  # the card is known
    asked = server.calls["predict"]
    begun, collapsed = threading.Event(), metrics.CACHE.labels("collapsed")
    server.before["predict"] = lambda: begun.wait(60)
    before = collapsed._value.get()
    started: list[int] = []

    def all_have_begun() -> bool:
        return len(started) == 100 and server.calls["predict"] - asked == 1

    def one(number: int) -> tuple[str | None, str]:
        started.append(number)
        status, document = ask(app.test_client(), png)
        return status, document["class"]

    with ThreadPoolExecutor(100) as pool:
        answers = [pool.submit(one, number) for number in range(100)]
        until(all_have_begun, within_s=60, what="all hundred begun, one of them computing")
        begun.set()
        told = [answer.result() for answer in answers]
    assert server.calls["predict"] - asked == 1
    assert {label for _, label in told} == {"dog"}
    statuses = [status for status, _ in told]
    assert statuses.count(STORED) == 1
    assert set(statuses) <= {STORED, COLLAPSED, HIT}
    assert collapsed._value.get() - before == statuses.count(COLLAPSED)


def test_those_who_waited_for_one_that_failed_ask_themselves(app: Flask, server: FakeModelServer, png: bytes):
    ask(app.test_client(), png, "?top_k=1")
    asked = server.calls["predict"]
    first, let_go = threading.Event(), threading.Event()

    def fail_once() -> None:
        server.before.clear()
        first.set()
        let_go.wait(60)
        raise ModelFailedError("failed")

    server.before["predict"] = fail_once
    with ThreadPoolExecutor(2) as pool:
        failing = pool.submit(ask, app.test_client(), png)
        assert first.wait(60)
        waiting = pool.submit(ask, app.test_client(), png)
        let_go.set()
        assert failing.result()[1]["status"] == 502
        assert waiting.result()[1]["class"] == "dog"
    assert server.calls["predict"] - asked == 2


# Batches


def test_of_a_batch_only_what_is_missing_is_computed(
    client: FlaskClient, server: FakeModelServer, others: list[bytes], card: Card
):
    rows: list[int] = []

    def count(images: Any) -> Any:
        rows.append(len(images))
        tones = images.reshape(len(images), -1).max(axis=1) / 10
        return np.stack([tones, 1 - tones, tones / 2], axis=1).astype(np.float32)

    server.swap("pets", 2, classifier(card, count))
    whole = batch(client, *others)
    assert whole[0] == STORED
    assert rows == [5]
    mixed = [others[3], others[0], others[3]]
    assert batch(client, *mixed) == (HIT, [whole[1][3], whole[1][0], whole[1][3]])
    assert rows == [5]


def test_a_batch_tells_how_many_were_kept_and_what_is_wrong_stays_in_place(
    client: FlaskClient, server: FakeModelServer, others: list[bytes]
):
    batch(client, others[0], others[1])
    asked = server.calls["predict"]
    status, results = batch(client, others[0], b"no picture", others[2], others[1])
    assert status == f'{STORED}; detail="2 of 4 were kept"'
    assert [item.get("class", item.get("type")) for item in results] == [
        "dog",
        "/problems/unsupported-image-format",
        "dog",
        "dog",
    ]
    assert server.calls["predict"] - asked == 1


def test_the_same_picture_twice_in_a_batch_is_computed_once(client: FlaskClient, png: bytes):
    status, results = batch(client, png, png)
    assert status == STORED
    assert results[0] == results[1]


def test_what_is_wrong_is_not_kept(client: FlaskClient, png: bytes):
    for _ in range(2):
        status, document = ask(client, b"no picture")
        assert (status, document["status"]) == (None, 415)
    assert [ask(client, png)[0] for _ in range(2)] == [STORED, HIT]


def test_a_batch_of_nothing_but_errors_is_answered(client: FlaskClient):
    response = client.post(PREDICT, json={"instances": [{"image": "?"}, {}]})
    assert [item["status"] for item in response.get_json()["results"]] == [400, 400]


# Settings


def test_redis_without_its_package_is_refused(make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "gateway.caching.redis_store", None)
    with pytest.raises(SettingsError, match="uv sync --inexact --extra redis"):
        make_app(cache="redis")


@pytest.mark.parametrize("name", ["GATEWAY_CACHE_MAX_BYTES", "GATEWAY_CACHE_TTL_S", "GATEWAY_CACHE"])
def test_settings_are_checked(name: str):
    with pytest.raises(SettingsError, match=name):
        Settings.from_env({name: "0"})
