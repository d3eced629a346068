import base64
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from numpy.typing import NDArray
from werkzeug.test import TestResponse

from tests.support.fake_model_server import FakeModelServer, FakeVersion, classifier, constant, score_lightness
from vision.card import Card, InputSpec

PREDICT = "/v1/models/pets:predict"
PIXELS = np.arange(0, 160, 10, np.uint8).reshape(1, 4, 4, 1)


def post(client: FlaskClient, document: object, path: str = PREDICT) -> TestResponse:
    return client.post(path, data=json.dumps(document), content_type="text/plain")


def b64(content: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(content).decode()}


def error(response: TestResponse) -> str:
    assert response.status_code == 400, response.text
    (text,) = response.get_json().values()
    return text


def test_rows_are_answered_as_predictions_and_columns_as_outputs(
    client: FlaskClient, png: bytes, scores_of_png: list[float]
):
    rows, columns = [pytest.approx(scores_of_png)] * 2, PIXELS.tolist() * 2
    by_row = [
        [b64(png), b64(png)],
        [{"image_bytes": b64(png)}, {"image_bytes": b64(png)}],
        columns,
        [{"image": columns[0]}, {"image": columns[1]}],
        [b64(png), {"image": columns[0]}],
    ]
    by_column = [
        [b64(png), b64(png)],
        {"image_bytes": [b64(png), b64(png)]},
        columns,
        {"image": columns},
    ]

    for value in by_row:
        assert post(client, {"instances": value}).get_json() == {"predictions": rows}
    for value in by_column:
        assert post(client, {"inputs": value}).get_json() == {"outputs": rows}


def test_pixels_reach_the_model_as_they_are(client: FlaskClient, received: list[NDArray[Any]]):
    post(client, {"instances": PIXELS.tolist()})

    assert received[-1].dtype == np.uint8
    assert (received[-1] == PIXELS).all()


def test_a_large_image_of_numbers_counts_as_one_value(
    make_app: Callable[..., Flask], server: FakeModelServer, received: list[NDArray[Any]]
):
    card = Card(name="pets", labels=("a", "b", "c"), input=InputSpec(height=100, width=100))
    server.swap("pets", 1, classifier(card, lambda images: received.append(images) or score_lightness(images)))
    client = make_app(max_json_values=100).test_client()
    array = np.random.default_rng(0).integers(0, 255, (2, 100, 100, 3), np.uint8)

    for document in (
        {"instances": array.tolist()},
        {"instances": [{"image": row} for row in array.tolist()]},
        {"inputs": {"image": array.tolist()}},
    ):
        response = post(client, document)

        assert response.status_code == 200, response.text
        assert (received[-1] == array).all()


@pytest.mark.parametrize("signature", ["", "serving_default", "classify_bytes"])
def test_the_signatures_of_images_mean_the_same(client: FlaskClient, signature: str):
    response = post(client, {"signature_name": signature, "instances": PIXELS.tolist()})

    assert response.status_code == 200


@pytest.mark.parametrize(
    ("path", "version"),
    [(PREDICT, 2), ("/v1/models/pets/versions/1:predict", 1), ("/v1/models/pets/labels/stable:predict", 1)],
)
def test_the_path_names_the_version(client: FlaskClient, server: FakeModelServer, path: str, version: int):
    other = constant(0.1, 0.1, 0.8)
    server.models["pets"][3 - version] = classifier(Card(name="pets", labels=("a", "b", "c"), input=CARD_INPUT), other)

    scores = post(client, {"instances": PIXELS.tolist()}, path).get_json()["predictions"][0]

    assert scores == pytest.approx(score_lightness(PIXELS)[0].tolist())


