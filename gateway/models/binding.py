"""What one version of a model expects and returns: its card, checked against its signature.

A version returns its own card from the signature `describe`. Without that signature the card is `NAME/card.json`, and
without that file the gateway relies on the model's signature.
"""

import dataclasses
import enum
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import structlog

from gateway.deadline import Deadline
from gateway.errors import ModelContractError
from gateway.model_client.protocol import Call, ModelServer, Signature, TensorSpec
from gateway.models.derived_cards import derive_card
from vision.card import Card, CardError
from vision.model_io import (
    InputEncoder,
    Shape,
    UnusableModelError,
    choose_output,
    fit_input,
    fit_output,
    require_confidence,
    require_one_input,
)

SERVING_DEFAULT = "serving_default"
DESCRIBE = "describe"
EXPLAIN = "explain"
HEATMAP = "heatmap"
CARD_DIGEST_DIGITS = 16

log = structlog.get_logger(__name__)


CardStamp: TypeAlias = tuple[int, ...]
"""Changes with the content of a file, with its permissions, and with the file that a name stands for."""


class CardSource(enum.Enum):
    """Where the card of a version comes from."""

    VERSION = enum.auto()  # its signature `describe`
    FILE = enum.auto()  # `NAME/card.json`
    SIGNATURE = enum.auto()  # the gateway made it


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One version of a model, ready to be called.

    Attributes:
        name: Name the model is served under.
        version: Number of the version.
        card: What it expects and what its output means.
        call: The computation that returns the scores.
        input_name: Name of the tensor that takes the image.
        score_shape: Shape of the scores of one image in the output, as `vision.model_io.fit_output` returns it; with
            `call.confidence`, which is the last number of a row, any number of scores.
        encoder: Turns a prepared image into a row of the input; None if the image is one already.
        explain: The computation that returns a heat map for `image` and `class_id`; None if the version has none.
        card_source: Where the card comes from.
        card_digest: Identifies the card, in keys of what is stored outside of this process.
        card_stamp: State of `NAME/card.json` when it was looked for; None without one, or if the version has its card.
    """

    name: str
    version: int
    card: Card
    call: Call
    input_name: str
    score_shape: Shape
    encoder: InputEncoder | None = None
    explain: Call | None = None
    card_source: CardSource = CardSource.VERSION
    card_digest: str = ""
    card_stamp: CardStamp | None = None

    @property
    def row(self) -> TensorSpec:
        """Element type and shape of one row of the input."""
        shape = self.card.input.shape if self.encoder is None else self.encoder.shape
        return TensorSpec(self.call.signature.inputs[self.input_name].dtype, shape)

    def has_stale_card(self, cards_dir: Path) -> bool:
        """Return whether `NAME/card.json` has come, gone or changed since the card was read, if it is used at all."""
        return self.card_source is not CardSource.VERSION and self.card_stamp != _stamp(cards_dir, self.name)


def inspect_version(
    server: ModelServer, model: str, version: int, *, cards_dir: Path, deadline: Deadline
) -> ServedModel:
    """Return how to call one version, by the model server and, for a missing card, the files in `cards_dir`.

    Raises:
        ModelContractError: It is not an image classifier, or its card is damaged or contradicts its signature.
        GatewayError: The model server did not answer; see `ModelServer`.
    """
    signatures = server.signatures(model, version, deadline=deadline)
    if SERVING_DEFAULT not in signatures:
        others = ", ".join(sorted(signatures)) or "none"
        raise ModelContractError(
            f"{model} version {version} has no signature {SERVING_DEFAULT}; it has {others}. No card helps: export it "
            f"again with {SERVING_DEFAULT}."
        )
    signature = signatures[SERVING_DEFAULT]
    stamp = None if DESCRIBE in signatures else _stamp(cards_dir, model)  # before the file is read
    try:
        if DESCRIBE in signatures:
            card = _read_own_card(server, Call(model, version, DESCRIBE, signatures[DESCRIBE], "card"), deadline)
            source = CardSource.VERSION
        else:
            card, source = _read_card_file(model, signature, cards_dir)
    except CardError as error:
        # The whole reason quotes the card, so it is for the log, and not for callers.
        fault = f"The card of {model} version {version} cannot be used:"
        detail = f"{fault} {error.summary}. The gateway's log has the value."
        raise ModelContractError(detail) from CardError(f"{fault} {error}.")
    served = bind(card, signature, model=model, version=version)
    explain = _explain_call(served, signatures.get(EXPLAIN))
    return dataclasses.replace(served, explain=explain, card_source=source, card_stamp=stamp)


def bind(card: Card, signature: Signature, *, model: str, version: int) -> ServedModel:
    """Check a card against the signature that will be called, and combine them.

    Raises:
        ModelContractError: They contradict each other, or no card makes the model usable.
    """
    try:
        input_name = require_one_input(signature.inputs)
        encoder = fit_input(card, signature.inputs[input_name])
        output = choose_output(signature.outputs, card)
        score_shape = fit_output(card, signature.outputs[output])
        require_confidence(card, signature.outputs)
    except UnusableModelError as error:
        raise ModelContractError(f"{model} version {version} cannot be used. {error}") from error
    call = Call(model, version, SERVING_DEFAULT, signature, output, card.output.confidence)
    digest = hashlib.sha256(card.to_json().encode()).hexdigest()[:CARD_DIGEST_DIGITS]
    return ServedModel(
        model,
        version,
        card,
        call,
        input_name,
        score_shape=score_shape if call.confidence is None else (None,),
        encoder=None if encoder == InputEncoder(card.input.dtype, card.input.shape) else encoder,
        card_digest=digest,
    )


def _explain_call(served: ServedModel, signature: Signature | None) -> Call | None:
    """Return the call that explains, or None if it is missing or does not take the gateway's inputs."""
    if signature is None:
        return None
    image = (served.card.input.dtype, (1, *served.card.input.shape))
    inputs = {"image": image, "class_id": ("int32", (1,))}
    has_names = signature.inputs.keys() == inputs.keys() and HEATMAP in signature.outputs
    if not has_names or any(not _accepts(signature.inputs[name], *inputs[name]) for name in inputs):
        tensors = ", ".join(f"{name} {spec}" for name, spec in {**signature.inputs, **signature.outputs}.items())
        log.warning("explain_unusable", model=served.name, version=served.version, signature=tensors)
        return None
    return Call(served.name, served.version, EXPLAIN, signature, HEATMAP)


