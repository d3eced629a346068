"""What one version of a model takes and gives: its card and its signature, held against each other.

A version tells its own card by the signature `describe`. One that has none gets the card that lies beside it as
`NAME/card.json`, and without that one its signature alone is gone by.
"""

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog

from gateway.deadline import Deadline
from gateway.errors import ModelContractError
from gateway.model_client.protocol import Call, ModelServer, Signature, TensorSpec
from vision.card import Card, CardError, InputSpec

SERVING_DEFAULT = "serving_default"
DESCRIBE = "describe"
EXPLAIN = "explain"
HEATMAP = "heatmap"
UINT8_MAX = 255.0
CARD_DIGEST_DIGITS = 16

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One version of a model, ready to be asked.

    Attributes:
        card: What it expects and what its answers mean.
        call: The computation that gives the scores.
        input_name: Name of the tensor that takes the image.
        explain: The computation that gives, for `image` and `class_id`, a heat map; None where there is none.
        card_digest: Tells this card from others, for what is remembered beyond this process.
    """

    card: Card
    call: Call
    input_name: str
    explain: Call | None = None
    card_digest: str = ""

    @property
    def name(self) -> str:
        """Name the model is served under."""
        return self.call.model

    @property
    def version(self) -> int:
        """Number of the version."""
        return self.call.version


def inspect_version(
    server: ModelServer, model: str, version: int, *, cards_dir: Path, deadline: Deadline
) -> ServedModel:
    """Learn from the model server, and from `cards_dir`, how to use one version.

    Raises:
        ModelContractError: it is no image classifier, or its card is damaged or contradicts its signature.
        GatewayError: the model server could not tell; see `ModelServer`.
    """
    signatures = server.signatures(model, version, deadline=deadline)
    if SERVING_DEFAULT not in signatures:
        raise ModelContractError(f"{model} version {version} has no signature {SERVING_DEFAULT}.")
    signature = signatures[SERVING_DEFAULT]
    try:
        if DESCRIBE in signatures:
            card = _own_card(server, Call(model, version, DESCRIBE, signatures[DESCRIBE], "card"), deadline)
        else:
            card = _foreign_card(model, signature, cards_dir)
    except CardError as error:
        raise ModelContractError(f"The card of {model} version {version}: {error}") from error
    served = bind(card, signature, model=model, version=version)
    return dataclasses.replace(served, explain=_explain_call(served, signatures.get(EXPLAIN)))


def bind(card: Card, signature: Signature, *, model: str, version: int) -> ServedModel:
    """Hold a card against the signature that will be called.

    Raises:
        ModelContractError: they contradict each other.
    """
    name = f"{model} version {version}"
    if len(signature.inputs) != 1:
        raise ModelContractError(f"{name} takes {len(signature.inputs)} inputs; an image classifier takes one.")
    ((input_name, taken),) = signature.inputs.items()
    sent = TensorSpec(card.input.dtype, (1, *card.input.shape))
    if taken.dtype != sent.dtype or not taken.accepts_shape((1, *card.input.shape)):
        raise ModelContractError(f"The card of {name} says {sent}, its signature takes {taken}.")
    output = _output_name(card, signature, name)
    given = signature.outputs[output]
    if not given.accepts_shape((1, len(card.labels))):
        raise ModelContractError(f"The card of {name} has {len(card.labels)} labels, its signature gives {given}.")
    if "float" not in given.dtype:
        raise ModelContractError(f"The output {output} of {name} is {given}; scores are floating-point numbers.")
    digest = hashlib.sha256(card.to_json().encode()).hexdigest()[:CARD_DIGEST_DIGITS]
    return ServedModel(card, Call(model, version, SERVING_DEFAULT, signature, output), input_name, card_digest=digest)


def derive_card(model: str, signature: Signature) -> Card:
    """Make a card from a signature alone: class numbers for labels, no activation, the whole picture stretched.

    A float32 input is taken to want 0..1, as most models exported without a card do.

    Raises:
        ModelContractError: the signature is not that of an image classifier of fixed size.
    """
    specs = [*signature.inputs.values(), *signature.outputs.values()]
    match [(spec.dtype, spec.shape) for spec in specs]:
        case [
            ("uint8" | "float32" as dtype, (_, int(height), int(width), 1 | 3 as channels)),
            (_, (_, int(classes))),
        ]:
            return Card(
                name=model,
                labels=tuple(str(number) for number in range(classes)),
                input=InputSpec(
                    height=height,
                    width=width,
                    color="GRAY" if channels == 1 else "RGB",
                    dtype="uint8" if dtype == "uint8" else "float32",
                    std=(UINT8_MAX,) * channels if dtype == "float32" else (),
                ),
            )
    told = ", ".join(map(str, specs))
    raise ModelContractError(
        f"{model} carries no card, and its signature ({told}) is not that of an image classifier with one input "
        f"[N, height, width, 1 or 3] and one output [N, classes]. Write {model}/card.json for it."
    )


def _explain_call(served: ServedModel, signature: Signature | None) -> Call | None:
    """Give the call that explains, unless it is missing or takes other than what is sent."""
    if signature is None:
        return None
    image = (served.card.input.dtype, (1, *served.card.input.shape))
    sent = {"image": image, "class_id": ("int32", (1,))}
    fits = signature.inputs.keys() == sent.keys() and HEATMAP in signature.outputs
    if not fits or any(not _takes(signature.inputs[name], *sent[name]) for name in sent):
        told = ", ".join(f"{name} {spec}" for name, spec in {**signature.inputs, **signature.outputs}.items())
        log.warning("explain_unusable", model=served.name, version=served.version, signature=told)
        return None
    return Call(served.name, served.version, EXPLAIN, signature, HEATMAP)


def _takes(spec: TensorSpec, dtype: str, shape: tuple[int, ...]) -> bool:
    return spec.dtype == dtype and spec.accepts_shape(shape)


def _own_card(server: ModelServer, describe: Call, deadline: Deadline) -> Card:
    rows = server.predict(describe, {"index": np.zeros(1, np.int32)}, deadline=deadline)
    if rows.shape != (1,) or not isinstance(rows[0], bytes):
        raise CardError(f"describe answered {rows.dtype}{list(rows.shape)} to one row, expected string[1]")
    return Card.from_json(rows[0])


def _foreign_card(model: str, signature: Signature, cards_dir: Path) -> Card:
    path = cards_dir / model / "card.json"
    try:
        return Card.from_json(path.read_bytes())
    except FileNotFoundError:
        return derive_card(model, signature)
    except OSError as error:
        raise ModelContractError(f"{path} cannot be read: {error.strerror}.") from error


def _output_name(card: Card, signature: Signature, name: str) -> str:
    if card.output.name in signature.outputs:
        return card.output.name
    if len(signature.outputs) == 1:
        return next(iter(signature.outputs))
    raise ModelContractError(
        f"The card of {name} names the output {card.output.name}, its signature has {sorted(signature.outputs)}."
    )
