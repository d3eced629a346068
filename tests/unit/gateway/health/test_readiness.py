import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from flask.testing import FlaskClient
from structlog.testing import capture_logs

from gateway.errors import DeadlineExceededError, ModelFailedError, ModelOverloadedError
from gateway.health import draining
from gateway.observability import metrics
from gateway.settings import Settings
from tests.support.fake_model_server import INSPECTION_CALLS, FakeModelServer, FakeVersion, classifier, constant
from tests.support.waiting import until
from vision.card import Card

SCORES = [0.2, 0.7, 0.1]


def check(client: FlaskClient) -> tuple[int, dict[str, Any]]:
    response = client.get("/readyz")
    return response.status_code, response.get_json(force=True)


@pytest.fixture
def write_golden(settings: Settings, png: bytes) -> Callable[..., Path]:
    """Return a function that writes a golden image into the folder of a version of `pets`."""

    def write(version: int = 1, **members: Any) -> Path:
        folder = settings.cards_dir / "pets" / str(version) / "assets.extra" / "golden"
        folder.mkdir(parents=True)
        (folder / "0.png").write_bytes(png)
        document = {"tolerance": 1e-4, "images": [{"file": "0.png", "probabilities": SCORES}], **members}
        (folder / "golden.json").write_text(json.dumps(document), encoding="utf-8")
        return folder

    return write


# The golden image


def test_the_recorded_scores_make_the_gateway_ready(client: FlaskClient, write_golden: Callable[..., Path]):
    write_golden()
    assert check(client) == (200, {"status": "ready", "model": {"name": "pets", "version": 1}})


def test_the_scores_of_either_form_make_the_gateway_ready(
    client: FlaskClient, server: FakeModelServer, card: Card, write_golden: Callable[..., Path]
):
    forms = {"probabilities": [0.3, 0.6, 0.1], "tflite_probabilities": SCORES}
    images = [{"file": "0.png", **forms}]
    for version, scores, status in ((1, (0.3, 0.6, 0.1), 200), (2, (0.24, 0.66, 0.1), 200), (3, (0.5, 0.4, 0.1), 503)):
        write_golden(version, images=images, tflite_tolerance=0.05)
        server.swap("pets", version, classifier(card, constant(*scores)))

        assert check(client)[0] == status, scores


def test_scores_may_differ_by_rounding_only(
    client: FlaskClient, server: FakeModelServer, card: Card, write_golden: Callable[..., Path]
):
    for version, scores, status in ((1, (0.205, 0.695, 0.1), 200), (2, (0.24, 0.66, 0.1), 503)):
        write_golden(version)
        server.swap("pets", version, classifier(card, constant(*scores)))
        assert check(client)[0] == status, scores


def test_the_file_may_set_a_larger_tolerance(
    client: FlaskClient, server: FakeModelServer, card: Card, write_golden: Callable[..., Path]
):
    write_golden(tolerance=0.05)
    server.swap("pets", 1, classifier(card, constant(0.24, 0.66, 0.1)))
    assert check(client)[0] == 200


def test_wrong_scores_are_reported_with_their_difference(
    client: FlaskClient, server: FakeModelServer, card: Card, write_golden: Callable[..., Path]
):
    write_golden()
    server.swap("pets", 1, classifier(card, constant(0.7, 0.2, 0.1)))
    status, problem = check(client)
    assert (status, problem["type"], problem["missing"]) == (503, "/problems/not-ready", ["golden image"])
    assert "pets version 1" in problem["detail"]
    assert "0.5000" in problem["detail"]


def test_a_damaged_file_is_reported(client: FlaskClient, server: FakeModelServer, write_golden: Callable[..., Path]):
    damages = [{"images": []}, {"images": [{"file": "0.png"}]}, {"tolerance": "much"}, {"images": "none"}]
    for version, members in enumerate(damages, start=1):
        write_golden(version, **members)
        server.swap("pets", version, server.models["pets"].popitem()[1])

        status, problem = check(client)

        assert (status, problem["missing"]) == (503, ["golden image"]), members
        assert "golden.json is damaged" in problem["detail"], members


def test_a_different_number_of_classes_is_reported(client: FlaskClient, write_golden: Callable[..., Path]):
    write_golden(images=[{"file": "0.png", "probabilities": [0.5, 0.5]}])
    assert "2 scores, the model returned 3" in check(client)[1]["detail"]


def test_a_version_without_its_golden_image_is_ready(client: FlaskClient, write_golden: Callable[..., Path]):
    (write_golden(images=[{"file": "0.png", "probabilities": [1, 0, 0]}]) / "0.png").unlink()
    assert check(client)[0] == 200


# Without a golden image


def test_scores_that_are_not_probabilities_are_reported(client: FlaskClient, server: FakeModelServer, card: Card):
    server.swap("pets", 1, classifier(card, constant(0.9, 0.9, 0.9)))

    status, problem = check(client)

    assert (status, problem["missing"]) == (503, ["card", "golden image"])
    assert "The scores of a gray image add up to 2.700, not to 1" in problem["detail"]


def test_a_version_whose_card_cannot_be_read_is_reported(client: FlaskClient, server: FakeModelServer):
    assert check(client)[0] == 200
    server.failures["predict"] = ModelFailedError("no memory")
    assert check(client)[0] == 200  # this version has been checked already

    server.swap("pets", 2, server.models["pets"][1])
    status, problem = check(client)
    assert (status, problem["missing"]) == (503, ["card", "golden image"])  # `describe` is called by predict too


