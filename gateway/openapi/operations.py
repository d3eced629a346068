"""What can be asked of the API: one entry for each endpoint."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway import errors
from gateway.errors import GatewayError
from gateway.http.problems import PROBLEMS
from gateway.prediction import schemas

MODEL_ERRORS = (
    errors.ModelNotFoundError,
    errors.ModelContractError,
    errors.ModelFailedError,
    errors.ModelOverloadedError,
    errors.ModelUnavailableError,
    errors.VersionGoneError,
    errors.DeadlineExceededError,
)
"""What can go wrong where a model, but no image, is asked for."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What one endpoint does, whatever the path leading to it.

    Attributes:
        tag: The group it is listed in.
        summary: What it does, in a few words.
        description: More of it, in Markdown.
        answers: Types of the JSON that it may answer; none for text.
        question: Whether it takes an image and options.
        fails_of: What can go wrong.
    """

    tag: str
    summary: str
    description: str
    answers: tuple[type, ...]
    question: bool = False
    fails_of: tuple[type[GatewayError], ...] = ()


OPERATIONS: Mapping[str, Operation] = {
    "api.predict": Operation(
        "Predict",
        "Classify images",
        "Ranks the classes of one image, or of each image of a batch. Without a model in the path the default model "
        "answers, without a version or label its newest version.",
        (schemas.PredictionResponse, schemas.BatchPredictionResponse),
        question=True,
        fails_of=tuple(kind for kind in PROBLEMS if kind is not errors.NotReadyError),
    ),
    "api.models": Operation(
        "Models",
        "List the models",
        "Every model offered, with what can be said of it without its card.",
        (schemas.ModelList,),
        fails_of=(errors.OverloadedError,),
    ),
    "api.model_details": Operation(
        "Models",
        "Describe a model",
        "Its versions with their states, and its card: labels, input, metrics, provenance.",
        (schemas.ModelDetails,),
        fails_of=(*MODEL_ERRORS, errors.OverloadedError),
    ),
    "openapi.document": Operation("About", "This document", "OpenAPI 3.1; /docs shows it.", (schemas.Description,)),
    "health.version": Operation(
        "About", "Version of the gateway", "The same as `info.version` here.", (schemas.Version,)
    ),
    "health.livez": Operation("Health", "Does the process answer?", "Asks nobody else.", (schemas.Live,)),
    "health.readyz": Operation(
        "Health",
        "Can the default model be used?",
        "Asks the model server now, and each new version about a picture whose answer is known; a problem if not.",
        (schemas.Ready,),
        fails_of=(errors.NotReadyError,),
    ),
    "health.prometheus": Operation(
        "Health",
        "Counts, for Prometheus",
        "Only inside, at the gateway's own port: nginx answers 404.",
        (),
    ),
}
