import base64
import dataclasses
import io
import json
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from structlog.testing import capture_logs

from gateway.model_client.protocol import Array
from gateway.observability import metrics
from tests.support.fake_model_server import FakeModelServer, FakeVersion, classifier, constant, explainable
from vision.card import Card

PREDICT = "/api/v1/predict"
URL = "https://photos.example/a.png"


# Predictions


def test_an_answer(client: FlaskClient, png: bytes):
    response = client.post(PREDICT, data=png, content_type="image/png", headers={"X-Request-ID": "id-1"})
    assert response.status_code == 200
    assert response.content_type == "application/json"
    document = response.get_json()
    assert list(document) == ["class", "class_id", "score", "predictions", "model", "request_id"]
    scores = [item.pop("score") for item in document["predictions"]]
    assert scores == pytest.approx([0.7, 0.2, 0.1])
    assert document.pop("score") == scores[0]
    assert document == {
        "class": "dog",
        "class_id": 1,
        "predictions": [
            {"class": "dog", "class_id": 1},
            {"class": "cat", "class_id": 0},
            {"class": "fish", "class_id": 2},
        ],
        "model": {"name": "pets", "version": 1},
        "request_id": "id-1",
    }


@pytest.mark.parametrize("form", ["multipart", "file", "raw", "octets", "base64", "data URI", "url", "form url", "old"])
def test_every_form_gives_the_same_answer(client: FlaskClient, images_by_url: dict[str, bytes], png: bytes, form: str):
    images_by_url[URL] = png
    text = base64.b64encode(png).decode()
    told = {
        "multipart": {"data": {"image": (io.BytesIO(png), "a.png")}},
        "file": {"data": {"file": (io.BytesIO(png), "a.png")}},
        "raw": {"data": png, "content_type": "image/png"},
        "octets": {"data": png, "content_type": "application/octet-stream"},
        "base64": {"json": {"image": text}},
        "data URI": {"json": {"image": f"data:image/png;base64,{text}"}},
        "url": {"json": {"url": URL}},
        "form url": {"data": {"url": URL}},
        "old": {"json": {"image_base64": "", "image_url": URL}},
    }[form]
    document = client.post(PREDICT, **told).get_json()
    assert (document["class"], document["class_id"]) == ("dog", 1)


def test_top_k_limits_the_predictions(client: FlaskClient, png: bytes):
    def count(query: str) -> int:
        response = client.post(f"{PREDICT}{query}", data=png, content_type="image/png")
        return len(response.get_json()["predictions"])

    assert [count("?top_k=1"), count("?top_k=2"), count("?top_k=99"), count("")] == [1, 2, 3, 3]


def test_the_default_top_k_is_a_setting(make_app: Callable[..., Flask], png: bytes):
    client = make_app(default_top_k=2).test_client()
    assert len(client.post(PREDICT, data=png, content_type="image/png").get_json()["predictions"]) == 2


def test_a_model_is_named_in_the_path(make_app: Callable[..., Flask], server: FakeModelServer, card: Card, png: bytes):
    server.swap("weather", 4, classifier(dataclasses.replace(card, labels=("sun", "rain", "snow")), constant(1, 0, 0)))
    client = make_app(models=("pets", "weather")).test_client()
    named = client.post("/api/v1/models/weather/predict", data=png, content_type="image/png").get_json()
    assert (named["class"], named["model"]) == ("sun", {"name": "weather", "version": 4})
    assert client.post(PREDICT, data=png, content_type="image/png").get_json()["model"]["name"] == "pets"
    chosen = make_app(models=("pets", "weather"), default_model="weather").test_client()
    assert chosen.post(PREDICT, data=png, content_type="image/png").get_json()["model"]["name"] == "weather"


def test_a_version_and_a_label_are_named_in_the_path(
    client: FlaskClient, server: FakeModelServer, card: Card, png: bytes
):
    server.models["pets"][7] = classifier(dataclasses.replace(card, labels=("a", "b", "c")), constant(1, 0, 0))
    server.labels["pets"] = {"stable": 1}

    def ask(path: str) -> tuple[str, int]:
        document = client.post(f"/api/v1/models/pets{path}", data=png, content_type="image/png").get_json()
        return document["class"], document["model"]["version"]

    assert ask("/versions/1/predict") == ask("/labels/stable/predict") == ("dog", 1)
    assert ask("/versions/7/predict") == ask("/predict") == ("a", 7)


