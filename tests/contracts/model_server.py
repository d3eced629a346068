"""The contract of a model server: one test suite for every implementation of the Protocol.

A test class runs it by inheriting from `ModelServerContract`, in a module whose fixture `stage` provides the server.
The model `toy` takes images of 2 x 2 gray pixels. Class names and the second score contain the version number, so a
test can recognise which version made a prediction.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.deadline import Deadline
from gateway.errors import (
    DeadlineExceededError,
    ModelContractError,
    ModelFailedError,
    ModelUnavailableError,
    VersionGoneError,
)
from gateway.model_client.protocol import Array, Call, ModelServer, Signature, TensorSpec
from tests.support.waiting import LONG_S, ends_soon, until
from vision.card import Card, InputSpec

MODEL = "toy"
LABEL = "first"
"""Always points to version 1, whichever version is published."""
START_S = 60.0


class Stage(Protocol):
    """A model server that a test can change while it runs."""

    @property
    def server(self) -> ModelServer:
        """The server under test."""

    def publish(self, version: int) -> None:
        """Offer this version of `toy` and no other; return without waiting until it is served."""

    def withdraw(self) -> None:
        """Offer no version of `toy`; return without waiting until none is served."""

    def stop(self) -> None:
        """Stop the server as a crash would."""

    def start(self) -> None:
        """Start the server again; return without waiting until it answers."""


def card(version: int) -> Card:
    """Return the card of a version of `toy`."""
    labels = (f"light-{version}", f"version-{version}", f"dark-{version}")
    return Card(name=MODEL, labels=labels, input=InputSpec(height=2, width=2, color="GRAY"))


def expected_scores(version: int, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the scores of a version of `toy` for uint8[N, 2, 2, 1]: lightness, version / 100, darkness."""
    light = images.astype(np.float32).mean(axis=(1, 2, 3)) / 255
    return np.stack([light, np.full_like(light, version / 100), 1 - light], axis=1)


IMAGES = np.array([[0, 0, 0, 0], [255, 255, 255, 255], [10, 20, 30, 40]], np.uint8).reshape(3, 2, 2, 1)

DEFAULT = Signature(
    {"image": TensorSpec("uint8", (None, 2, 2, 1))}, {"probabilities": TensorSpec("float32", (None, 3))}
)
DESCRIBE = Signature({"index": TensorSpec("int32", (None,))}, {"card": TensorSpec("string", (None,))})
FAIL = Signature({"text": TensorSpec("string", (None,))}, {"number": TensorSpec("float32", (None,))})


def new_deadline() -> Deadline:
    return Deadline.after(LONG_S)


def predict(server: ModelServer, version: int, images: Array = IMAGES, *, deadline: Deadline | None = None) -> Array:
    call = Call(MODEL, version, "serving_default", DEFAULT, "probabilities")
    return server.predict(call, {"image": images}, deadline=deadline or new_deadline(), request_id="contract")


def available_versions(server: ModelServer) -> list[int]:
    """List the versions that the server reports as available; none while it cannot be reached."""
    try:
        statuses = server.version_statuses(MODEL, deadline=new_deadline())
    except (ModelUnavailableError, VersionGoneError):
        return []
    return sorted(status.version for status in statuses if status.state == "AVAILABLE")


def serve(stage: Stage, version: int) -> ModelServer:
    """Publish only this version, wait until it is served, and return the server."""
    stage.publish(version)
    until(lambda: available_versions(stage.server) == [version], within_s=START_S)
    return stage.server


def call_methods(
    server: ModelServer, version: int, make_deadline: Callable[[], Deadline]
) -> list[Callable[[], object]]:
    """Return a function for every method of the server that calls it with a new deadline."""
    return [
        lambda: server.version_statuses(MODEL, deadline=make_deadline()),
        lambda: server.signatures(MODEL, version, deadline=make_deadline()),
        lambda: server.resolve_label(MODEL, LABEL, deadline=make_deadline()),
        lambda: predict(server, version, deadline=make_deadline()),
    ]


