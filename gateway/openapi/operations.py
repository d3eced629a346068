"""The operations of the API: one entry for each route."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from gateway import errors
from gateway.errors import GatewayError
from gateway.http.headers import CACHE_CONTROL, ETAG, IDEMPOTENCY_KEY
from gateway.http.problems import PROBLEMS
from gateway.jobs import schemas as job_schemas
from gateway.openapi.requests import JOB_FIELDS, JOB_PARTS, OPTIONS, PREDICT_FIELDS, PREDICT_PARTS, RESULT_PARAMETERS
from gateway.openapi.schemas import Schema
from gateway.prediction import schemas

JSON_SUFFIX = "/json"

TAGS: Mapping[str, str] = {
    "Predict": "Classify images. The routes differ in the model that they use, and in how images are sent: as files, "
    "or as JSON if the path ends in `/json`.",
    "Jobs": "Classify many images in the background, and fetch the results later.",
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
JOB_ERRORS = (
    errors.ArchiveError,
    errors.IdempotencyKeyReusedError,
    errors.JobNotFoundError,
    errors.TooManyJobsError,
    errors.JobsFullError,
    errors.JobsUnavailableError,
)
"""Errors of jobs alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What one route does.

    Attributes:
        id: Its name in generated clients.
        tag: Group in which it is listed, one of `TAGS`.
        summary: What it does and how it differs from similar ones, in a few words.
        description: More detail, in Markdown.
        response: Type of its JSON response; None if it responds with text.
        media_types: Media types of its response.
        status: HTTP status code of success.
        body: Name of the schema of its request body; None if it takes no body.
        parameters: Names of its parameters in the query and the headers.
        headers: Additional headers of its response. With an ETag, it responds with 304 to a client that has the body.
        own_headers: Additional headers that only this operation has, with their descriptions.
        errors: The errors that it may raise.
    """

    id: str
    tag: str
    summary: str
    description: str
    response: Any
    media_types: tuple[str, ...] = ("application/json",)
    status: HTTPStatus = HTTPStatus.OK
    body: str | None = None
    parameters: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    own_headers: Mapping[str, Schema] = field(default_factory=dict)
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
        body=PREDICT_FIELDS if is_json else PREDICT_PARTS,
        parameters=OPTIONS,
        errors=tuple(error for error in PROBLEMS if error not in {errors.NotReadyError, *JOB_ERRORS}),
    )


RETRY_AFTER: Schema = {
    "schema": {"type": "integer", "minimum": 0},
    "description": "Seconds to wait before reading the job again; absent once it is finished.",
}
NO_STORE: Schema = {"required": True, "schema": {"type": "string"}, "description": "`no-store`: it changes."}
LOCATION: Schema = {"required": True, "schema": {"type": "string"}, "description": "Path of the job."}
LINK: Schema = {
    "schema": {"type": "string"},
    "description": 'The next page, as `<PATH>; rel="next"` (RFC 8288); absent after the last one.',
}


def _create_job(body: str, summary: str) -> Operation:
    return Operation(
        id="create_job" if body == JOB_PARTS else "create_job_json",
        tag="Jobs",
        summary=summary,
        description="Accepts many images at once, and responds before they are classified. `Prefer: respond-async` "
        "turns a request to classify images into a job.",
        response=job_schemas.Job,
        status=HTTPStatus.ACCEPTED,
        body=body,
        parameters=(IDEMPOTENCY_KEY,),
        own_headers={"Location": LOCATION, "Retry-After": RETRY_AFTER, CACHE_CONTROL: NO_STORE},
        errors=(
            *(errors.BadRequestError, errors.ArchiveError, errors.IdempotencyKeyReusedError, errors.ContentTypeError),
            *(errors.BodyTimeoutError, errors.BodyTooLargeError, errors.TooManyImagesError, errors.OverloadedError),
            *(errors.ModelNotFoundError, errors.VersionNotFoundError),
            *(errors.TooManyJobsError, errors.JobsFullError, errors.JobsUnavailableError),
        ),
    )


OPERATIONS: Mapping[str, Operation] = {
    **{
        f"POST /api/v1{target}/predict{path_suffix}": _predict(target, path_suffix)
        for path_suffix in ("", JSON_SUFFIX)
        for target in _TARGETS
    },
    "POST /api/v1/jobs": _create_job(JOB_PARTS, "Create a job with files"),
    "POST /api/v1/jobs/json": _create_job(JOB_FIELDS, "Create a job in JSON"),
    "GET /api/v1/jobs/{job_id}": Operation(
        id="read_job",
        tag="Jobs",
        summary="Read a job",
        description="Returns the status and progress of a job.",
        response=job_schemas.Job,
        own_headers={"Retry-After": RETRY_AFTER, CACHE_CONTROL: NO_STORE},
        errors=(errors.JobNotFoundError, errors.JobsUnavailableError, errors.OverloadedError),
    ),
    "DELETE /api/v1/jobs/{job_id}": Operation(
        id="cancel_job",
        tag="Jobs",
        summary="Cancel a job",
        description="Cancels an unfinished job. Its results so far stay until it expires.",
        response=job_schemas.Job,
        own_headers={CACHE_CONTROL: NO_STORE},
        errors=(errors.JobNotFoundError, errors.JobsUnavailableError, errors.OverloadedError),
    ),
    "GET /api/v1/jobs/{job_id}/results": Operation(
        id="read_job_results",
        tag="Jobs",
        summary="Read the results of a job",
        description="Returns the results that are available, in the order of the images, one page at a time. The "
        "header `Link` has the next page, if there is one. A line of JSON is an object of a batch's "
        "`results`, with the `index` and the `name` of the image.",
        response=None,
        media_types=("application/x-ndjson", "text/csv"),
        parameters=RESULT_PARAMETERS,
        own_headers={"Link": LINK, CACHE_CONTROL: NO_STORE},
        errors=(
            *(errors.BadRequestError, errors.JobNotFoundError, errors.JobsUnavailableError, errors.OverloadedError),
        ),
    ),
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