@pytest.mark.parametrize("path", ["versions/2", "labels/canary"])
def test_an_unknown_version_is_told_with_those_there_are(
    client: FlaskClient, server: FakeModelServer, png: bytes, path: str
):
    server.labels["pets"] = {"stable": 1}
    response = client.post(f"/api/v1/models/pets/{path}/predict", data=png, content_type="image/png")
    document = response.get_json(force=True)
    assert (response.status_code, document["type"]) == (404, "/problems/version-not-found")
    assert (document["versions"], document["labels"]) == ([1], ["stable"])


@pytest.mark.parametrize("version", ["-1", "one", "1.5", ""])
def test_a_version_that_is_no_number_is_no_path(client: FlaskClient, version: str):
    response = client.post(f"/api/v1/models/pets/versions/{version}/predict", data=b"")
    assert (response.status_code, response.get_json(force=True)["type"]) == (404, "/problems/not-found")


# Explanations


def heat(images: Array, class_ids: Array) -> Array:
    return np.full((len(images), 1, 2), [[0.12345678, 1]], np.float32) * (class_ids[:, None, None] == 1)


def test_an_explanation_as_a_picture(client: FlaskClient, server: FakeModelServer, card: Card, png: bytes):
    server.swap("pets", 2, explainable(card, constant(0, 1, 0), heat))
    response = client.post(f"{PREDICT}?explain=true", data=png, content_type="image/png")
    explanation = response.get_json()["explanation"]
    assert (explanation["class"], explanation["class_id"]) == ("dog", 1)
    prefix, _, text = explanation["heatmap"].partition(",")
    assert prefix == "data:image/png;base64"
    drawn = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape == (256, 256, 3)
    assert [entry.partition(";")[0] for entry in response.headers["Server-Timing"].split(", ")][-4:] == [
        "predict",
        "explain",
        "draw",
        "total",
    ]


def test_an_explanation_as_numbers(client: FlaskClient, server: FakeModelServer, card: Card, png: bytes):
    server.swap("pets", 2, explainable(card, constant(0, 1, 0), heat))
    document = client.post(PREDICT, json={"image": base64.b64encode(png).decode(), "explain": "raw"}).get_json()
    assert document["explanation"] == {
        "class": "dog",
        "class_id": 1,
        "height": 1,
        "width": 2,
        "heatmap": [[0.1235, 1.0]],
    }


def test_a_batch_is_explained_image_by_image(client: FlaskClient, server: FakeModelServer, card: Card, png: bytes):
    server.swap("pets", 2, explainable(card, constant(0, 1, 0), heat))
    instances = [{"image": base64.b64encode(png).decode()}, {"image": "AAAA"}]
    good, bad = client.post(PREDICT, json={"instances": instances, "explain": True}).get_json()["results"]
    assert good["explanation"]["heatmap"].startswith("data:image/png;base64,")
    assert bad["status"] == 415


def test_a_model_that_cannot_explain(client: FlaskClient, png: bytes):
    response = client.post(f"{PREDICT}?explain=true", data=png, content_type="image/png")
    assert (response.status_code, response.get_json(force=True)["type"]) == (422, "/problems/model-not-explainable")
    assert "explanation" not in client.post(f"{PREDICT}?explain=false", data=png, content_type="image/png").get_json()


# Batches


def test_a_batch_is_answered_in_order_with_the_problems_in_their_places(
    client: FlaskClient, server: FakeModelServer, images_by_url: dict[str, bytes], png: bytes
):
    images_by_url[URL] = png
    text = base64.b64encode(png).decode()
    instances = [{"url": URL}, {"image": "%%%"}, {"image_base64": text}, {"url": "https://nowhere.example/"}]
    instances += [{"image": base64.b64encode(b"hello").decode()}]
    response = client.post(f"{PREDICT}?top_k=1", json={"instances": instances}, headers={"X-Request-ID": "id-2"})
    assert response.status_code == 200
    document = response.get_json()
    assert list(document) == ["results", "model", "request_id"]
    assert (document["model"], document["request_id"]) == ({"name": "pets", "version": 1}, "id-2")
    first, second, third, fourth, fifth = document["results"]
    assert (
        first
        == third
        == {
            "class": "dog",
            "class_id": 1,
            "score": pytest.approx(0.7),
            "predictions": [{"class": "dog", "class_id": 1, "score": pytest.approx(0.7)}],
        }
    )
    assert second == {
        "type": "/problems/bad-request",
        "title": "The request cannot be understood",
        "status": 400,
        "detail": "The field 'image' is not valid base64.",
    }
    assert (fourth["type"], fourth["status"]) == ("/problems/fetch-failed", 422)
    assert (fifth["type"], fifth["status"]) == ("/problems/unsupported-image-format", 415)
    assert "png" in fifth["accepted"]
    assert server.request_ids == ["", "id-2"]  # the card's, and one call for the batch


