"""A model server in memory that behaves like the real one: versions change, shapes are checked, it can be down."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from gateway.deadline import Deadline
from gateway.errors import GatewayError, ModelContractError, ModelFailedError, ModelUnavailableError, VersionGoneError
from gateway.model_client.protocol import Array, Call, Signature, TensorSpec, VersionStatus, append_confidence
from vision.card import Card

Compute = Callable[[Mapping[str, Array]], Mapping[str, Array]]


@dataclass(frozen=True, slots=True)
class FakeVersion:
    """A version of a model: its signatures, and the functions that compute their outputs."""

    signatures: Mapping[str, Signature]
    compute: Mapping[str, Compute]


@dataclass(slots=True)
class FakeModelServer:
    """A `gateway.model_client.protocol.ModelServer` whose models, versions and failures a test sets.

    Attributes:
        models: The versions served, by model name and version number.
        labels: Version number by label, by model name.
        states: State and message of versions that are not AVAILABLE, by model name and version number.
        failures: Error that a method raises, by the name of the method, until it is removed.
        before: Function that is called first in a method, by the name of the method; it may change what is served.
        calls: Number of calls by method.
        request_ids: Request ids of the predictions.
        away: Whether the server is down.
    """

    models: dict[str, dict[int, FakeVersion]] = field(default_factory=dict)
    labels: dict[str, dict[str, int]] = field(default_factory=dict)
    states: dict[tuple[str, int], tuple[str, str]] = field(default_factory=dict)
    failures: dict[str, GatewayError] = field(default_factory=dict)
    before: dict[str, Callable[[], None]] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    request_ids: list[str] = field(default_factory=list)
    away: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def swap(self, model: str, version: int, new: FakeVersion) -> None:
        """Serve only this version of a model."""
        self.models[model] = {version: new}

    def version_statuses(self, model: str, *, deadline: Deadline) -> list[VersionStatus]:
        self._begin("version_statuses", deadline)
        if model not in self.models:
            raise VersionGoneError(f"{model} is not served")
        states = dict.fromkeys(self.models[model], ("AVAILABLE", ""))
        states |= {number: state for (name, number), state in self.states.items() if name == model}
        return [VersionStatus(number, *state) for number, state in sorted(states.items(), reverse=True)]

    def signatures(self, model: str, version: int, *, deadline: Deadline) -> Mapping[str, Signature]:
        self._begin("signatures", deadline)
        return self._find(model, version).signatures

    def resolve_label(self, model: str, label: str, *, deadline: Deadline) -> int:
        self._begin("resolve_label", deadline)
        version = self.labels.get(model, {}).get(label)
        if version is None:
            raise VersionGoneError(f"{model} has no label {label}")
        self._find(model, version)
        return version

    def predict(self, call: Call, inputs: Mapping[str, Array], *, deadline: Deadline, request_id: str = "") -> Array:
        _check(call.signature.inputs, inputs)
        self._begin("predict", deadline)
        self.request_ids.append(request_id)
        compute = self._find(call.model, call.version).compute.get(call.signature_name)
        if compute is None:
            raise ModelFailedError(f"no signature {call.signature_name}")
        outputs = compute(inputs)
        if call.output not in outputs:
            raise ModelFailedError(f"no output {call.output}")
        if call.confidence is None:
            return outputs[call.output]
        return append_confidence(call.model, outputs[call.output], outputs[call.confidence])

    def _begin(self, method: str, deadline: Deadline) -> None:
        with self._lock:
            self.calls[method] += 1
        self.before.get(method, lambda: None)()
        deadline.remaining_s()
        if self.away:
            raise ModelUnavailableError("away")
        if method in self.failures:
            raise self.failures[method]

    def _find(self, model: str, version: int) -> FakeVersion:
        fake = self.models.get(model, {}).get(version)
        if fake is None:
            raise VersionGoneError(f"{model} {version} is not served")
        return fake


def _check(expected: Mapping[str, TensorSpec], inputs: Mapping[str, Array]) -> None:
    if inputs.keys() != expected.keys() or not all(expected[name].accepts(array) for name, array in inputs.items()):
        raise ModelContractError(f"takes {sorted(expected)}")


def image_signature(card: Card) -> Signature:
    """Return the signature `serving_default` of a card."""
    image = TensorSpec(card.input.dtype, (None, *card.input.shape))
    outputs = {card.output.name: TensorSpec("float32", (None, len(card.labels)))}
    if card.output.confidence is not None:
        outputs[card.output.confidence] = TensorSpec("float32", (None,))
    return Signature({"image": image}, outputs)


DESCRIBE = Signature({"index": TensorSpec("int32", (None,))}, {"card": TensorSpec("string", (None,))})


def classifier(
    card: Card,
    scores: Callable[[Array], Array],
    *,
    has_card: bool = True,
    confidence: Callable[[Array], Array] | None = None,
) -> FakeVersion:
    """Return a version, with or without its card.

    Args:
        card: Card of the version.
        scores: Maps images[N, …] to float32[N, K].
        has_card: Whether the version contains its card.
        confidence: Maps images[N, …] to float32[N], if the card names such an output.
    """

    def describe(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        return {"card": np.full(inputs["index"].shape, card.to_json().encode(), object)}

    def default(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        outputs = {card.output.name: scores(inputs["image"])}
        if card.output.confidence is not None and confidence is not None:
            outputs[card.output.confidence] = confidence(inputs["image"])
        return outputs

    signatures, compute = {"serving_default": image_signature(card)}, {"serving_default": default}
    if not has_card:
        return FakeVersion(signatures, compute)
    return FakeVersion({**signatures, "describe": DESCRIBE}, {**compute, "describe": describe})


def explainable(card: Card, scores: Callable[[Array], Array], heat: Callable[[Array, Array], Array]) -> FakeVersion:
    """Return a version with its card whose function `heat` maps images and int32[N] to float32[N, h, w]."""

    def explain(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        return {"heatmap": heat(inputs["image"], inputs["class_id"])}

    base = classifier(card, scores)
    image = TensorSpec(card.input.dtype, (None, *card.input.shape))
    inputs = {"image": image, "class_id": TensorSpec("int32", (None,))}
    signature = Signature(inputs, {"heatmap": TensorSpec("float32", (None, None, None))})
    return FakeVersion({**base.signatures, "explain": signature}, {**base.compute, "explain": explain})


CHECK_CALLS = 2
"""Calls by which a new version is checked: with a gray image, and with others."""
INSPECTION_CALLS = 1 + CHECK_CALLS
"""The same, and the call for its card."""


def after_check(scores: Callable[[Array], Array], *, classes: int = 3) -> Callable[[Array], Array]:
    """Return a function that passes the check of a new version, and then computes `scores`."""
    calls = 0

    def compute(images: Array) -> Array:
        nonlocal calls
        calls += 1
        return scores(images) if calls > CHECK_CALLS else np.full((len(images), classes), 1 / classes, np.float32)

    return compute


def constant(*scores: float) -> Callable[[Array], Array]:
    """Return a function that gives every image the same scores."""
    return lambda images: np.full((len(images), len(scores)), scores, np.float32)


def score_lightness(images: Array) -> Array:
    """Score images[N, …] of 0..255 in three classes: light ones high in the first, dark ones in the last."""
    light = np.asarray(images, np.float32).reshape(len(images), -1).mean(axis=1) / 255
    return np.stack([0.8 * light, np.full(len(light), 0.2), 0.8 * (1 - light)], axis=1).astype(np.float32)
