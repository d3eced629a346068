"""Parameters and bodies of requests in the OpenAPI document.

Each route has one form of body here, and each input one name. The parser accepts more: many generators of clients make
a function for the first form only, or one that sends none of them correctly, and an argument for each name.
"""

from collections.abc import Mapping

from gateway.http.headers import IDEMPOTENCY_KEY, REQUEST_ID, REQUEST_TIMEOUT, WELL_FORMED_ID
from gateway.http.request_parser import ALL_OPTION_NAMES, BATCH_FIELD, EXPLAIN_VALUES, LIST_SHAPE, SHAPE_OPTION
from gateway.jobs.options import IDEMPOTENCY_KEYS, SECRET
from gateway.jobs.schemas import DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET
from gateway.openapi.schemas import COMPONENT, Schema
from gateway.settings import Settings

MULTIPART, JSON = "multipart/form-data", "application/json"
OPTIONS = ALL_OPTION_NAMES
PREDICT_PARTS, PREDICT_FIELDS, JOB_PARTS, JOB_FIELDS = "ImageParts", "PredictFields", "JobParts", "JobFields"
"""Names of the schemas of bodies."""

# OpenAPI 3.1 suggests an empty schema for raw bytes, but most tools only offer a file for that of 3.0.
BINARY: Schema = {"type": "string", "format": "binary"}
IMAGE_FIELDS: Mapping[str, Schema] = {
    "image": {
        "type": "string",
        "minLength": 1,
        "description": "The image in base64. The URL-safe alphabet, missing padding and a `data:` prefix are accepted.",
    },
    "url": {
        "type": "string",
        "format": "uri",
        "minLength": 1,
        "description": "URL of the image: `http` or `https`, on a public host.",
    },
}
PATH_PARAMETERS: Mapping[str, Schema] = {
    "model": {"type": "string", "description": "Name of the model."},
    "version": {"type": "integer", "minimum": 0, "description": "Number of the version."},
    "label": {"type": "string", "description": "Label of the version, as assigned in `models.config`."},
}
JOB_ID: Schema = {"type": "string", "description": "Id of the job."}
JOB_QUERY: Mapping[str, Schema] = {
    "offset": {
        "type": "integer",
        "minimum": 0,
        "maximum": MAX_OFFSET,
        "description": "Index of the first result, 0 by default.",
    },
    "limit": {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_LIMIT,
        "description": f"Maximum number of results in the page, {DEFAULT_LIMIT} by default.",
    },
    "format": {
        "$ref": COMPONENT.format(model="ResultFormat"),
        "description": "Format of the results, `jsonl` by default: a JSON object in each line.",
    },
}
RESULT_PARAMETERS = tuple(JOB_QUERY)
JOB_HEADERS: Mapping[str, Schema] = {
    IDEMPOTENCY_KEY: {
        "type": "string",
        "pattern": f"^{IDEMPOTENCY_KEYS.pattern}$",
        "description": "Your name for this job. A repeated request with the same name returns the same job.",
    }
}
WEBHOOK: Mapping[str, Schema] = {
    "webhook_url": {"type": "string", "format": "uri", "description": "URL to notify when the job has ended."},
    "webhook_secret": {
        "type": "string",
        "pattern": f"^{SECRET.pattern}$",
        "description": "`whsec_` and 24 to 64 bytes in base64, with which the notification is signed (Standard "
        "Webhooks).",
    },
}


def options(settings: Settings) -> dict[str, Schema]:
    """Return the schemas of the options, which may be in the query or the JSON object.

    Defaults are in the descriptions: clients would send them in the query, which takes precedence over the body.
    """
    return {
        "top_k": {
            "type": "integer",
            "minimum": 1,
            "description": f"Number of classes to return, {settings.default_top_k} by default. Larger values "
            "return all.",
        },
        "threshold": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "description": "Lowest score of the classes to return in `predictions`, or in `classes` for a multi-label "
            "model, where it replaces the thresholds of the model's card.",
        },
        "explain": {
            "$ref": COMPONENT.format(model="Explain"),
            "description": "Adds a heat map of where the model looked for the best class: `true` as an image, `raw` as "
            "numbers. By default there is none.",
        },
        SHAPE_OPTION: {
            "$ref": COMPONENT.format(model="Shape"),
            "description": f"`{LIST_SHAPE}` returns the response of a batch, also for one image.",
        },
    }


def headers(settings: Settings) -> dict[str, Schema]:
    """Return the schemas of the request headers that every route uses."""
    uploads = "" if settings.jobs == "off" else f", for the upload of a job at {settings.jobs_upload_deadline_s:g}"
    return {
        REQUEST_ID: {
            "type": "string",
            "description": "Your identifier for this request, used in logs and in the response if it matches "
            f"`{WELL_FORMED_ID.pattern}`.",
        },
        REQUEST_TIMEOUT: {
            "type": "number",
            "exclusiveMinimum": 0,
            "description": f"How long you are willing to wait, in seconds (capped at {settings.request_deadline_s:g}"
            f"{uploads}).",
        },
    }


