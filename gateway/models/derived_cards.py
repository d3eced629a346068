"""Cards for models that have none: made from the signature where it tells enough, or else proposed to the operator."""

import json
from typing import Any

from gateway.errors import ModelContractError
from gateway.model_client.protocol import Signature, TensorSpec
from vision.card import Card
from vision.model_io import (
    FLOATS,
    STRING,
    SeveralOutputsError,
    UnusableModelError,
    choose_output,
    count_scores,
    guess_image,
    require_image_input,
    require_one_input,
    require_scores,
)

UINT8_MAX = 255
MIN_SIDE = 5
"""Shortest side of a gray image that a shape without channels stands for; fewer may be channels."""
USUAL_SIDE = 224
"""Height and width in a proposed card if the signature leaves them open."""
MAX_LISTED = 20
"""Labels that a proposed card lists."""
WHOLE_PIXELS = ("uint8", "int32", "int64")


def derive_card(model: str, signature: Signature) -> Card:
    """Return a card made from the signature: class numbers as labels, no activation, the whole image stretched.

    A floating-point input is assumed to expect 0..1, as most models exported without a card do.

    Raises:
        ModelContractError: The signature does not tell enough, and the message has a card to write; or no card makes
            the model usable.
    """
    try:
        tensor = signature.inputs[require_one_input(signature.inputs)]
        require_image_input(tensor)
        output, question = _find_output(signature)
        require_scores(signature.outputs[output])
    except UnusableModelError as error:
        raise ModelContractError(f"{model} cannot be used. {error}") from error
    classes = count_scores(signature.outputs[output])
    document = propose_card(model, tensor, classes, output)
    question = _input_question(tensor) or question or ("" if classes else "the number of its classes")
    if question:
        raise ModelContractError(
            f"{model} has no card, and its signature ({_to_text(signature)}) leaves open {question}. Write "
            f"{model}/card.json with what its training knew, such as {to_line(document)}."
        )
    return Card.from_json(json.dumps(document))


def propose_card(model: str, tensor: TensorSpec, classes: int | None, output: str) -> dict[str, Any]:
    """Return a minimal card for a signature, with guesses for what it leaves open.

    Args:
        model: Name of the model.
        tensor: Its input.
        classes: Number of its scores, where one stands for two classes; None if it is open.
        output: Name of its output.
    """
    image = guess_image(tensor, (USUAL_SIDE, USUAL_SIDE))
    channels = 1 if image.get("color") == "GRAY" else 3
    if tensor.dtype in FLOATS:
        image |= {"dtype": "float32", "std": [UINT8_MAX] * channels}
    elif tensor.dtype == "int8":
        image |= {"dtype": "float32", "mean": [128] * channels}
    labels = [str(number) for number in range(2 if classes in {1, None} else classes)]
    return {"name": model, "labels": labels, "input": image, "output": {"name": output}}


def to_line(document: dict[str, Any]) -> str:
    """Format a card in one line; many labels are left out."""
    labels = document["labels"]
    if len(labels) <= MAX_LISTED:
        return json.dumps(document, ensure_ascii=False)
    short = json.dumps({**document, "labels": labels[:2]}, ensure_ascii=False)
    return short.replace('"1"]', f'"1", … {len(labels)} labels]')


def _find_output(signature: Signature) -> tuple[str, str]:
    """Return the output with the scores, and what a card must say if it is one of several."""
    try:
        return choose_output(signature.outputs, None), ""
    except SeveralOutputsError as error:
        return error.candidates[0], "which output holds the scores"


def _input_question(tensor: TensorSpec) -> str:
    """Return what a card must say about an input; empty if the signature says everything."""
    if tensor.dtype == STRING:
        return "at which size to send encoded images (if it takes tf.Example messages, no card helps)"
    if tensor.shape is None or None in tensor.shape[1:]:
        return "the size of its images"
    image, rank = guess_image(tensor, (USUAL_SIDE, USUAL_SIDE)), len(tensor.shape)
    is_tiny = rank == len("NHW") and min(image["height"], image["width"]) < MIN_SIDE
    if image.get("layout") or rank == len("NP") or is_tiny:
        return "which dimensions are height, width and channels"
    if tensor.dtype not in {*FLOATS, *WHOLE_PIXELS}:
        return "which numbers stand for black and white"
    return ""


def _to_text(signature: Signature) -> str:
    return ", ".join([*map(str, signature.inputs.values()), *sorted(map(str, signature.outputs.values()))])