@pytest.mark.parametrize("form", ["parts", "one instance"])
def test_every_form_of_a_batch(client: FlaskClient, png: bytes, form: str):
    told = {
        "parts": {"data": {"image": [(io.BytesIO(png), "a.png"), (io.BytesIO(png), "b.png")], "threshold": "0.5"}},
        "one instance": {"json": {"instances": [{"image": base64.b64encode(png).decode()}], "threshold": 0.5}},
    }[form]
    results = client.post(PREDICT, **told).get_json()["results"]
    assert [result["class"] for result in results] == ["dog"] * (2 if form == "parts" else 1)
    assert all(len(result["predictions"]) == 1 for result in results)


def test_a_batch_of_a_multilabel_model(client: FlaskClient, server: FakeModelServer, card: Card, png: bytes):
    several = dataclasses.replace(card, task="multilabel", threshold=0.5)
    server.swap("pets", 2, classifier(several, constant(0.5, 0.1, 0.75)))
    instances = [{"image": base64.b64encode(png).decode()}] * 2
    results = client.post(f"{PREDICT}?threshold=0.6", json={"instances": instances}).get_json()["results"]
    assert [[item["class"] for item in result["classes"]] for result in results] == [["fish"]] * 2


def test_a_batch_fails_as_a_whole_where_no_image_can_be_answered(client: FlaskClient, server: FakeModelServer):
    batch = {"instances": [{"image": "AAAA"}, {"image": "BBBB"}]}
    response = client.post("/api/v1/models/birds/predict", json=batch)
    assert (response.status_code, response.content_type) == (404, "application/problem+json")
    server.away = True
    assert client.post(PREDICT, json=batch).status_code == 503


def test_the_number_of_images_is_a_setting(make_app: Callable[..., Flask]):
    client = make_app(max_images=2).test_client()
    response = client.post(PREDICT, json={"instances": [{"image": "AAAA"}] * 3})
    document = response.get_json(force=True)
    assert (response.status_code, document["type"]) == (413, "/problems/too-many-images")
    assert document["max_images"] == 2


def test_the_number_of_images_in_one_call_is_a_setting(
    make_app: Callable[..., Flask], server: FakeModelServer, png: bytes
):
    client = make_app(max_batch_size=2).test_client()
    client.post(PREDICT, json={"instances": [{"image": base64.b64encode(png).decode()}] * 5})
    assert server.calls["predict"] == 1 + 3


def test_a_batch_is_counted_and_logged_by_its_images(client: FlaskClient, png: bytes):
    def counted() -> float:
        return metrics.IMAGES.labels("pets", 1, metrics.ANSWERED)._value.get()

    before = counted()
    instances = [{"image": base64.b64encode(png).decode()}, {"image": "AAAA"}, {"image": "%"}]
    with capture_logs() as logs:
        client.post(PREDICT, json={"instances": instances})
    assert counted() - before == 1
    (line,) = [line for line in logs if line["event"] == "request"]
    assert (line["model"], line["version"], line["images"], line["failed"]) == ("pets", 1, 3, 2)


def test_an_unknown_model(client: FlaskClient, png: bytes):
    response = client.post("/api/v1/models/birds/predict", data=png, content_type="image/png")
    document = response.get_json(force=True)
    assert (response.status_code, document["type"]) == (404, "/problems/model-not-found")
    assert "pets" in document["detail"]


def test_a_multilabel_answer_lists_the_classes_that_are_present(
    client: FlaskClient, server: FakeModelServer, card: Card, png: bytes
):
    several = dataclasses.replace(card, task="multilabel", threshold=0.5)
    server.swap("pets", 2, classifier(several, constant(0.5, 0.1, 0.75)))
    document = client.post(f"{PREDICT}?top_k=1", data=png, content_type="image/png").get_json()
    assert document["classes"] == [
        {"class": "fish", "class_id": 2, "score": 0.75},
        {"class": "cat", "class_id": 0, "score": 0.5},
    ]
    server.swap("pets", 3, classifier(several, constant(0.1, 0.2, 0.3)))
    assert client.post(PREDICT, data=png, content_type="image/png").get_json()["classes"] == []


def test_labels_in_every_script_come_through(client: FlaskClient, server: FakeModelServer, card: Card, png: bytes):
    server.swap("pets", 2, classifier(dataclasses.replace(card, labels=("猫", "Käfer", 'a"b')), constant(1, 0.5, 0)))
    document = client.post(PREDICT, data=png, content_type="image/png").get_json()
    assert [item["class"] for item in document["predictions"]] == ["猫", "Käfer", 'a"b']