def test_the_reason_is_logged_once_per_change_with_the_model_servers_own(client: FlaskClient, server: FakeModelServer):
    failure = ModelFailedError("It could not be computed.")
    failure.__cause__ = ServerRefusal("Could not find variable w")
    server.failures["predict"] = failure

    with capture_logs() as logs:
        for _ in range(3):
            status, problem = check(client)
            assert (status, problem["detail"]) == (503, "pets: It could not be computed.")
        server.failures.clear()
        for _ in range(3):
            assert check(client)[0] == 200

    changes = [(line["event"], line.get("cause")) for line in logs if line["event"] in {"not_ready", "ready"}]
    assert changes == [("not_ready", "Could not find variable w"), ("ready", None)]


class ServerRefusal(grpc.RpcError):
    """An error of a call, with the model server's own message."""

    def __init__(self, message: str) -> None:
        self._message = message

    def details(self) -> str:
        return self._message


# When the golden image is classified


def test_each_version_is_checked_once(client: FlaskClient, server: FakeModelServer, card: Card):
    for version in (1, 2):
        server.swap("pets", version, classifier(card, constant(*SCORES)))
        before = server.calls["predict"]
        for _ in range(3):
            assert check(client)[1]["model"]["version"] == version
        assert server.calls["predict"] - before == INSPECTION_CALLS


def test_a_version_is_checked_again_after_an_outage(client: FlaskClient, server: FakeModelServer, card: Card):
    assert check(client)[0] == 200
    server.away = True
    assert check(client)[1]["missing"] == ["version", "card", "golden image"]

    server.away = False
    server.swap("pets", 1, classifier(card, constant(0.9, 0.9, 0.9)))
    assert check(client)[1]["missing"] == ["card", "golden image"]


def test_a_new_version_with_wrong_scores_ends_readiness(
    client: FlaskClient, server: FakeModelServer, card: Card, write_golden: Callable[..., Path]
):
    assert check(client)[0] == 200

    write_golden(version=2)
    server.swap("pets", 2, classifier(card, constant(1, 0, 0)))
    assert check(client)[0] == 503

    server.swap("pets", 3, classifier(card, constant(*SCORES)))
    assert check(client)[0] == 200


def test_a_broken_new_version_leaves_the_old_one_ready(client: FlaskClient, server: FakeModelServer):
    assert check(client)[0] == 200
    server.models["pets"][2] = FakeVersion({}, {})
    assert check(client)[1]["model"]["version"] == 1


def test_an_overloaded_model_server_does_not_end_readiness(client: FlaskClient, server: FakeModelServer):
    server.failures["version_statuses"] = ModelOverloadedError("full")
    assert check(client)[0] == 503  # no version has been checked yet

    server.failures.clear()
    assert check(client)[0] == 200

    server.failures["version_statuses"] = ModelOverloadedError("full")
    assert check(client)[0] == 200


def test_an_overloaded_model_server_does_not_end_readiness_although_a_new_version_cannot_be_checked(
    client: FlaskClient, server: FakeModelServer
):
    assert check(client)[0] == 200

    server.models["pets"][2] = server.models["pets"][1]
    server.failures["predict"] = ModelOverloadedError("full")  # neither its card nor its golden image gets through

    assert [check(client)[1]["model"]["version"] for _ in range(3)] == [1, 1, 1]
    server.failures.clear()
    assert check(client)[1]["model"]["version"] == 2


def test_a_gateway_that_starts_while_the_model_server_is_overloaded_becomes_ready(
    client: FlaskClient, server: FakeModelServer
):
    def recover() -> None:
        if server.calls["predict"] >= 3:
            server.failures.clear()

    server.failures["predict"] = ModelOverloadedError("full")
    server.before["predict"] = recover

    assert check(client)[0] == 200


def test_a_model_server_that_misses_the_deadline_is_not_ready(client: FlaskClient, server: FakeModelServer):
    server.failures["version_statuses"] = DeadlineExceededError("late")
    assert check(client)[1]["missing"] == ["version", "card", "golden image"]


def test_requests_during_a_check_return_the_last_result(client: FlaskClient, server: FakeModelServer):
    assert check(client)[0] == 200
    with blocked_check(client, server) as first:
        calls = server.calls.copy()
        assert [check(client)[0] for _ in range(20)] == [200] * 20
        assert server.calls == calls
    assert first.result()[0] == 200


def test_requests_during_the_first_check_wait_for_its_result(client: FlaskClient, server: FakeModelServer):
    with ThreadPoolExecutor(2) as pool:
        with blocked_check(client, server) as first:
            others = [pool.submit(check, client.application.test_client()) for _ in range(2)]
            until(lambda: metrics.REQUESTS_IN_PROGRESS._value.get() >= 3, what="all three in progress")
            assert not any(other.done() for other in others)
        results = [request.result() for request in (first, *others)]

    assert results == [(200, {"status": "ready", "model": {"name": "pets", "version": 1}})] * 3


@contextmanager
def blocked_check(client: FlaskClient, server: FakeModelServer) -> Iterator[Future[tuple[int, dict[str, Any]]]]:
    """Start a check that is blocked inside the context in its query of the versions."""
    blocked, unblock = threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        unblock.wait(30)

    server.before["version_statuses"] = block
    with ThreadPoolExecutor(1) as pool:
        try:
            first = pool.submit(check, client.application.test_client())
            assert blocked.wait(30)
            yield first
        finally:
            unblock.set()


# Draining


@pytest.fixture
def is_draining() -> Iterator[None]:
    draining.start()
    yield
    draining._flag[0] = 0


@pytest.mark.usefixtures("is_draining")
def test_a_draining_gateway_is_not_ready_but_still_answers(client: FlaskClient, png: bytes):
    status, problem = check(client)
    assert (status, problem["type"], problem["missing"]) == (503, "/problems/not-ready", [])
    assert client.post("/api/v1/predict", data=png, content_type="image/png").status_code == 200
    assert client.get("/livez").status_code == 200
