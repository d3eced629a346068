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
from gateway.fetching.fetcher import Allowance, Fetcher
from gateway.models.configured import ConfiguredModels
from gateway.settings import Settings
from tests.support.fake_model_server import FakeModelServer, classifier, constant
from tests.support.openapi import ResponseValidator, default_document, validating_client
from vision.card import Card, InputSpec

pytest.register_assert_rewrite("tests.contracts.model_server")


@pytest.fixture
def deadline() -> Deadline:
    """Return a deadline that no test reaches."""
    return Deadline.after(10)


@pytest.fixture
def card() -> Card:
    """Return the card of a model that takes gray images of 4 x 4 pixels and has three classes."""
    return Card(name="pets", labels=("cat", "dog", "fish"), input=InputSpec(height=4, width=4, color="GRAY"))


@pytest.fixture
def server(card: Card) -> FakeModelServer:
    """Return a model server with version 1 of one model, `pets`, which scores every image highest as a dog."""
    server = FakeModelServer()
    server.swap("pets", 1, classifier(card, constant(0.2, 0.7, 0.1)))
    return server


@pytest.fixture
def images_by_url() -> dict[str, bytes]:
    """Return the images that can be fetched, by URL; a test adds them."""
    return {}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(max_body_bytes=2_000_000, max_pixels=1_000_000, models=("pets",), cards_dir=tmp_path)


@pytest.fixture(scope="session")
def validator() -> ResponseValidator:
    """Return the validator of every response in these tests."""
    return ResponseValidator(default_document())


@pytest.fixture
def make_app(
    server: FakeModelServer, settings: Settings, images_by_url: dict[str, bytes], validator: ResponseValidator
) -> Callable[..., Flask]:
    """Return a function that creates applications over the fake server; it takes settings by name."""

    def make(
        *, configured_models: ConfiguredModels | None = None, fetcher: Fetcher | None = None, **overrides: Any
    ) -> Flask:
        app_settings = settings.model_copy(update=overrides)
        app = create_app(
            app_settings,
            server=server,
            fetcher=fetcher or StubFetcher(images_by_url),
            configured_models=configured_models
            or ConfiguredModels(lambda: {name: tuple(server.labels.get(name, ())) for name in app_settings.models}),
        )
        app.test_client_class = validating_client(validator)
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
    """Return a gray image of 4 x 4 pixels."""
    return encode(np.arange(0, 160, 10, np.uint8).reshape(4, 4))


def encode(pixels: NDArray[np.uint8]) -> bytes:
    _, data = cv2.imencode(".png", pixels)
    return data.tobytes()


@dataclass(frozen=True, slots=True)
class StubFetcher:
    """A `gateway.fetching.fetcher.Fetcher` with canned images."""

    images_by_url: dict[str, bytes]

    def fetch(self, url: str, *, deadline: Deadline, allowance: Allowance, **_: object) -> bytes:
        deadline.remaining_s()
        if url not in self.images_by_url:
            raise FetchError("The URL answered with status 404, expected 200.")
        allowance.take(len(self.images_by_url[url]))
        return self.images_by_url[url]
