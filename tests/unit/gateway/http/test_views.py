import base64
import dataclasses
import gzip
import io
import json
from collections.abc import Callable

import cv2
import numpy as np
from flask import Flask
from flask.testing import FlaskClient
from structlog.testing import capture_logs
from werkzeug.test import TestResponse

from gateway.errors import ModelFailedError, VersionGoneError
from gateway.model_client.protocol import Array
from gateway.models.configured import ConfiguredModels
from gateway.observability import metrics
from tests.support.fake_model_server import (
    INSPECTION_CALLS,
    FakeModelServer,
    FakeVersion,
    after_check,
    classifier,
    constant,
    explainable,
)
from vision.card import Card

PREDICT = "/api/v1/predict"
URL = "https://photos.example/a.png"


# Predictions


def test_a_prediction_has_all_members_in_order(client: FlaskClient, png: bytes):
    response = client.post(PREDICT, data=png, content_type="image/png", headers={"X-Request-ID": "id-1"})
    assert response.status_code == 200
    assert response.content_type == "application/json"
    document = response.get_json()
    assert list(document) == ["kind", "class", "label", "class_id", "score", "predictions", "model", "request_id"]
    scores = [item.pop("score") for item in document["predictions"]]
    assert scores == [0.7, 0.2, 0.1]
    assert document.pop("score") == scores[0]
    assert document == {
        "kind": "prediction",
        "class": "dog",
        "label": "dog",
        "class_id": 1,
        "predictions": [
            {"class": "dog", "label": "dog", "class_id": 1},
            {"class": "cat", "label": "cat", "class_id": 0},
            {"class": "fish", "label": "fish", "class_id": 2},
        ],
        "model": {"name": "pets", "version": 1},
        "request_id": "id-1",
    }


def test_every_input_form_gives_the_same_prediction(client: FlaskClient, images_by_url: dict[str, bytes], png: bytes):
    images_by_url[URL] = png
    text = base64.b64encode(png).decode()
    forms = {
        "multipart": {"data": {"image": (io.BytesIO(png), "a.png")}},
        "file": {"data": {"file": (io.BytesIO(png), "a.png")}},
        "raw": {"data": png, "content_type": "image/png"},
        "octets": {"data": png, "content_type": "application/octet-stream"},
        "base64": {"json": {"image": text}},
        "data URI": {"json": {"image": f"data:image/png;base64,{text}"}},
        "url": {"json": {"url": URL}},
        "form url": {"data": {"url": URL}},
        "older fields": {"json": {"image_base64": "", "image_url": URL}},
    }

    for name, form in forms.items():
        document = client.post(PREDICT, **form).get_json()
        assert (document["class"], document["class_id"]) == ("dog", 1), name


def test_top_k_limits_the_predictions(client: FlaskClient, png: bytes):
    def count(query: str) -> int:
        response = client.post(f"{PREDICT}{query}", data=png, content_type="image/png")
        return len(response.get_json()["predictions"])

    assert [count("?top_k=1"), count("?top_k=2"), count("?top_k=99"), count("")] == [1, 2, 3, 3]


def test_the_default_top_k_is_that_of_the_settings(make_app: Callable[..., Flask], png: bytes):
    client = make_app(default_top_k=2).test_client()
    assert len(client.post(PREDICT, data=png, content_type="image/png").get_json()["predictions"]) == 2


def test_the_path_names_the_model(make_app: Callable[..., Flask], server: FakeModelServer, card: Card, png: bytes):
    server.swap("weather", 4, classifier(dataclasses.replace(card, labels=("sun", "rain", "snow")), constant(1, 0, 0)))
    client = make_app(models=("pets", "weather")).test_client()
    document = client.post("/api/v1/models/weather/predict", data=png, content_type="image/png").get_json()
    assert (document["class"], document["model"]) == ("sun", {"name": "weather", "version": 4})
    assert client.post(PREDICT, data=png, content_type="image/png").get_json()["model"]["name"] == "pets"

    client = make_app(models=("pets", "weather"), default_model="weather").test_client()
    assert client.post(PREDICT, data=png, content_type="image/png").get_json()["model"]["name"] == "weather"


