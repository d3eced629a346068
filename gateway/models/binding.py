"""What one version of a model expects and returns: its card, checked against its signature.

A version returns its own card from the signature `describe`. Without that signature the card is `NAME/card.json`, and
without that file the gateway relies on the model's signature.
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
    """One version of a model, ready to be called.

    Attributes:
        name: Name the model is served under.
        version: Number of the version.
        card: What it expects and what its output means.
        call: The computation that returns the scores.
        input_name: Name of the tensor that takes the image.
        explain: The computation that returns a heat map for `image` and `class_id`; None if the version has none.
        card_digest: Identifies the card, in keys of what is stored outside of this process.
    """

    name: str
    version: int
    card: Card
    call: Call
    input_name: str
    explain: Call | None = None
    card_digest: str = ""


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
        raise ModelContractError(f"{model} version {version} has no signature {SERVING_DEFAULT}.")
    signature = signatures[SERVING_DEFAULT]
    try:
        if DESCRIBE in signatures:
            card = _read_own_card(server, Call(model, version, DESCRIBE, signatures[DESCRIBE], "card"), deadline)
        else:
            card = _read_card_file(model, signature, cards_dir)
    except CardError as error:
        # The reason quotes the card, so it is for the log, and not for callers.
        raise ModelContractError(
            f"The card of {model} version {version} cannot be used. The gateway's log says why."
        ) from error
    served = bind(card, signature, model=model, version=version)
    return dataclasses.replace(served, explain=_explain_call(served, signatures.get(EXPLAIN)))


def bind(card: Card, signature: Signature, *, model: str, version: int) -> ServedModel:
    """Check a card against the signature that will be called, and combine them.

    Raises:
        ModelContractError: They contradict each other.
    """
    name = f"{model} version {version}"
    if len(signature.inputs) != 1:
        raise ModelContractError(f"{name} takes {len(signature.inputs)} inputs; an image classifier takes one.")
    ((input_name, input_spec),) = signature.inputs.items()
    image_spec = TensorSpec(card.input.dtype, (1, *card.input.shape))
    if input_spec.dtype != image_spec.dtype or not input_spec.accepts_shape((1, *card.input.shape)):
        raise ModelContractError(f"The card of {name} describes {image_spec}; its signature takes {input_spec}.")
    output = _choose_output(card, signature, name)
    output_spec = signature.outputs[output]
    if not output_spec.accepts_shape((1, len(card.labels))):
        raise ModelContractError(
            f"The card of {name} has {len(card.labels)} labels; its signature returns {output_spec}."
        )
    if "float" not in output_spec.dtype:
        raise ModelContractError(f"The output {output} of {name} is {output_spec}; scores are floating-point numbers.")
    call = Call(model, version, SERVING_DEFAULT, signature, output)
    digest = hashlib.sha256(card.to_json().encode()).hexdigest()[:CARD_DIGEST_DIGITS]
    return ServedModel(model, version, card, call, input_name, card_digest=digest)


def derive_card(model: str, signature: Signature) -> Card:
    """Return a card made from the signature: class numbers as labels, no activation, the whole image stretched.

    A float32 input is assumed to expect 0..1, as most models exported without a card do.

    Raises:
        ModelContractError: The signature is not that of an image classifier of fixed size.
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
    signature_text = ", ".join(map(str, specs))
    raise ModelContractError(
        f"{model} has no card, and its signature ({signature_text}) is not that of an image classifier with one "
        f"input [N, height, width, 1 or 3] and one output [N, classes]. Write {model}/card.json for it."
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


def _read_card_file(model: str, signature: Signature, cards_dir: Path) -> Card:
    path = cards_dir / model / "card.json"
    try:
        return Card.from_json(path.read_bytes())
    except FileNotFoundError:
        return derive_card(model, signature)
    except OSError as error:
        raise ModelContractError(f"{path} cannot be read: {error.strerror}.") from error


def _choose_output(card: Card, signature: Signature, name: str) -> str:
    if card.output.name in signature.outputs:
        return card.output.name
    if len(signature.outputs) == 1:
        return next(iter(signature.outputs))
    raise ModelContractError(
        f"The card of {name} names the output {card.output.name}; its signature has {sorted(signature.outputs)}."
    )
