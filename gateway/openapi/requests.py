"""Parameters and bodies of requests in the OpenAPI document.

Each route has one form of body here, and each input one name. The parser accepts more: many generators of clients make
a function for the first form only, or one that sends none of them correctly, and an argument for each name.
"""

from collections.abc import Mapping

from gateway.http.headers import REQUEST_ID, REQUEST_TIMEOUT, WELL_FORMED_ID
from gateway.http.request_parser import ALL_OPTION_NAMES, BATCH_FIELD, EXPLAIN_VALUES, LIST_SHAPE, SHAPE_OPTION
from gateway.openapi.schemas import COMPONENT, Schema
from gateway.settings import Settings

MULTIPART, JSON = "multipart/form-data", "application/json"
OPTIONS = ALL_OPTION_NAMES

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
            "numbers. None is added by default.",
        },
        SHAPE_OPTION: {
            "$ref": COMPONENT.format(model="Shape"),
            "description": f"`{LIST_SHAPE}` returns the response of a batch, also for one image.",
        },
    }


def headers(settings: Settings) -> dict[str, Schema]:
    """Return the schemas of the request headers that every route uses."""
    return {
        REQUEST_ID: {
            "type": "string",
            "description": "Your identifier for this request, used in logs and in the response if it matches "
            f"`{WELL_FORMED_ID.pattern}`.",
        },
        REQUEST_TIMEOUT: {
            "type": "number",
            "exclusiveMinimum": 0,
            "description": f"How long you are willing to wait, in seconds (capped at {settings.request_deadline_s:g}).",
        },
    }


def parameters(settings: Settings) -> dict[str, Schema]:
    """Return every parameter, by name."""
    return (
        {name: _parameter("path", name, schema) | {"required": True} for name, schema in PATH_PARAMETERS.items()}
        | {name: _parameter("query", name, schema) for name, schema in options(settings).items()}
        | {name: _parameter("header", name, schema) for name, schema in headers(settings).items()}
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
        "ImageParts": _object({"image": files}, "One or several files.") | {"required": ["image"]},
        "ImageFields": _object(IMAGE_FIELDS, "An image: either `image` or `url`."),
        "PredictFields": _object(
            {**IMAGE_FIELDS, BATCH_FIELD: instances, **options(settings)},
            f"Either one image, as `image` or `url`, or several as `{BATCH_FIELD}`, and options.",
        ),
    }


def request_body(media_type: str, settings: Settings, examples: Schema) -> Schema:
    """Return the body of a request.

    Args:
        media_type: Its form.
        settings: For the limits.
        examples: OpenAPI examples of JSON bodies.
    """
    limits = (
        f"Each image has at most {settings.max_pixels} pixels, and the body at most {settings.max_body_bytes} bytes."
    )
    if media_type == JSON:
        return {
            "required": True,
            "description": f"One image, or up to {settings.max_images} as `{BATCH_FIELD}`. {limits}",
            "content": {JSON: {"schema": {"$ref": COMPONENT.format(model="PredictFields")}, "examples": examples}},
        }
    return {
        "required": True,
        "description": f"One file, or up to {settings.max_images} as parts of the same name. {limits} The route also "
        "accepts the bytes of an image as `image/*` or `application/octet-stream`, and JSON.",
        "content": {MULTIPART: {"schema": {"$ref": COMPONENT.format(model="ImageParts")}}},
    }


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