def test_the_path_names_a_version_or_a_label(client: FlaskClient, server: FakeModelServer, card: Card, png: bytes):
    server.models["pets"][7] = classifier(dataclasses.replace(card, labels=("a", "b", "c")), constant(1, 0, 0))
    server.labels["pets"] = {"stable": 1}

    def predict(path: str) -> tuple[str, int]:
        document = client.post(f"/api/v1/models/pets{path}", data=png, content_type="image/png").get_json()
        return document["class"], document["model"]["version"]

    assert predict("/versions/1/predict") == predict("/labels/stable/predict") == ("dog", 1)
    assert predict("/versions/7/predict") == predict("/predict") == ("a", 7)


def test_an_unknown_version_is_refused_with_the_served_ones(client: FlaskClient, server: FakeModelServer, png: bytes):
    server.labels["pets"] = {"stable": 1}

    for path in ("versions/2", "labels/canary"):
        response = client.post(f"/api/v1/models/pets/{path}/predict", data=png, content_type="image/png")

        document = response.get_json(force=True)
        assert (response.status_code, document["type"]) == (404, "/problems/version-not-found"), path
        assert (document["versions"], document["labels"]) == ([1], ["stable"]), path


def test_a_version_that_is_not_a_number_has_no_route(client: FlaskClient):
    for version in ("-1", "one", "1.5", ""):
        response = client.post(f"/api/v1/models/pets/versions/{version}/predict", data=b"")
        assert (response.status_code, response.get_json(force=True)["type"]) == (404, "/problems/not-found"), version


def test_a_model_removed_from_the_configuration_is_refused_at_once(
    make_app: Callable[..., Flask], server: FakeModelServer, png: bytes
):
    server.swap("weather", 1, server.models["pets"][1])
    server.labels["weather"] = {"stable": 1}
    models = {"pets": (), "weather": ("stable",)}
    client = make_app(configured_models=ConfiguredModels(lambda: models)).test_client()
    predict_paths = [f"/api/v1/models/weather/{path}predict" for path in ("", "versions/1/", "labels/stable/")]

    def requests() -> list[TestResponse]:
        return [
            client.get("/api/v1/models/weather"),
            *(client.post(path, data=png, content_type="image/png") for path in predict_paths),
        ]

    assert [response.status_code for response in requests()] == [200] * 4

    del models["weather"]

    for response in requests():
        document = response.get_json(force=True)
        assert (response.status_code, document["type"]) == (404, "/problems/model-not-found"), response.request.path
    assert [model["name"] for model in client.get("/api/v1/models").get_json()["models"]] == ["pets"]


def test_a_failed_request_is_logged_and_counted_with_the_version_that_was_used(
    client: FlaskClient, server: FakeModelServer, card: Card, png: bytes
):
    def count(version: int) -> float:
        labels = ("/api/v1/predict", "POST", 502, "model-failed", "pets", version)
        return metrics.REQUESTS.labels(*labels)._value.get()

    def predict() -> dict[str, object]:
        with capture_logs() as logs:
            assert client.post(PREDICT, data=png, content_type="image/png").status_code == 502
        (line,) = [line for line in logs if line["event"] == "request"]
        return line

    def swap_then_fail(_: Array) -> Array:
        server.swap("pets", 3, classifier(card, after_check(fail)))
        raise VersionGoneError("version 2 is gone")

    def fail(_: Array) -> Array:
        raise ModelFailedError("out of memory")

    server.swap("pets", 1, classifier(card, after_check(fail)))
    before = count(1)
    line = predict()
    assert (line["model"], line["version"], line["problem"]) == ("pets", 1, "model-failed")
    assert count(1) == before + 1

    server.swap("pets", 2, classifier(card, after_check(swap_then_fail)))
    before = count(3)
    line = predict()
    assert (line["model"], line["version"], line["problem"]) == ("pets", 3, "model-failed")
    assert count(3) == before + 1


# Explanations


def heat(images: Array, class_ids: Array) -> Array:
    return np.full((len(images), 1, 2), [[0.12345678, 1]], np.float32) * (class_ids[:, None, None] == 1)


