"""What the gateway may expect of any model server: one suite, run over each implementation of the Protocol.

A subclass of `ModelServerContract` named Test… runs it, where a fixture `stage` gives the server under test. The model
served there, `toy`, looks at 2 x 2 gray pixels; each version names its classes and its middle score after its number.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.deadline import Deadline
from gateway.errors import (
    DeadlineExceededError,
    GatewayError,
    ModelContractError,
    ModelFailedError,
    ModelUnavailableError,
    VersionGoneError,
)
from gateway.model_client.protocol import Array, Call, ModelServer, Signature, TensorSpec
from tests.support.waiting import until
from vision.card import Card, InputSpec

MODEL = "toy"
LABEL = "first"
"""Points to version 1, whatever is published."""
QUICK_S = 2.0
START_S = 60.0


class Stage(Protocol):
    """A model server that can be changed while it runs."""

    @property
    def server(self) -> ModelServer:
        """The server under test."""

    def publish(self, version: int) -> None:
        """Have this version of `toy` on offer, and no other; return without waiting for it."""

    def withdraw(self) -> None:
        """Have no version of `toy` on offer any more; return without waiting for it."""

    def stop(self) -> None:
        """End the server as if it had crashed."""

    def start(self) -> None:
        """Start the server again; return without waiting for it."""


def card(version: int) -> Card:
    """Make the card that a version of `toy` carries."""
    labels = (f"light-{version}", f"version-{version}", f"dark-{version}")
    return Card(name=MODEL, labels=labels, input=InputSpec(height=2, width=2, color="GRAY"))


def expected_scores(version: int, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Say what a version of `toy` answers to uint8[N, 2, 2, 1]: lightness, number / 100, darkness."""
    light = images.astype(np.float32).mean(axis=(1, 2, 3)) / 255
    return np.stack([light, np.full_like(light, version / 100), 1 - light], axis=1)


IMAGES = np.array([[0, 0, 0, 0], [255, 255, 255, 255], [10, 20, 30, 40]], np.uint8).reshape(3, 2, 2, 1)

DEFAULT = Signature(
    {"image": TensorSpec("uint8", (None, 2, 2, 1))}, {"probabilities": TensorSpec("float32", (None, 3))}
)
DESCRIBE = Signature({"index": TensorSpec("int32", (None,))}, {"card": TensorSpec("string", (None,))})
FAIL = Signature({"text": TensorSpec("string", (None,))}, {"number": TensorSpec("float32", (None,))})


def soon() -> Deadline:
    return Deadline.after(10)


def ask(server: ModelServer, version: int, images: Array = IMAGES, *, deadline: Deadline | None = None) -> Array:
    call = Call(MODEL, version, "serving_default", DEFAULT, "probabilities")
    return server.predict(call, {"image": images}, deadline=deadline or soon(), request_id="contract")


def available(server: ModelServer) -> list[int]:
    """List the versions that the server says are available; none while it is away."""
    try:
        statuses = server.version_statuses(MODEL, deadline=soon())
    except (ModelUnavailableError, VersionGoneError):
        return []
    return sorted(status.version for status in statuses if status.state == "AVAILABLE")


def serve(stage: Stage, version: int) -> ModelServer:
    """Serve this version and no other, and wait until it is so."""
    stage.publish(version)
    until(lambda: available(stage.server) == [version], within_s=START_S)
    return stage.server


def every_method(server: ModelServer, version: int, deadline: Callable[[], Deadline]) -> list[Callable[[], object]]:
    return [
        lambda: server.version_statuses(MODEL, deadline=deadline()),
        lambda: server.signatures(MODEL, version, deadline=deadline()),
        lambda: server.resolve_label(MODEL, LABEL, deadline=deadline()),
        lambda: ask(server, version, deadline=deadline()),
    ]


