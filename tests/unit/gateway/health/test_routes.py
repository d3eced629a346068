from collections.abc import Callable

from flask import Flask
from flask.testing import FlaskClient

import gateway
from gateway.errors import DeadlineExceededError
from tests.support.fake_model_server import FakeModelServer, FakeVersion, classifier, constant
from vision.card import Card


def test_readyz_names_the_version_that_answers(client: FlaskClient, server: FakeModelServer, card: Card):
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.get_json() == {"status": "ready", "model": {"name": "pets", "version": 1}}
    server.swap("pets", 2, classifier(card, constant(1, 0, 0)))
    assert client.get("/readyz").get_json()["model"]["version"] == 2


def test_readyz_queries_the_model_server_every_time(client: FlaskClient, server: FakeModelServer):
    assert client.get("/readyz").status_code == 200
    server.away = True
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.get_json(force=True)["type"] == "/problems/not-ready"
    assert response.headers["Retry-After"] == "1"
    server.away = False
    assert client.get("/readyz").status_code == 200


def test_not_ready_while_no_version_is_available(client: FlaskClient, server: FakeModelServer):
    for state in ("START", "LOADING", "UNLOADING", "END"):
        server.states["pets", 1] = (state, "")
        assert client.get("/readyz").status_code == 503, state


def test_not_ready_with_a_model_that_cannot_be_used(client: FlaskClient, server: FakeModelServer):
    server.swap("pets", 2, FakeVersion({}, {}))
    response = client.get("/readyz")
    assert (response.status_code, response.get_json(force=True)["missing"]) == (503, ["card", "golden image"])


def test_not_ready_when_the_server_does_not_answer_in_time(client: FlaskClient, server: FakeModelServer):
    server.failures["version_statuses"] = DeadlineExceededError("late")
    assert client.get("/readyz").status_code == 503


def test_readyz_checks_the_default_model(make_app: Callable[..., Flask]):
    models = ("absent", "pets")
    assert make_app(models=models).test_client().get("/readyz").status_code == 503
    assert make_app(models=models, default_model="pets").test_client().get("/readyz").status_code == 200


def test_the_version_is_answered_without_the_model_server(client: FlaskClient, server: FakeModelServer):
    server.away = True

    response = client.get("/version")

    assert response.status_code == 200
    assert response.get_json() == {"name": "image-gateway", "version": gateway.__version__}
    assert not server.calls


def test_livez_does_not_call_the_model_server(client: FlaskClient, server: FakeModelServer):
    server.away = True
    response = client.get("/livez")
    assert (response.status_code, response.get_json()) == (200, {"status": "live"})
    assert not server.calls