def test_an_explanation_is_drawn_as_a_png(client: FlaskClient, server: FakeModelServer, card: Card, png: bytes):
    server.swap("pets", 2, explainable(card, constant(0, 1, 0), heat))
    response = client.post(f"{PREDICT}?explain=true", data=png, content_type="image/png")
    explanation = response.get_json()["explanation"]
    assert (explanation["kind"], explanation["class"], explanation["label"], explanation["class_id"]) == (
        "image",
        "dog",
        "dog",
        1,
    )
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


def test_a_raw_explanation_is_rows_of_numbers(client: FlaskClient, server: FakeModelServer, card: Card, png: bytes):
    server.swap("pets", 2, explainable(card, constant(0, 1, 0), heat))
    document = client.post(PREDICT, json={"image": base64.b64encode(png).decode(), "explain": "raw"}).get_json()
    assert document["explanation"] == {
        "kind": "raw",
        "class": "dog",
        "label": "dog",
        "class_id": 1,
        "height": 1,
        "width": 2,
        "heatmap": [[0.1235, 1.0]],
    }


def test_each_image_of_a_batch_is_explained(client: FlaskClient, server: FakeModelServer, card: Card, png: bytes):
    server.swap("pets", 2, explainable(card, constant(0, 1, 0), heat))
    instances = [{"image": base64.b64encode(png).decode()}, {"image": "AAAA"}]
    good, bad = client.post(PREDICT, json={"instances": instances, "explain": True}).get_json()["results"]
    assert good["explanation"]["heatmap"].startswith("data:image/png;base64,")
    assert bad["status"] == 415


def test_a_model_without_explanations_refuses_explain(client: FlaskClient, png: bytes):
    response = client.post(f"{PREDICT}?explain=true", data=png, content_type="image/png")
    assert (response.status_code, response.get_json(force=True)["type"]) == (422, "/problems/model-not-explainable")
    assert "explanation" not in client.post(f"{PREDICT}?explain=false", data=png, content_type="image/png").get_json()


# Batches


def test_a_batch_has_its_results_and_problems_in_order(
    client: FlaskClient, server: FakeModelServer, images_by_url: dict[str, bytes], png: bytes
):
    images_by_url[URL] = png
    text = base64.b64encode(png).decode()
    instances = [{"url": URL}, {"image": "%%%"}, {"image_base64": text}, {"url": "https://nowhere.example/"}]
    instances += [{"image": base64.b64encode(b"hello").decode()}]

    response = client.post(f"{PREDICT}?top_k=1", json={"instances": instances}, headers={"X-Request-ID": "id-2"})

    assert response.status_code == 200
    document = response.get_json()
    assert list(document) == ["kind", "results", "answered", "failed", "model", "request_id"]
    assert (document["model"], document["request_id"]) == ({"name": "pets", "version": 1}, "id-2")
    assert (document["answered"], document["failed"]) == (2, 3)
    first, second, third, fourth, fifth = document["results"]
    assert (
        first
        == third
        == {
            "kind": "prediction",
            "class": "dog",
            "label": "dog",
            "class_id": 1,
            "score": 0.7,
            "predictions": [{"class": "dog", "label": "dog", "class_id": 1, "score": 0.7}],
        }
    )
    assert second == {
        "kind": "problem",
        "type": "/problems/bad-request",
        "title": "The request cannot be understood",
        "status": 400,
        "detail": "The field 'image' is not valid base64. It has the character '%'; expected A-Z, a-z, 0-9, +, / and = "
        "only.",
        "field": "/instances/1/image",
    }
    assert (fourth["type"], fourth["status"]) == ("/problems/fetch-failed", 422)
    assert (fifth["type"], fifth["status"]) == ("/problems/unsupported-image-format", 415)
    assert "png" in fifth["accepted"]
    assert server.request_ids == [*[""] * INSPECTION_CALLS, "id-2"]  # one call for the batch


def test_the_response_to_one_image_is_a_list_on_request(client: FlaskClient, png: bytes):
    document = client.post(f"{PREDICT}?as=list", data=png, content_type="image/png").get_json()

    (result,) = document["results"]
    assert (document["kind"], result["kind"], result["label"]) == ("batch", "prediction", "dog")
    assert (document["answered"], document["failed"]) == (1, 0)