CARD_INPUT = InputSpec(height=4, width=4, color="GRAY")
PLAIN = {"instances": PIXELS.tolist()}
REFUSED = {
    "nothing": ({}, 'Send either "instances" (by row) or "inputs" (by column).'),
    "both": ({**PLAIN, "inputs": PIXELS.tolist()}, "Send either"),
    "a misspelt member": ({"instance": []}, "Did you mean 'instances'?"),
    "an unknown signature": ({**PLAIN, "signature_name": "describe"}, "signature_name must be serving_default or"),
    "a number as signature": ({**PLAIN, "signature_name": 5}, "signature_name must be"),
    "null as signature": ({**PLAIN, "signature_name": None}, "signature_name must be"),
    "no rows": ({"instances": []}, "instances must be a list with one item for each image"),
    "an object": ({"instances": b64(b"a")}, "instances must be a list"),
    "a file without a list": ({"inputs": b64(b"a")}, "inputs must be a list"),
    "null": ({"inputs": None}, "inputs must be a list"),
    "texts": ({"instances": ["QUJD"]}, "instances[0] is neither an image file nor a tensor"),
    "a long text": ({"instances": ["QUJD" * 1000]}, "instances[0] is neither an image file nor a tensor"),
    "two inputs of a row": ({"instances": [{"a": b64(b"a"), "b": 1}]}, "instances[0] must have one input"),
    "two columns": ({"inputs": {"a": [], "b": []}}, "inputs must have one input"),
    "no columns": ({"inputs": {}}, "inputs must have one input"),
    "base64 with another member": ({"instances": [{**b64(b"a"), "x": 1}]}, "instances[0] must have one member, 'b64'"),
    "no base64": ({"instances": [{"image": {"b46": "QUJD"}}]}, "instances[0] must have one member, 'b64'"),
    "base64 of a number": ({"instances": [{"b64": 5}]}, "instances[0] must have one member, 'b64'"),
    "not base64": ({"instances": [b64(b"a"), {"b64": "!!"}]}, "'instances[1].b64' is not valid base64"),
    "another rank": ({"instances": [[1, 2], [3, 4]]}, "pets takes uint8[N, 4, 4, 1], or image files as"),
    "another size": ({"instances": [{"image": [[[1], [2]]]}]}, "uint8[1, 1, 2, 1] arrived"),
    "ragged rows": ({"instances": [[[1], [2]], [[3]]]}, "uint8[1, 2, 1] arrived"),
    "too large": ({"instances": (PIXELS.astype(int) + 200).tolist()}, "not a whole number from 0 to 255"),
    "not whole": ({"instances": (PIXELS / 3).tolist()}, "not a whole number from 0 to 255"),
    "strings": ({"instances": [[[["1"]] * 4] * 4]}, "instances[0] is neither"),
    "booleans": ({"instances": [[[[True]] * 4] * 4]}, "instances[0] is neither"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_before_the_model_server_is_called(
    client: FlaskClient, server: FakeModelServer, name: str
):
    client.get("/v2/health/ready")  # the version is checked
    calls = server.calls["predict"]
    document, text = REFUSED[name]

    assert text in error(post(client, document))
    assert server.calls["predict"] == calls


def test_a_model_of_encoded_images_takes_files_only(
    make_app: Callable[..., Flask], server: FakeModelServer, png: bytes
):
    card = Card(name="pets", labels=("a", "b", "c"), input=CARD_INPUT)
    version = classifier(card, constant(0.2, 0.7, 0.1))
    signature = version.signatures["serving_default"]
    image = type(signature.inputs["image"])("string", (None,))
    texts = type(signature)({"image": image}, signature.outputs)
    server.swap("pets", 1, FakeVersion({**version.signatures, "serving_default": texts}, version.compute))
    client = make_app().test_client()

    assert post(client, {"instances": [b64(png)]}).get_json()["predictions"][0][1] == pytest.approx(0.7)
    assert "pets takes image files as" in error(post(client, PLAIN))
    assert client.get("/v2/models/pets").get_json()["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]


def test_more_images_than_the_limit_are_refused(make_app: Callable[..., Flask]):
    client = make_app(max_images=2).test_client()

    for value in ([b64(b"a")] * 3, PIXELS.tolist() * 3):
        response = post(client, {"instances": value})

        assert response.status_code == 413
        assert "3 images; at most 2" in response.get_json()["error"]


def test_one_damaged_image_fails_the_request_and_is_named(client: FlaskClient, png: bytes):
    response = post(client, {"instances": [b64(png), b64(png[:40])]})

    assert response.status_code == 422
    assert response.get_json()["error"].startswith("Image 2 of 2: ")


def test_the_status_of_versions_is_that_of_the_model_server(client: FlaskClient, server: FakeModelServer):
    server.states["pets", 1] = ("END", "no such file")
    ended = {"version": "1", "state": "END", "status": {"error_code": "UNKNOWN", "error_message": "no such file"}}
    answers = {"version": "2", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}

    assert client.get("/v1/models/pets").get_json() == {"model_version_status": [answers, ended]}
    assert client.get("/v1/models/pets/versions/1").get_json() == {"model_version_status": [ended]}
    assert client.get("/v1/models/pets/versions/3").status_code == 404
    assert client.get("/v1/models/cats").get_json() == {"error": "No model named 'cats' is served. Served: pets."}


def test_a_path_with_another_method_or_verb_is_refused(client: FlaskClient):
    predict, verb = client.get(PREDICT), client.post("/v1/models/pets:classify")

    assert (predict.status_code, {*predict.allow}) == (405, {"OPTIONS", "POST"})
    assert predict.get_json() == {"error": f"{PREDICT} takes POST; this was GET. Send POST."}
    assert (verb.status_code, list(verb.get_json())) == (404, ["error"])
    assert f"Did you mean POST {PREDICT}?" in verb.get_json()["error"]
