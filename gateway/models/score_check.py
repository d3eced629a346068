"""The check of what a version returns, made once before it answers: are its scores probabilities, as its card says?

A model that returns logits under a card without an activation, or none at all, would otherwise be served with scores
that look like answers.
"""

import json
import math

import numpy as np

from gateway.deadline import Deadline
from gateway.errors import ModelContractError, ModelFailedError
from gateway.model_client.protocol import Array, ModelServer
from gateway.models.binding import CardSource, ServedModel
from gateway.models.derived_cards import propose_card, to_line
from vision.model_io import STRING
from vision.postprocess import NotProbabilitiesError, class_probabilities
from vision.preprocess import preprocess

GRAY = 128


def check_scores(server: ModelServer, served: ServedModel, *, deadline: Deadline) -> None:
    """Classify a gray image.

    Raises:
        ModelContractError: The scores are not probabilities; the message says what to write in the card.
        ModelFailedError: The model server could not compute them.
        GatewayError: The model server did not answer; see `ModelServer`.
    """
    size = (served.card.input.height, served.card.input.width)
    scores = _predict(server, served, np.full(size, GRAY, np.uint8), deadline)
    if scores.dtype.kind == "f" and not np.isfinite(scores).all():
        # Models that divide by the contrast of an image cannot classify a flat one.
        ramp = np.linspace(0, 255, math.prod(size)).reshape(size).astype(np.uint8)
        scores = _predict(server, served, ramp, deadline)
    try:
        class_probabilities(scores, served.card, image="a gray image")
    except NotProbabilitiesError as error:
        raise _unusable(served, f"{error.reason[0].upper()}{error.reason[1:]}. {_advice(served, error)}") from error
    except ValueError as error:
        raise ModelFailedError(f"{served.name} returned scores that cannot be ranked: {error}.") from error


def _predict(server: ModelServer, served: ServedModel, gray: Array, deadline: Deadline) -> Array:
    """Return the scores of an image, uint8[H, W], as float of `ServedModel.score_shape`."""
    image = np.repeat(np.asarray(gray, np.uint8)[..., np.newaxis], 3, axis=2)
    row: Array = preprocess(image, served.card.input)
    if served.encoder is not None:
        row = served.encoder.encode(row)
    try:
        output = server.predict(served.call, {served.input_name: row[np.newaxis]}, deadline=deadline)
    except ModelFailedError as error:
        if served.encoder is None or served.encoder.dtype != STRING:
            raise
        raise _unusable(
            served,
            f"Its input {served.input_name} does not take an encoded image (PNG), but perhaps tf.Example messages. No "
            "card helps: export the model again with an image as its input.",
        ) from error
    if output.shape != (1, *served.score_shape):
        raise ModelFailedError(f"{served.name} returned the shape {output.shape}; expected {(1, *served.score_shape)}.")
    scores: Array = output[0]
    return scores


def _unusable(served: ServedModel, reason: str) -> ModelContractError:
    return ModelContractError(f"{served.name} version {served.version} cannot be used. {reason}")


def _advice(served: ServedModel, error: NotProbabilitiesError) -> str:
    """Return what to write in which card."""
    card, call = served.card, served.call
    is_softmax = card.task == "multiclass" and math.prod(served.score_shape) > 1
    output = {"name": call.output, "activation": "softmax" if is_softmax else "sigmoid"}
    file, member = f"{served.name}/card.json", f'"output": {json.dumps(output)}'
    otherwise = ' If several labels may be right, write "task": "multilabel" instead.' if error.are_in_range else ""
    if served.card_source is CardSource.VERSION:
        return f"If they are logits, export it again with {member} in its card.{otherwise}"
    if served.card_source is CardSource.FILE:
        return f"If they are logits, write {member} in {file}.{otherwise}"
    tensor = call.signature.inputs[served.input_name]
    document = propose_card(served.name, tensor, len(card.labels), call.output) | {"output": output}
    return f"If they are logits, write {file} such as {to_line(document)}.{otherwise}"