def test_an_image_that_fails_is_an_item_of_a_list_on_request(client: FlaskClient):
    response = client.post(f"{PREDICT}?as=list", data=b"no image", content_type="image/png")

    assert response.status_code == 200
    document = response.get_json()
    assert [item["status"] for item in document["results"]] == [415]
    assert (document["answered"], document["failed"]) == (0, 1)


def test_the_problem_of_an_image_names_where_it_stands(
    client: FlaskClient, images_by_url: dict[str, bytes], png: bytes
):
    images_by_url[URL] = b"no image"
    text, other = base64.b64encode(png[:60]).decode(), base64.b64encode(b"no image").decode()
    requests = {
        "/url": {"json": {"url": "https://nowhere.example/"}},
        "/image_url": {"json": {"image_url": URL}},
        "/image_base64": {"json": {"image_base64": other}},
        "/image": {"json": {"image": text}},
        "url": {"data": {"url": URL}},
        "image": {"data": {"image": (io.BytesIO(png[:60]), "a.png")}},
        "file": {"data": {"file": text}},
        None: {"data": png[:60], "content_type": "image/png"},
    }

    fields = {
        field: client.post(PREDICT, **request).get_json(force=True).get("field") for field, request in requests.items()
    }

    assert fields == {field: field for field in requests}
    items = [{"image": base64.b64encode(png).decode()}, {"url": URL}, {"image": other}]
    results = client.post(PREDICT, json={"instances": items}).get_json()["results"]
    assert [result.get("field") for result in results] == [None, "/instances/1/url", "/instances/2/image"]


def test_the_failure_of_a_model_is_about_no_field(client: FlaskClient, server: FakeModelServer, png: bytes):
    server.away = True
    response = client.post(PREDICT, json={"image": base64.b64encode(png).decode()})

    assert response.status_code == 503
    assert "field" not in response.get_json(force=True)


def test_a_batch_is_sent_as_parts_of_a_form_or_as_instances(client: FlaskClient, png: bytes):
    files = [(io.BytesIO(png), "a.png"), (io.BytesIO(png), "b.png")]
    for form, count in (
        ({"data": {"image": files, "threshold": "0.5"}}, 2),
        ({"json": {"instances": [{"image": base64.b64encode(png).decode()}], "threshold": 0.5}}, 1),
    ):
        results = client.post(PREDICT, **form).get_json()["results"]
        assert [result["class"] for result in results] == ["dog"] * count, form
        assert [len(result["predictions"]) for result in results] == [1] * count, form


def test_the_threshold_applies_to_each_image_of_a_batch(
    client: FlaskClient, server: FakeModelServer, card: Card, png: bytes
):
    multilabel = dataclasses.replace(card, task="multilabel", threshold=0.5)
    server.swap("pets", 2, classifier(multilabel, constant(0.5, 0.1, 0.75)))
    instances = [{"image": base64.b64encode(png).decode()}] * 2
    results = client.post(f"{PREDICT}?threshold=0.6", json={"instances": instances}).get_json()["results"]
    assert [[item["class"] for item in result["classes"]] for result in results] == [["fish"]] * 2


def test_a_batch_fails_as_a_whole_if_the_model_cannot_be_used(client: FlaskClient, server: FakeModelServer):
    batch = {"instances": [{"image": "AAAA"}, {"image": "BBBB"}]}
    response = client.post("/api/v1/models/birds/predict", json=batch)
    assert (response.status_code, response.content_type) == (404, "application/problem+json")

    server.away = True
    assert client.post(PREDICT, json=batch).status_code == 503


def test_more_images_than_the_setting_are_refused(make_app: Callable[..., Flask]):
    client = make_app(max_images=2).test_client()
    response = client.post(PREDICT, json={"instances": [{"image": "AAAA"}] * 3})
    document = response.get_json(force=True)
    assert (response.status_code, document["type"]) == (413, "/problems/too-many-images")
    assert document["max_images"] == 2