@pytest.mark.parametrize(
    ("data", "status", "slug"),
    [
        (b"hello", 415, "unsupported-image-format"),
        (cv2.imencode(".png", np.zeros((1001, 1000), np.uint8))[1].tobytes(), 413, "image-too-large"),
        (cv2.imencode(".jpg", np.zeros((50, 50), np.uint8))[1].tobytes()[:300], 422, "unreadable-image"),
    ],
    ids=["text", "large", "cut off"],
)
def test_bytes_that_are_no_usable_image(client: FlaskClient, data: bytes, status: int, slug: str):
    response = client.post(PREDICT, data=data, content_type="application/octet-stream")
    assert (response.status_code, response.get_json(force=True)["type"]) == (status, f"/problems/{slug}")


def test_a_url_that_gives_nothing(client: FlaskClient):
    response = client.post(PREDICT, json={"url": URL})
    assert (response.status_code, response.get_json(force=True)["type"]) == (422, "/problems/fetch-failed")


def test_a_server_that_is_away(client: FlaskClient, server: FakeModelServer, png: bytes):
    server.away = True
    response = client.post(PREDICT, data=png, content_type="image/png")
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    server.away = False
    assert client.post(PREDICT, data=png, content_type="image/png").status_code == 200


def test_the_time_for_one_request_is_a_setting(make_app: Callable[..., Flask], png: bytes):
    client = make_app(request_deadline_s=1e-9).test_client()
    response = client.post(PREDICT, data=png, content_type="image/png")
    assert (response.status_code, response.get_json(force=True)["type"]) == (504, "/problems/deadline-exceeded")


# The list of models


def test_models_are_listed_with_what_their_cards_say(
    make_app: Callable[..., Flask], server: FakeModelServer, card: Card
):
    several = dataclasses.replace(card, title="Weather", description="What it is like.", task="multilabel")
    server.swap("weather", 4, classifier(several, constant(1, 0, 0)))
    server.swap("broken", 1, FakeVersion({}, {}))
    app = make_app(models=("pets", "weather", "broken", "absent"), default_model="weather")
    response = app.test_client().get("/api/v1/models")
    assert response.status_code == 200
    pets, weather, broken, absent = response.get_json()["models"]
    assert pets == {
        "name": "pets",
        "default": False,
        "available": True,
        "version": 1,
        "title": "",
        "description": "",
        "task": "multiclass",
        "labels": ["cat", "dog", "fish"],
        "explainable": False,
    }
    assert (weather["default"], weather["task"], weather["title"]) == (True, "multilabel", "Weather")
    assert broken == {
        "name": "broken",
        "default": False,
        "available": False,
        "reason": "broken version 1 has no signature serving_default.",
    }
    assert absent["available"] is False


def test_the_list_is_there_while_the_server_is_away(client: FlaskClient, server: FakeModelServer):
    server.away = True
    response = client.get("/api/v1/models")
    assert response.status_code == 200
    assert [model["available"] for model in response.get_json()["models"]] == [False]


# One model


def test_a_model_is_told_whole(client: FlaskClient, server: FakeModelServer, card: Card):
    server.swap("pets", 2, classifier(card, constant(1, 0, 0)))
    document = client.get("/api/v1/models/pets").get_json()
    assert (document["version"], document["versions"]) == (2, [{"version": 2, "state": "AVAILABLE"}])
    assert document["default"]
    assert document["card"] == json.loads(card.to_json())


def test_a_version_is_told_with_its_labels(client: FlaskClient, server: FakeModelServer):
    server.models["pets"][2] = server.models["pets"][1]
    server.labels["pets"] = {"stable": 1, "proven": 1}
    assert client.get("/api/v1/models/pets").get_json()["versions"] == [
        {"version": 2, "state": "AVAILABLE"},
        {"version": 1, "state": "AVAILABLE", "labels": ["stable", "proven"]},
    ]


def test_an_unknown_model_is_not_told(client: FlaskClient):
    response = client.get("/api/v1/models/cats")
    assert (response.status_code, response.get_json()["type"]) == (404, "/problems/model-not-found")


def test_a_model_without_a_usable_version_tells_why(make_app: Callable[..., Flask], server: FakeModelServer):
    server.swap("broken", 1, FakeVersion({}, {}))
    document = make_app(models=("broken",)).test_client().get("/api/v1/models/broken").get_json()
    assert document["available"] is False
    assert "serving_default" in document["reason"]
    assert document["versions"] == [{"version": 1, "state": "AVAILABLE"}]
    assert "card" not in document


def test_a_model_is_unavailable_while_the_server_is_away(client: FlaskClient, server: FakeModelServer):
    server.away = True
    response = client.get("/api/v1/models/pets")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