def parameters(settings: Settings) -> dict[str, Schema]:
    """Return every parameter, by name."""
    return (
        {name: _parameter("path", name, schema) | {"required": True} for name, schema in PATH_PARAMETERS.items()}
        | {name: _parameter("query", name, schema) for name, schema in options(settings).items()}
        | {name: _parameter("header", name, schema) for name, schema in headers(settings).items()}
        | (_job_parameters() if settings.jobs != "off" else {})
    )


def _job_parameters() -> dict[str, Schema]:
    return (
        {"job_id": _parameter("path", "job_id", JOB_ID) | {"required": True}}
        | {name: _parameter("query", name, schema) for name, schema in JOB_QUERY.items()}
        | {name: _parameter("header", name, schema) for name, schema in JOB_HEADERS.items()}
    )


def request_schemas(settings: Settings) -> dict[str, Schema]:
    """Return the schemas of request bodies, by name."""
    instances: Schema = {
        "type": "array",
        "minItems": 1,
        "maxItems": settings.max_images,
        "items": {"$ref": COMPONENT.format(model="ImageFields")},
        "description": "A batch: several images, with results in the same order.",
    }
    files: Schema = {
        "type": "array",  # without its limits, of which openapi-generator makes Go that does not compile
        "items": BINARY,
        "description": "The image as a file. Several parts of this name are a batch.",
    }
    return {
        "Explain": {"type": "string", "enum": [*EXPLAIN_VALUES], "description": "How a prediction is explained."},
        "Shape": {"type": "string", "enum": [LIST_SHAPE], "description": "Shape of the response."},
        PREDICT_PARTS: _object({"image": files}, "One or several files.") | {"required": ["image"]},
        "ImageFields": _object(IMAGE_FIELDS, "An image: either `image` or `url`."),
        PREDICT_FIELDS: _object(
            {**IMAGE_FIELDS, BATCH_FIELD: instances, **options(settings)},
            f"Either one image, as `image` or `url`, or several as `{BATCH_FIELD}`, and options.",
        ),
        **(_job_schemas(settings) if settings.jobs != "off" else {}),
    }


def _job_schemas(settings: Settings) -> dict[str, Schema]:
    limits = {"minItems": 1, "maxItems": settings.jobs_max_images}
    urls: Schema = {"type": "array", **limits, "items": IMAGE_FIELDS["url"], "description": "URLs of the images."}
    instances: Schema = {
        "type": "array",
        **limits,
        "items": {"$ref": COMPONENT.format(model="ImageFields")},
        "description": "The images, each in base64 or as a URL.",
    }
    files: Schema = {"type": "array", "items": BINARY, "description": "The images as files."}
    archive: Schema = BINARY | {"description": "A ZIP archive of the images."}
    own_options = {name: schema for name, schema in options(settings).items() if name in {"top_k", "threshold"}}
    job_options = {**PATH_PARAMETERS, **own_options, **WEBHOOK}
    return {
        "ResultFormat": {"type": "string", "enum": ["jsonl", "csv"], "description": "Format of results."},
        JOB_PARTS: _object({"image": files, "archive": archive, **job_options}, "Either files or an archive."),
        JOB_FIELDS: _object(
            {"urls": urls, BATCH_FIELD: instances, **job_options}, f"Either `urls` or `{BATCH_FIELD}`."
        ),
    }


def request_body(schema_name: str, settings: Settings, examples: Schema) -> Schema:
    """Return the body of a request.

    Args:
        schema_name: Name of its schema.
        settings: For the limits.
        examples: OpenAPI examples of JSON bodies.
    """
    limits = (
        f"Each image has at most {settings.max_pixels} pixels, and the body at most {settings.max_body_bytes} bytes."
    )
    media_type, description = {
        PREDICT_FIELDS: (JSON, f"One image, or up to {settings.max_images} as `{BATCH_FIELD}`. {limits}"),
        PREDICT_PARTS: (
            MULTIPART,
            (
                f"One file, or up to {settings.max_images} as parts of the same name. {limits} The route also accepts "
                "the bytes of an image as `image/*` or `application/octet-stream`, and JSON."
            ),
        ),
        JOB_FIELDS: (JSON, f"Up to {settings.jobs_max_images} images."),
        JOB_PARTS: (
            MULTIPART,
            (
                f"Up to {settings.jobs_max_images} images. The route also accepts a ZIP archive as `application/zip`, "
                "and JSON."
            ),
        ),
    }[schema_name]
    content: Schema = {"schema": {"$ref": COMPONENT.format(model=schema_name)}}
    if examples and media_type == JSON:
        content["examples"] = examples
    return {"required": True, "description": description, "content": {media_type: content}}


def _object(properties: Mapping[str, Schema], description: str) -> Schema:
    return {
        "type": "object",
        "description": description,
        "properties": dict(properties),
        "additionalProperties": False,
        "minProperties": 1,
    }


def _parameter(location: str, name: str, schema: Schema) -> Schema:
    value_schema = dict(schema)
    return {"name": name, "in": location, "description": value_schema.pop("description"), "schema": value_schema}