class ModelServerContract:
    """The suite; see the module."""

    def test_signatures_tell_element_types_and_shapes(self, stage: Stage):
        signatures = serve(stage, 1).signatures(MODEL, 1, deadline=soon())
        assert signatures["serving_default"] == DEFAULT
        assert signatures["describe"] == DESCRIBE
        assert signatures["fail"] == FAIL

    @pytest.mark.parametrize("count", [1, 3])
    def test_predictions_are_rows_in_order(self, stage: Stage, count: int):
        scores = ask(serve(stage, 1), 1, IMAGES[:count])
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, expected_scores(1, IMAGES[:count]), rtol=1e-5)

    def test_strings_are_bytes(self, stage: Stage):
        call = Call(MODEL, 1, "describe", DESCRIBE, "card")
        rows = serve(stage, 1).predict(call, {"index": np.zeros(2, np.int32)}, deadline=soon())
        assert rows.shape == (2,)
        assert all(isinstance(row, bytes) for row in rows)
        assert Card.from_json(rows[0]) == card(1)

    @pytest.mark.parametrize(
        "inputs",
        [
            {},
            {"picture": IMAGES},
            {"image": IMAGES, "text": np.array([b"1"], object)},
            {"image": IMAGES.astype(np.float32)},
            {"image": IMAGES[0]},
            {"image": IMAGES.reshape(3, 4)},
            {"image": IMAGES[:, :1]},
        ],
        ids=["none", "name", "one more", "element type", "no batch", "flat", "size"],
    )
    def test_what_the_signature_does_not_take_is_refused_and_harms_nobody(self, stage: Stage, inputs: dict[str, Array]):
        server = serve(stage, 1)
        call = Call(MODEL, 1, "serving_default", DEFAULT, "probabilities")
        with pytest.raises(ModelContractError):
            server.predict(call, inputs, deadline=soon())
        assert ask(server, 1).shape == (3, 3)

    def test_a_computation_that_fails_is_told_as_such_and_harms_nobody(self, stage: Stage):
        server = serve(stage, 1)
        for call in (
            Call(MODEL, 1, "fail", FAIL, "number"),
            Call(MODEL, 1, "no such signature", FAIL, "number"),
            Call(MODEL, 1, "fail", FAIL, "no such output"),
        ):
            with pytest.raises(ModelFailedError):
                server.predict(call, {"text": np.array([b"no number"], object)}, deadline=soon())
        assert ask(server, 1).shape == (3, 3)

    def test_a_label_leads_to_its_version(self, stage: Stage):
        server = serve(stage, 1)
        assert server.resolve_label(MODEL, LABEL, deadline=soon()) == 1
        for model, label in ((MODEL, "nonsense"), (MODEL, ""), ("nobody", LABEL)):
            with pytest.raises(VersionGoneError):
                server.resolve_label(model, label, deadline=soon())

    def test_a_label_of_a_version_that_is_gone_leads_nowhere(self, stage: Stage):
        server = serve(stage, 2)
        with pytest.raises(VersionGoneError):
            server.resolve_label(MODEL, LABEL, deadline=soon())

    def test_an_unknown_model_or_version_is_not_served(self, stage: Stage):
        server = serve(stage, 1)
        with pytest.raises(VersionGoneError):
            server.version_statuses("nobody", deadline=soon())
        with pytest.raises(VersionGoneError):
            server.signatures(MODEL, 10**20, deadline=soon())
        for model, version in (("nobody", 1), (MODEL, 99)):
            with pytest.raises(VersionGoneError):
                server.signatures(model, version, deadline=soon())
            call = Call(model, version, "serving_default", DEFAULT, "probabilities")
            with pytest.raises(VersionGoneError):
                server.predict(call, {"image": IMAGES}, deadline=soon())

    def test_a_version_takes_the_place_of_another(self, stage: Stage):
        server = serve(stage, 1)
        serve(stage, 2)
        np.testing.assert_allclose(ask(server, 2), expected_scores(2, IMAGES), rtol=1e-5)
        with pytest.raises(VersionGoneError):
            ask(server, 1)
        with pytest.raises(VersionGoneError):
            server.signatures(MODEL, 1, deadline=soon())

    def test_a_version_that_is_withdrawn_is_gone(self, stage: Stage):
        server = serve(stage, 1)
        stage.withdraw()
        until(lambda: available(server) == [], within_s=START_S)
        with pytest.raises(VersionGoneError):
            ask(server, 1)
        serve(stage, 1)
        assert ask(server, 1).shape == (3, 3)

    def test_many_requests_at_once_get_their_own_answers(self, stage: Stage):
        server = serve(stage, 1)
        pictures = [np.full((1, 2, 2, 1), number, np.uint8) for number in range(0, 256, 4)]
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda picture: ask(server, 1, picture), pictures))
        for picture, answer in zip(pictures, answers, strict=True):
            np.testing.assert_allclose(answer, expected_scores(1, picture), rtol=1e-5)

    def test_nothing_is_answered_after_the_deadline(self, stage: Stage):
        for method in every_method(serve(stage, 1), 1, lambda: Deadline.after(0)):
            with pytest.raises(DeadlineExceededError):
                method()

    def test_away_is_told_at_once_and_back_is_noticed(self, stage: Stage):
        server = serve(stage, 1)
        stage.stop()
        for method in every_method(server, 1, soon):
            assert_quick(method, ModelUnavailableError)
        stage.start()
        until(lambda: available(server) == [1], within_s=START_S)
        assert ask(server, 1).shape == (3, 3)


def assert_quick(method: Callable[[], object], error: type[GatewayError]) -> None:
    started = time.monotonic()
    with pytest.raises(error):
        method()
    assert time.monotonic() - started < QUICK_S
