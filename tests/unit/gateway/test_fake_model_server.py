from collections.abc import Mapping

import numpy as np
import pytest

from gateway.errors import ModelFailedError
from gateway.model_client.protocol import Array, ModelServer
from tests.contracts.model_server import (
    DEFAULT,
    DESCRIBE,
    FAIL,
    LABEL,
    MODEL,
    ModelServerContract,
    card,
    expected_scores,
)
from tests.support.fake_model_server import FakeModelServer, FakeVersion


def toy(version: int) -> FakeVersion:
    def default(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        return {"probabilities": expected_scores(version, inputs["image"].astype(np.uint8))}

    def describe(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        return {"card": np.full(inputs["index"].shape, card(version).to_json().encode(), object)}

    def fail(_: Mapping[str, Array]) -> Mapping[str, Array]:
        raise ModelFailedError("not a number")

    return FakeVersion(
        {"serving_default": DEFAULT, "describe": DESCRIBE, "fail": FAIL},
        {"serving_default": default, "describe": describe, "fail": fail},
    )


class FakeStage:
    def __init__(self) -> None:
        self.fake = FakeModelServer(labels={MODEL: {LABEL: 1}})
        self.server: ModelServer = self.fake

    def publish(self, version: int) -> None:
        self.fake.swap(MODEL, version, toy(version))

    def withdraw(self) -> None:
        self.fake.models.clear()

    def stop(self) -> None:
        self.fake.away = True

    def start(self) -> None:
        self.fake.away = False


@pytest.fixture
def stage() -> FakeStage:
    return FakeStage()


class TestFakeModelServer(ModelServerContract):
    """The fake behaves like the real server, so that the other tests may rely on it."""