def _accepts(spec: TensorSpec, dtype: str, shape: tuple[int, ...]) -> bool:
    return spec.dtype == dtype and spec.accepts_shape(shape)


def _read_own_card(server: ModelServer, describe: Call, deadline: Deadline) -> Card:
    rows = server.predict(describe, {"index": np.zeros(1, np.int32)}, deadline=deadline)
    if rows.shape != (1,) or not isinstance(rows[0], bytes):
        raise ModelContractError(
            f"The card of {describe.model} version {describe.version}: describe returned "
            f"{rows.dtype}{list(rows.shape)} for one row; expected string[1]."
        )
    return Card.from_json(rows[0])


def _read_card_file(model: str, signature: Signature, cards_dir: Path) -> tuple[Card, CardSource]:
    path = _card_path(cards_dir, model)
    try:
        return Card.from_json(path.read_bytes()), CardSource.FILE
    except FileNotFoundError:
        return derive_card(model, signature), CardSource.SIGNATURE
    except OSError as error:
        raise ModelContractError(f"{path} cannot be read: {error.strerror}.") from error


def _card_path(cards_dir: Path, model: str) -> Path:
    return cards_dir / model / "card.json"


def _stamp(cards_dir: Path, model: str) -> CardStamp | None:
    try:
        status = _card_path(cards_dir, model).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
