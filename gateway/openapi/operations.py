"""The operations of the API: one entry for each endpoint."""

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
"""Errors of operations that need a model but no image."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What one endpoint does; several paths may lead to it.

    Attributes:
        tag: Group in which it is listed.
        summary: What it does, in a few words.
        description: More detail, in Markdown.
        response_types: Types of its JSON responses; none if it responds with text.
        takes_images: Whether it takes images and options.
        revalidates: Whether it responds with 304 to a client that has the body already.
        errors: The errors that it may raise.
    """

    tag: str
    summary: str
    description: str
    response_types: tuple[type, ...]
    takes_images: bool = False
    revalidates: bool = False
    errors: tuple[type[GatewayError], ...] = ()


OPERATIONS: Mapping[str, Operation] = {
    "api.predict": Operation(
        "Predict",
        "Classify images",
        "Ranks the classes of one image, or of each image of a batch. The default model is used if the path does not "
        "name one, and its newest version if the path has neither a version nor a label.",
        (schemas.PredictionResponse, schemas.BatchPredictionResponse),
        takes_images=True,
        errors=tuple(error for error in PROBLEMS if error is not errors.NotReadyError),
    ),
    "api.models": Operation(
        "Models",
        "List the models",
        "Lists every configured model with a summary of it.",
        (schemas.ModelList,),
        revalidates=True,
        errors=(errors.OverloadedError,),
    ),
    "api.model_details": Operation(
        "Models",
        "Describe a model",
        "Returns the versions of a model with their states, and its card: labels, input, metrics and provenance.",
        (schemas.ModelDetails,),
        revalidates=True,
        errors=(*MODEL_ERRORS, errors.OverloadedError),
    ),
    "openapi.document": Operation(
        "About",
        "This document",
        "Returns the OpenAPI 3.1 document that /docs displays.",
        (schemas.Description,),
        revalidates=True,
    ),
    "health.version": Operation(
        "About",
        "Version of the gateway",
        "Returns the same version as `info.version` in this document.",
        (schemas.Version,),
    ),
    "health.livez": Operation(
        "Health", "Liveness", "Succeeds if the process responds; nothing else is checked.", (schemas.Live,)
    ),
    "health.readyz": Operation(
        "Health",
        "Readiness",
        "Succeeds if the model server has the default model available and, checked once per version, the model "
        "classifies a known test image correctly.",
        (schemas.Ready,),
        errors=(errors.NotReadyError,),
    ),
    "health.prometheus": Operation(
        "Health",
        "Metrics for Prometheus",
        "Available only on the port of the gateway itself: nginx responds with 404.",
        (),
    ),
}
