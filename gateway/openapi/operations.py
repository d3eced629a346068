"""The operations of the API: one entry for each route."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from gateway import errors
from gateway.errors import GatewayError
from gateway.http.headers import CACHE_CONTROL, ETAG
from gateway.http.problems import PROBLEMS
from gateway.openapi.requests import JSON, MULTIPART, OPTIONS
from gateway.prediction import schemas

JSON_SUFFIX = "/json"

TAGS: Mapping[str, str] = {
    "Predict": "Classify images. The routes differ in the model that they use, and in how images are sent: as files, "
    "or as JSON if the path ends in `/json`.",
    "Models": "What is served, and what it was trained for.",
    "About": "This document and the version of the gateway.",
    "Health": "For load balancers and orchestrators.",
}
"""What the groups of operations are for, by name, in order."""

REVALIDATION = (ETAG, CACHE_CONTROL)
MODEL_ERRORS = (
    errors.ModelNotFoundError,
    errors.ModelContractError,
    errors.ModelFailedError,
    errors.ModelOverloadedError,
    errors.ModelUnavailableError,
    errors.VersionGoneError,
    errors.DeadlineExceededError,
    errors.OverloadedError,
)
"""Errors of operations that need a model but no image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What one route does.

    Attributes:
        id: Its name in generated clients.
        tag: Group in which it is listed, one of `TAGS`.
        summary: What it does and how it differs from similar ones, in a few words.
        description: More detail, in Markdown.
        response: Type of its JSON response.
        status: HTTP status code of success.
        media_type: Form of its request body, `JSON` or `MULTIPART`; None if it takes no body.
        query: Names of its query parameters.
        headers: Additional headers of its response. With an ETag, it responds with 304 to a client that has the body.
        errors: The errors that it may raise.
    """

    id: str
    tag: str
    summary: str
    description: str
    response: Any
    status: HTTPStatus = HTTPStatus.OK
    media_type: str | None = None
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    errors: tuple[type[GatewayError], ...] = ()


_TARGETS = {
    "": ("", "the default model", "The newest version of the default model is used."),
    "/models/{model}": ("_by_model", "a model", "The newest version of this model is used."),
    "/models/{model}/versions/{version}": (
        "_by_version",
        "a version of a model",
        "The version must be one that the model server has loaded.",
    ),
    "/models/{model}/labels/{label}": (
        "_by_label",
        "a labelled version of a model",
        "`models.config` says which version has which label.",
    ),
}
"""Where images are sent, by the beginning of the path: end of the id, name and explanation."""


def _predict(target: str, path_suffix: str) -> Operation:
    name_suffix, target_name, explanation = _TARGETS[target]
    is_json = path_suffix == JSON_SUFFIX
    return Operation(
        id=f"predict{'_json' if is_json else ''}{name_suffix}",
        tag="Predict",
        summary=f"Classify images{' in JSON' if is_json else ''} with {target_name}",
        description=f"Ranks the classes of one image, or of each image of a batch. {explanation}",
        response=schemas.PredictionOrBatch,
        media_type=JSON if is_json else MULTIPART,
        query=OPTIONS,
        errors=tuple(error for error in PROBLEMS if error is not errors.NotReadyError),
    )


OPERATIONS: Mapping[str, Operation] = {
    **{
        f"POST /api/v1{target}/predict{path_suffix}": _predict(target, path_suffix)
        for path_suffix in ("", JSON_SUFFIX)
        for target in _TARGETS
    },
    "GET /api/v1/models": Operation(
        id="models",
        tag="Models",
        summary="List the models",
        description="Lists every configured model with a summary of it.",
        response=schemas.ModelList,
        headers=REVALIDATION,
        errors=(errors.OverloadedError,),
    ),
    "GET /api/v1/models/{model}": Operation(
        id="model_details",
        tag="Models",
        summary="Describe a model",
        description="Returns the versions of a model with their states, and its card: labels, input, metrics and "
        "provenance.",
        response=schemas.ModelDetails,
        headers=REVALIDATION,
        errors=MODEL_ERRORS,
    ),
    "GET /api/v1/openapi.json": Operation(
        id="document",
        tag="About",
        summary="This document",
        description="Returns the OpenAPI 3.1 document that /docs displays.",
        response=schemas.Description,
        headers=REVALIDATION,
    ),
    "GET /version": Operation(
        id="version",
        tag="About",
        summary="Version of the gateway",
        description="Returns the same version as `info.version` in this document.",
        response=schemas.Version,
    ),
    "GET /livez": Operation(
        id="livez",
        tag="Health",
        summary="Liveness",
        description="Succeeds if the process responds; nothing else is checked.",
        response=schemas.Live,
    ),
    "GET /readyz": Operation(
        id="readyz",
        tag="Health",
        summary="Readiness",
        description="Succeeds if the model server has the default model available and, checked once per version, the "
        "model classifies a known test image correctly.",
        response=schemas.Ready,
        errors=(errors.NotReadyError,),
    ),
}
"""By method and path, in the order of the document."""