def test_a_batch_is_split_by_the_maximum_batch_size(
    make_app: Callable[..., Flask], server: FakeModelServer, png: bytes
):
    client = make_app(max_batch_size=2).test_client()
    client.post(PREDICT, json={"instances": [{"image": base64.b64encode(png).decode()}] * 5})
    assert server.calls["predict"] == INSPECTION_CALLS + 3


def test_a_batch_is_counted_and_logged_by_its_images(client: FlaskClient, png: bytes):
    def count() -> float:
        return metrics.IMAGES.labels("pets", 1, metrics.ANSWERED)._value.get()

    before = count()
    instances = [{"image": base64.b64encode(png).decode()}, {"image": "AAAA"}, {"image": "%"}]

    with capture_logs() as logs:
        client.post(PREDICT, json={"instances": instances})

    assert count() - before == 1
    (line,) = [line for line in logs if line["event"] == "request"]
    assert (line["model"], line["version"], line["images"], line["failed"]) == ("pets", 1, 3, 2)


def test_an_unknown_model_is_refused_with_the_served_ones(client: FlaskClient, png: bytes):
    response = client.post("/api/v1/models/birds/predict", data=png, content_type="image/png")
    document = response.get_json(force=True)
    assert (response.status_code, document["type"]) == (404, "/problems/model-not-found")
    assert "pets" in document["detail"]


def test_a_multilabel_prediction_lists_the_classes_at_or_above_the_threshold(
    client: FlaskClient, server: FakeModelServer, card: Card, png: bytes
):
    multilabel = dataclasses.replace(card, task="multilabel", threshold=0.5)
    server.swap("pets", 2, classifier(multilabel, constant(0.5, 0.1, 0.75)))
    document = client.post(f"{PREDICT}?top_k=1", data=png, content_type="image/png").get_json()
    assert document["classes"] == [
        {"class": "fish", "label": "fish", "class_id": 2, "score": 0.75},
        {"class": "cat", "label": "cat", "class_id": 0, "score": 0.5},
    ]
    server.swap("pets", 3, classifier(multilabel, constant(0.1, 0.2, 0.3)))
    assert client.post(PREDICT, data=png, content_type="image/png").get_json()["classes"] == []


def test_labels_may_have_any_characters(client: FlaskClient, server: FakeModelServer, card: Card, png: bytes):
    server.swap("pets", 2, classifier(dataclasses.replace(card, labels=("猫", "Käfer", 'a"b')), constant(0.7, 0.3, 0)))
    document = client.post(PREDICT, data=png, content_type="image/png").get_json()
    assert [item["class"] for item in document["predictions"]] == ["猫", "Käfer", 'a"b']


def test_an_unusable_image_is_refused(client: FlaskClient):
    large = cv2.imencode(".png", np.zeros((1001, 1000), np.uint8))[1].tobytes()
    truncated = cv2.imencode(".jpg", np.zeros((50, 50), np.uint8))[1].tobytes()[:300]
    for data, status, slug in (
        (b"hello", 415, "unsupported-image-format"),
        (large, 413, "image-too-large"),
        (truncated, 422, "unreadable-image"),
    ):
        response = client.post(PREDICT, data=data, content_type="application/octet-stream")
        assert (response.status_code, response.get_json(force=True)["type"]) == (status, f"/problems/{slug}")


def test_a_url_that_cannot_be_fetched_is_refused(client: FlaskClient):
    response = client.post(PREDICT, json={"url": URL})
    assert (response.status_code, response.get_json(force=True)["type"]) == (422, "/problems/fetch-failed")


def test_a_prediction_fails_while_the_model_server_is_away(client: FlaskClient, server: FakeModelServer, png: bytes):
    server.away = True
    response = client.post(PREDICT, data=png, content_type="image/png")
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"

    server.away = False
    assert client.post(PREDICT, data=png, content_type="image/png").status_code == 200


def test_the_deadline_of_a_request_is_that_of_the_settings(make_app: Callable[..., Flask], png: bytes):
    client = make_app(request_deadline_s=1e-9).test_client()
    response = client.post(PREDICT, data=png, content_type="image/png")
    assert (response.status_code, response.get_json(force=True)["type"]) == (504, "/problems/deadline-exceeded")


# The list of models


