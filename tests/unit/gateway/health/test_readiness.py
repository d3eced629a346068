import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from numpy.typing import NDArray

from gateway.errors import DeadlineExceededError, ModelFailedError, ModelOverloadedError
from gateway.health import draining
from gateway.settings import Settings
from tests.support.fake_model_server import FakeModelServer, FakeVersion, classifier, constant
from vision.card import Card

RIGHT = [0.2, 0.7, 0.1]


def ask(client: FlaskClient) -> tuple[int, dict[str, Any]]:
    response = client.get("/readyz")
    return response.status_code, response.get_json(force=True)


@pytest.fixture
def write_golden(settings: Settings, png: bytes) -> Callable[..., Path]:
    """Put a golden image into the folder of a version of `pets`."""

    def write(version: int = 1, **changed: Any) -> Path:
        folder = settings.cards_dir / "pets" / str(version) / "assets.extra" / "golden"
        folder.mkdir(parents=True)
        (folder / "0.png").write_bytes(png)
        told = {"tolerance": 1e-4, "images": [{"file": "0.png", "probabilities": RIGHT}], **changed}
        (folder / "golden.json").write_text(json.dumps(told), encoding="utf-8")
        return folder

    return write


# The golden image


def test_ready_with_the_recorded_answer(client: FlaskClient, write_golden: Callable[..., Path]):
    write_golden()
    assert ask(client) == (200, {"status": "ready", "model": {"name": "pets", "version": 1}})


@pytest.mark.parametrize(("answered", "status"), [((0.205, 0.695, 0.1), 200), ((0.24, 0.66, 0.1), 503)])
def test_an_answer_may_differ_by_rounding_and_not_by_more(
    client: FlaskClient,
    server: FakeModelServer,
    card: Card,
    write_golden: Callable[..., Path],
    *,
    answered: tuple[float, ...],
    status: int,
):
    write_golden()
    server.swap("pets", 1, classifier(card, constant(*answered)))
    assert ask(client)[0] == status


def test_a_file_may_allow_more(
    client: FlaskClient, server: FakeModelServer, card: Card, write_golden: Callable[..., Path]
):
    write_golden(tolerance=0.05)
    server.swap("pets", 1, classifier(card, constant(0.24, 0.66, 0.1)))
    assert ask(client)[0] == 200


def test_a_wrong_answer_is_told(
    client: FlaskClient, server: FakeModelServer, card: Card, write_golden: Callable[..., Path]
):
    write_golden()
    server.swap("pets", 1, classifier(card, constant(0.7, 0.2, 0.1)))
    status, told = ask(client)
    assert (status, told["type"], told["missing"]) == (503, "/problems/not-ready", ["golden image"])
    assert "pets version 1" in told["detail"]
    assert "0.5000" in told["detail"]


@pytest.mark.parametrize(
    "changed",
    [{"images": []}, {"images": [{"file": "0.png"}]}, {"tolerance": "much"}, {"images": "none"}],
    ids=["no image", "no scores", "tolerance", "no list"],
)
def test_a_damaged_file_is_told(client: FlaskClient, write_golden: Callable[..., Path], changed: dict[str, Any]):
    write_golden(**changed)
    status, told = ask(client)
    assert (status, told["missing"]) == (503, ["golden image"])
    assert "golden.json is damaged" in told["detail"]


def test_another_number_of_classes_is_told(client: FlaskClient, write_golden: Callable[..., Path]):
    write_golden(images=[{"file": "0.png", "probabilities": [0.5, 0.5]}])
    assert "2 scores, the model returned 3" in ask(client)[1]["detail"]


def test_a_picture_that_is_not_there_leaves_the_gray_one(client: FlaskClient, write_golden: Callable[..., Path]):
    (write_golden(images=[{"file": "0.png", "probabilities": [1, 0, 0]}]) / "0.png").unlink()
    assert ask(client)[0] == 200


# Without one


@pytest.mark.parametrize("scores", [(0.2, 0.7, 0.1), (1, 0, 0), (0.33, 0.33, 0.33)])
def test_any_probabilities_of_a_gray_picture_will_do(
    client: FlaskClient, server: FakeModelServer, card: Card, scores: tuple[float, ...]
):
    seen: list[NDArray[np.generic]] = []

    def note(images: NDArray[np.generic]) -> NDArray[np.float32]:
        seen.append(images)
        return constant(*scores)(images)

    server.swap("pets", 1, classifier(card, note))
    assert ask(client)[0] == 200
    (images,) = seen
    assert images.shape == (1, 4, 4, 1)
    assert np.ptp(images) == 0


