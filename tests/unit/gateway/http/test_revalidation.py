from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from gateway.deadline import Deadline
from image_gateway_client.keys import hash_key, make_key
from tests.support.fake_model_server import FakeModelServer, classifier, constant
from vision.card import Card

PATHS = ("/api/v1/models", "/api/v1/models/pets", "/api/v1/openapi.json")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_body_that_the_client_has_is_not_sent_again(client: FlaskClient, path: str, method: str):
    first = client.open(path, method=method)

    etag = first.headers["ETag"]
    assert etag.startswith('"')
    assert first.headers["Cache-Control"] == "no-cache"
    for known in (etag, f'"other", W/{etag}', "*"):
        second = client.open(path, method=method, headers={"If-None-Match": known})
        assert (second.status_code, second.data) == (304, b""), known
        assert (second.headers["ETag"], second.headers["Cache-Control"]) == (etag, "no-cache"), known
    other = client.open(path, method=method, headers={"If-None-Match": '"other"'})
    assert (other.status_code, other.data) == (200, first.data)


@pytest.mark.parametrize("path", PATHS)
def test_the_body_does_not_depend_on_the_request(client: FlaskClient, path: str):
    etags = {client.get(path, headers={"X-Request-ID": name}).headers["ETag"] for name in ("one", "two")}
    assert len(etags) == 1


def test_a_new_version_is_another_body(client: FlaskClient, server: FakeModelServer, card: Card):
    etag = client.get("/api/v1/models").headers["ETag"]

    server.swap("pets", 2, classifier(card, constant(1, 0, 0)))
    client.application.extensions["registry"].refresh("pets", deadline=Deadline.after(5))

    response = client.get("/api/v1/models", headers={"If-None-Match": etag})
    assert (response.status_code, response.get_json()["models"][0]["version"]) == (200, 2)


def test_shared_caches_keep_nothing_that_needs_a_key(make_app: Callable[..., Flask]):
    key = make_key("camera")
    client = make_app(api_keys=(hash_key("camera", key),)).test_client()
    for path in PATHS:
        assert client.get(path, headers={"X-API-Key": key}).headers["Cache-Control"] == "private, no-cache"