class ModelServerContract:
    """The suite; see the docstring of this module."""

    def test_signatures_have_element_types_and_shapes(self, stage: Stage):
        signatures = serve(stage, 1).signatures(MODEL, 1, deadline=new_deadline())
        assert signatures["serving_default"] == DEFAULT
        assert signatures["describe"] == DESCRIBE
        assert signatures["fail"] == FAIL

    def test_predictions_are_rows_in_order(self, stage: Stage):
        server = serve(stage, 1)
        for count in (1, 3):
            scores = predict(server, 1, IMAGES[:count])
            assert scores.dtype == np.float32, count
            np.testing.assert_allclose(scores, expected_scores(1, IMAGES[:count]), rtol=1e-5)

    def test_strings_are_bytes(self, stage: Stage):
        call = Call(MODEL, 1, "describe", DESCRIBE, "card")
        rows = serve(stage, 1).predict(call, {"index": np.zeros(2, np.int32)}, deadline=new_deadline())

        assert rows.shape == (2,)
        assert all(isinstance(row, bytes) for row in rows)
        assert Card.from_json(rows[0]) == card(1)

    def test_inputs_that_do_not_fit_the_signature_are_refused_without_harm(self, stage: Stage):
        server = serve(stage, 1)
        call = Call(MODEL, 1, "serving_default", DEFAULT, "probabilities")
        for name, inputs in {
            "none": {},
            "wrong name": {"picture": IMAGES},
            "one too many": {"image": IMAGES, "text": np.array([b"1"], object)},
            "element type": {"image": IMAGES.astype(np.float32)},
            "no batch": {"image": IMAGES[0]},
            "flat": {"image": IMAGES.reshape(3, 4)},
            "size": {"image": IMAGES[:, :1]},
        }.items():
            with pytest.raises(ModelContractError):
                pytest.fail(f"{name}: {server.predict(call, inputs, deadline=new_deadline())}")
            assert predict(server, 1).shape == (3, 3), name

    def test_a_failed_computation_is_reported_without_harm(self, stage: Stage):
        server = serve(stage, 1)
        for call in (
            Call(MODEL, 1, "fail", FAIL, "number"),
            Call(MODEL, 1, "no such signature", FAIL, "number"),
            Call(MODEL, 1, "fail", FAIL, "no such output"),
        ):
            with pytest.raises(ModelFailedError):
                server.predict(call, {"text": np.array([b"not a number"], object)}, deadline=new_deadline())

        assert predict(server, 1).shape == (3, 3)

    def test_a_label_resolves_to_its_version(self, stage: Stage):
        server = serve(stage, 1)
        assert server.resolve_label(MODEL, LABEL, deadline=new_deadline()) == 1
        for model, label in ((MODEL, "nonsense"), (MODEL, ""), ("unknown", LABEL)):
            with pytest.raises(VersionGoneError):
                server.resolve_label(model, label, deadline=new_deadline())

    def test_a_label_of_a_version_that_is_gone_does_not_resolve(self, stage: Stage):
        server = serve(stage, 2)
        with pytest.raises(VersionGoneError):
            server.resolve_label(MODEL, LABEL, deadline=new_deadline())

    def test_an_unknown_model_or_version_is_not_served(self, stage: Stage):
        server = serve(stage, 1)
        with pytest.raises(VersionGoneError):
            server.version_statuses("unknown", deadline=new_deadline())
        with pytest.raises(VersionGoneError):
            server.signatures(MODEL, 10**20, deadline=new_deadline())
        for model, version in (("unknown", 1), (MODEL, 99)):
            with pytest.raises(VersionGoneError):
                server.signatures(model, version, deadline=new_deadline())
            call = Call(model, version, "serving_default", DEFAULT, "probabilities")
            with pytest.raises(VersionGoneError):
                server.predict(call, {"image": IMAGES}, deadline=new_deadline())

    def test_a_version_replaces_another(self, stage: Stage):
        server = serve(stage, 1)
        serve(stage, 2)

        np.testing.assert_allclose(predict(server, 2), expected_scores(2, IMAGES), rtol=1e-5)
        with pytest.raises(VersionGoneError):
            predict(server, 1)
        with pytest.raises(VersionGoneError):
            server.signatures(MODEL, 1, deadline=new_deadline())

    def test_a_withdrawn_version_is_gone(self, stage: Stage):
        server = serve(stage, 1)
        stage.withdraw()
        until(lambda: available_versions(server) == [], within_s=START_S)
        with pytest.raises(VersionGoneError):
            predict(server, 1)
        serve(stage, 1)

        assert predict(server, 1).shape == (3, 3)

    def test_many_requests_at_once_get_their_own_predictions(self, stage: Stage):
        server = serve(stage, 1)
        images = [np.full((1, 2, 2, 1), number, np.uint8) for number in range(0, 256, 4)]
        with ThreadPoolExecutor(16) as pool:
            predictions = list(pool.map(lambda image: predict(server, 1, image), images))
        for image, scores in zip(images, predictions, strict=True):
            np.testing.assert_allclose(scores, expected_scores(1, image), rtol=1e-5)

    def test_no_method_returns_after_the_deadline(self, stage: Stage):
        for method in call_methods(serve(stage, 1), 1, lambda: Deadline.after(0)):
            with pytest.raises(DeadlineExceededError):
                method()

    def test_a_stopped_server_fails_fast_and_its_return_is_noticed(self, stage: Stage):
        server = serve(stage, 1)
        stage.stop()
        for method in call_methods(server, 1, new_deadline):
            with ends_soon(), pytest.raises(ModelUnavailableError):
                method()
        stage.start()
        until(lambda: available_versions(server) == [1], within_s=START_S)

        assert predict(server, 1).shape == (3, 3)