def test_models_are_listed_with_the_contents_of_their_cards(
    make_app: Callable[..., Flask], server: FakeModelServer, card: Card
):
    multilabel = dataclasses.replace(card, title="Weather", description="What it is like.", task="multilabel")
    server.swap("weather", 4, classifier(multilabel, constant(1, 0, 0)))
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
        "reason": "broken version 1 has no signature serving_default; it has none. No card helps: export it again with "
        "serving_default.",
    }
    assert absent["available"] is False


def test_models_are_listed_while_the_model_server_is_away(client: FlaskClient, server: FakeModelServer):
    server.away = True
    response = client.get("/api/v1/models")
    assert response.status_code == 200
    assert [model["available"] for model in response.get_json()["models"]] == [False]


# One model


def test_a_models_details_have_its_versions_and_card(client: FlaskClient, server: FakeModelServer, card: Card):
    server.swap("pets", 2, classifier(card, constant(1, 0, 0)))
    document = client.get("/api/v1/models/pets").get_json()
    assert (document["version"], document["versions"]) == (2, [{"version": 2, "state": "AVAILABLE"}])
    assert document["default"]
    assert document["card"] == json.loads(json.dumps(card.to_document()))


def test_a_licence_is_spelt_both_ways(client: FlaskClient, server: FakeModelServer, card: Card):
    provenance = {"licence": "MIT", "data": {"license": "CC0-1.0"}, "both": {"licence": "a", "license": "b"}, "n": 1}
    server.swap("pets", 2, classifier(dataclasses.replace(card, provenance=provenance), constant(1, 0, 0)))

    document = client.get("/api/v1/models/pets").get_json()

    assert document["card"]["provenance"] == {
        "licence": "MIT",
        "license": "MIT",
        "data": {"license": "CC0-1.0", "licence": "CC0-1.0"},
        "both": {"licence": "a", "license": "b"},
        "n": 1,
    }


def test_a_version_is_listed_with_its_labels(client: FlaskClient, server: FakeModelServer):
    server.models["pets"][2] = server.models["pets"][1]
    server.labels["pets"] = {"stable": 1, "proven": 1}
    assert client.get("/api/v1/models/pets").get_json()["versions"] == [
        {"version": 2, "state": "AVAILABLE"},
        {"version": 1, "state": "AVAILABLE", "labels": ["stable", "proven"]},
    ]


def test_an_unknown_model_has_no_details(client: FlaskClient):
    response = client.get("/api/v1/models/cats")
    assert (response.status_code, response.get_json()["type"]) == (404, "/problems/model-not-found")


def test_a_model_without_a_usable_version_has_the_reason_in_its_details(
    make_app: Callable[..., Flask], server: FakeModelServer
):
    server.swap("broken", 1, FakeVersion({}, {}))
    document = make_app(models=("broken",)).test_client().get("/api/v1/models/broken").get_json()
    assert document["available"] is False
    assert "serving_default" in document["reason"]
    assert document["versions"] == [{"version": 1, "state": "AVAILABLE"}]
    assert "card" not in document


def test_details_are_unavailable_while_the_model_server_is_away(client: FlaskClient, server: FakeModelServer):
    server.away = True
    response = client.get("/api/v1/models/pets")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")


def test_a_compressed_body_is_refused_with_the_accepted_codings(client: FlaskClient):
    headers = {"Content-Encoding": "gzip"}

    response = client.post(PREDICT, data=gzip.compress(b"{}"), content_type="application/json", headers=headers)

    assert response.status_code == 415
    assert response.headers["Accept-Encoding"] == "identity"
    assert "send the body uncompressed" in response.get_json(force=True)["detail"]


def test_what_is_not_an_image_is_named(client: FlaskClient):
    for content, name in ((b"%PDF-1.7", "a PDF"), (b"<!doctype html>", "an HTML page"), (b"/9j/4AAQ", "base64 text")):
        problem = client.post(PREDICT, data=content, content_type="image/jpeg").get_json(force=True)

        assert (problem["status"], problem["type"]) == (415, "/problems/unsupported-image-format")
        assert problem["detail"].startswith(f"This is {name}. Accepted formats: jpeg, png, "), content
