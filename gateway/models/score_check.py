"""The check of what a version returns, made before it answers: are its scores probabilities, as its card says?

A model that returns logits under a card without an activation, or none at all, would otherwise be served with scores
that look like answers.
"""

import json
from collections.abc import Mapping, Sequence

import numpy as np

from gateway.deadline import Deadline
from gateway.errors import ModelContractError, ModelFailedError
from gateway.model_client.protocol import Array, ModelServer, require_shape
from gateway.models.binding import CardSource, ServedModel
from gateway.models.derived_cards import propose_card, to_line
from vision.model_io import STRING
from vision.postprocess import NotProbabilitiesError, activation_of_logits
from vision.preprocess import preprocess
from vision.probes import GRAY, NAMES, NOISE, check_probabilities, probe

MAX_CALL_BYTES = 1 << 24
"""Bytes of rows that one call takes, unless a single row is larger."""


def check_scores(server: ModelServer, served: ServedModel, *, deadline: Deadline) -> None:
    """Classify the images of `vision.probes`: a gray one first, and then the others or, with a slow model, noise only.

    Raises:
        ModelContractError: The scores are not probabilities; the message says what to write in the card.
        ModelFailedError: The model server could not compute them.
        GatewayError: The model server did not answer; see `ModelServer`.
    """
    before_s = deadline.remaining_s()
    scores = _predict(server, served, [GRAY], deadline)
    _check(served, scores)
    others = [name for name in NAMES if name != GRAY]
    remaining_s = deadline.remaining_s()
    is_slow = (before_s - remaining_s) * len(others) > remaining_s
    scores |= _predict(server, served, [NOISE] if is_slow else others, deadline)
    _check(served, scores)


def score_error(served: ServedModel, scores: Array, error: ValueError) -> ModelContractError | ModelFailedError:
    """Return the error of a version whose scores `vision.postprocess` rejects.

    Args:
        served: The version.
        scores: The scores of one image.
        error: Why they are rejected.
    """
    if isinstance(error, NotProbabilitiesError):
        return _unusable(served, f"{_sentence(error)} {_advice(served, scores.size, error)}")
    return ModelFailedError(
        f"{served.name} version {served.version} cannot classify an image. {_sentence(error)} Compare its card (dtype, "
        "mean, std, labels) with its training, or export it again."
    )


def _check(served: ServedModel, scores: Mapping[str, Array]) -> None:
    for name, row in scores.items():
        try:
            check_probabilities(row, served.card, name)
        except ValueError as error:
            raise score_error(served, row, error) from error


def _predict(server: ModelServer, served: ServedModel, names: Sequence[str], deadline: Deadline) -> dict[str, Array]:
    """Return the scores of images by their names, each as float of `ServedModel.score_shape`, in few calls."""
    spec = served.card.input
    rows_per_call = max(1, MAX_CALL_BYTES // (spec.height * spec.width * 3 * 4)) if served.call.takes_batches else 1
    scores: dict[str, Array] = {}
    for start in range(0, len(names), rows_per_call):
        part = names[start : start + rows_per_call]
        rows = np.stack([_row(served, name) for name in part])
        scores |= zip(part, _call(server, served, rows, deadline), strict=True)
    return scores


def _row(served: ServedModel, name: str) -> Array:
    spec = served.card.input
    row: Array = preprocess(probe(name, spec.height, spec.width), spec)
    return row if served.encoder is None else served.encoder.encode(row)


def _call(server: ModelServer, served: ServedModel, rows: Array, deadline: Deadline) -> Sequence[Array]:
    """Return the scores of each row."""
    try:
        output = server.predict(served.call, {served.input_name: rows}, deadline=deadline)
    except ModelFailedError as error:
        if served.encoder is None or served.encoder.dtype != STRING:
            raise
        raise _unusable(
            served,
            f"Its input {served.input_name} does not take an encoded image (PNG), but perhaps tf.Example messages. No "
            "card helps: export the model again with an image as its input.",
        ) from error
    require_shape(served.name, output, len(rows), served.score_shape)
    return [served.call.split_row(row)[0] for row in output]


def _unusable(served: ServedModel, reason: str) -> ModelContractError:
    return ModelContractError(f"{served.name} version {served.version} cannot be used. {reason}")


def _sentence(error: ValueError) -> str:
    text = str(error)
    return f"{text[0].upper()}{text[1:]}."


def _advice(served: ServedModel, scores: int, error: NotProbabilitiesError) -> str:
    """Return what to write in which card."""
    card, call = served.card, served.call
    output = {"name": call.output, "activation": activation_of_logits(card, scores)}
    file, member = f"{served.name}/card.json", f'"output": {json.dumps(output)}'
    otherwise = ' If several labels may be right, write "task": "multilabel" instead.' if error.are_in_range else ""
    if served.card_source is CardSource.VERSION:
        return f"If they are logits, export it again with {member} in its card.{otherwise}"
    if served.card_source is CardSource.FILE:
        return f"If they are logits, write {member} in {file}.{otherwise}"
    tensor = call.signature.inputs[served.input_name]
    document = propose_card(served.name, tensor, len(card.labels), call.output) | {"output": output}
    return f"If they are logits, write {file} such as {to_line(document)}.{otherwise}"
