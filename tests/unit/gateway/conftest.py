from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from numpy.typing import NDArray

from gateway.app import create_app
from gateway.deadline import Deadline
from gateway.errors import FetchError
from gateway.models.configured import ConfiguredModels
from gateway.settings import Settings
from tests.support.fake_model_server import FakeModelServer, classifier, constant
from tests.support.openapi import Judge, judged_client, written_document
from vision.card import Card, InputSpec

pytest.register_assert_rewrite("tests.contracts.model_server")


@pytest.fixture
def deadline() -> Deadline:
    """Time enough."""
    return Deadline.after(10)


@pytest.fixture
def card() -> Card:
    """Describe a model that takes a gray picture of 4 x 4 pixels and knows three classes."""
    return Card(name="pets", labels=("cat", "dog", "fish"), input=InputSpec(height=4, width=4, color="GRAY"))


@pytest.fixture
def server(card: Card) -> FakeModelServer:
    """Serve version 1 of one model, `pets`, to which everything is most of all a dog."""
    server = FakeModelServer()
    server.swap("pets", 1, classifier(card, constant(0.2, 0.7, 0.1)))
    return server


@pytest.fixture
def pictures() -> dict[str, bytes]:
    """Hold what is behind image URLs, by URL."""
    return {}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(max_body_bytes=2_000_000, max_pixels=1_000_000, models=("pets",), cards_dir=tmp_path)


@pytest.fixture(scope="session")
def judge() -> Judge:
    """Give the OpenAPI document, to which every answer in these tests is held."""
    return Judge(written_document())


@pytest.fixture
def make_app(
    server: FakeModelServer, settings: Settings, pictures: dict[str, bytes], judge: Judge
) -> Callable[..., Flask]:
    """Make applications over the fake server; settings may be changed by name."""

    def make(**changed: Any) -> Flask:
        chosen = settings.model_copy(update=changed)
        app = create_app(
            chosen,
            server=server,
            fetcher=Shelf(pictures),
            configured_models=ConfiguredModels(
                lambda: {name: tuple(server.labels.get(name, ())) for name in chosen.models}
            ),
        )
        app.test_client_class = judged_client(judge)
        return app

    return make


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture(scope="session")
def png() -> bytes:
    """Draw a gray picture of 4 x 4 pixels."""
    return encode(np.arange(0, 160, 10, np.uint8).reshape(4, 4))


def encode(pixels: NDArray[np.uint8]) -> bytes:
    _, data = cv2.imencode(".png", pixels)
    return data.tobytes()


@dataclass(frozen=True, slots=True)
class Shelf:
    """A `gateway.prediction.predictor.Fetcher` that has the pictures already."""

    pictures: dict[str, bytes]

    def fetch(self, url: str, *, deadline: Deadline) -> bytes:
        deadline.remaining_s()
        if url not in self.pictures:
            raise FetchError("The URL answered with status 404, expected 200.")
        return self.pictures[url]
