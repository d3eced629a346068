import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.fake_model_server import FakeModelServer, classifier, score_lightness
from vision.card import Card


@pytest.fixture
def received() -> list[NDArray[np.generic]]:
    """Return the inputs that the model computes, without those of the check of a new version."""
    return []


@pytest.fixture
def server(card: Card, received: list[NDArray[np.generic]]) -> FakeModelServer:
    """Return a model server with versions 1 and 2 of `pets`, which score images by their lightness."""

    def scores(images: NDArray[np.generic]) -> NDArray[np.float32]:
        received.append(images)
        return score_lightness(images)

    server = FakeModelServer()
    server.swap("pets", 2, classifier(card, scores))
    server.models["pets"][1] = classifier(card, scores)
    server.labels["pets"] = {"stable": 1}
    return server


@pytest.fixture
def scores_of_png() -> list[float]:
    """Return the scores of the image `png`, which has the pixels 0, 10, … 150."""
    return score_lightness(np.arange(0, 160, 10, np.uint8).reshape(1, 4, 4, 1))[0].tolist()