@pytest.mark.parametrize("scores", [(np.nan, 0.5, 0.5), (0.2, 0.2, 0.2), (3.0, -1.0, -1.0), (0.9, 0.9, 0.9)], ids=str)
def test_what_are_no_probabilities_will_not(
    client: FlaskClient, server: FakeModelServer, card: Card, scores: tuple[float, ...]
):
    server.swap("pets", 1, classifier(card, constant(*scores)))
    status, told = ask(client)
    assert (status, told["missing"]) == (503, ["golden image"])


def test_of_a_model_of_several_classes_they_need_not_add_up(client: FlaskClient, server: FakeModelServer, card: Card):
    several = Card(name="pets", labels=card.labels, input=card.input, task="multilabel")
    server.swap("pets", 1, classifier(several, constant(0.9, 0.9, 0.9)))
    assert ask(client)[0] == 200


def test_no_answer_is_none(client: FlaskClient, server: FakeModelServer):
    assert ask(client)[0] == 200
    server.failures["predict"] = ModelFailedError("no memory")
    assert ask(client)[0] == 200  # this version has been proven
    server.swap("pets", 2, server.models["pets"][1])
    status, told = ask(client)
    assert (status, told["missing"]) == (503, ["card", "golden image"])  # describe is a prediction too


# When


def test_each_version_is_asked_once(client: FlaskClient, server: FakeModelServer, card: Card):
    for version in (1, 2):
        server.swap("pets", version, classifier(card, constant(*RIGHT)))
        before = server.calls["predict"]
        for _ in range(3):
            assert ask(client)[1]["model"]["version"] == version
        assert server.calls["predict"] - before == 2  # its card, and the picture


def test_a_model_server_that_was_away_is_proven_anew(client: FlaskClient, server: FakeModelServer, card: Card):
    assert ask(client)[0] == 200
    server.away = True
    assert ask(client)[1]["missing"] == ["version", "card", "golden image"]
    server.away = False
    server.swap("pets", 1, classifier(card, constant(0.9, 0.9, 0.9)))
    assert ask(client)[1]["missing"] == ["golden image"]


def test_a_new_version_that_answers_wrongly_ends_readiness(
    client: FlaskClient, server: FakeModelServer, card: Card, write_golden: Callable[..., Path]
):
    assert ask(client)[0] == 200
    write_golden(version=2)
    server.swap("pets", 2, classifier(card, constant(1, 0, 0)))
    assert ask(client)[0] == 503
    server.swap("pets", 3, classifier(card, constant(*RIGHT)))
    assert ask(client)[0] == 200


def test_a_broken_new_version_leaves_the_old_one_ready(client: FlaskClient, server: FakeModelServer):
    assert ask(client)[0] == 200
    server.models["pets"][2] = FakeVersion({}, {})
    assert ask(client)[1]["model"]["version"] == 1


def test_a_model_server_with_too_much_to_do_is_ready(client: FlaskClient, server: FakeModelServer):
    server.failures["version_statuses"] = ModelOverloadedError("full")
    assert ask(client)[0] == 503  # it has never answered
    server.failures.clear()
    assert ask(client)[0] == 200
    server.failures["version_statuses"] = ModelOverloadedError("full")
    assert ask(client)[0] == 200


def test_a_late_answer_is_none(client: FlaskClient, server: FakeModelServer):
    server.failures["version_statuses"] = DeadlineExceededError("late")
    assert ask(client)[1]["missing"] == ["version", "card", "golden image"]


def test_while_one_asks_the_others_do_not_wait(client: FlaskClient, server: FakeModelServer):
    assert ask(client)[0] == 200
    asked, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        asked.set()
        let_go.wait(30)

    server.before["version_statuses"] = hold
    with ThreadPoolExecutor(1) as pool:
        try:
            first = pool.submit(ask, client.application.test_client())
            assert asked.wait(30)
            count = server.calls["version_statuses"]
            assert [ask(client)[0] for _ in range(20)] == [200] * 20
            assert server.calls["version_statuses"] == count
        finally:
            let_go.set()
        assert first.result()[0] == 200


# The end


@pytest.fixture
def stopping() -> Iterator[None]:
    draining.start()
    yield
    draining._flag[0] = 0


@pytest.mark.usefixtures("stopping")
def test_a_gateway_about_to_stop_is_not_ready_and_answers(client: FlaskClient, png: bytes):
    status, told = ask(client)
    assert (status, told["type"], told["missing"]) == (503, "/problems/not-ready", [])
    assert client.post("/api/v1/predict", data=png, content_type="image/png").status_code == 200
    assert client.get("/livez").status_code == 200
