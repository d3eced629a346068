"""Parameters and bodies of requests in the OpenAPI document, with the names from `gateway.http.request_parser`."""

from collections.abc import Iterable, Mapping

from gateway.http.headers import REQUEST_ID, REQUEST_TIMEOUT, WELL_FORMED_ID
from gateway.http.request_parser import BASE64_FIELDS, BATCH_FIELD, FILE_FIELDS, FORM_BASE64_FIELDS, URL_FIELDS
from gateway.openapi.schemas import COMPONENT, Schema
from gateway.settings import Settings

# OpenAPI 3.1 suggests an empty schema for raw bytes, but tools such as Swagger UI only offer a file for that of 3.0.
BINARY: Schema = {"type": "string", "format": "binary"}

# Empty by default because Swagger UI would fill in an invented URL.
URL: Schema = {
    "type": "string",
    "format": "uri",
    "default": "",
    "description": "URL of the image: `http` or `https`, on a public host.",
}
BASE64: Schema = {
    "type": "string",
    "contentEncoding": "base64",
    "description": "The image in base64. The URL-safe alphabet, missing padding and a `data:` prefix are accepted.",
}

PATH_PARAMETERS: Mapping[str, Schema] = {
    "model": {"type": "string", "description": "Name of the model."},
    "version": {"type": "integer", "minimum": 0, "description": "Number of the version."},
    "label": {"type": "string", "description": "Label of the version, as assigned in `models.config`."},
}


def options(settings: Settings) -> dict[str, Schema]:
    """Return the schemas of the options, which may be in the query, the form or the JSON object."""
    return {
        "top_k": {
            "type": "integer",
            "minimum": 1,
            "default": settings.default_top_k,
            "description": "Number of classes to return. Larger values return all.",
        },
        "threshold": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "description": "Lowest score of the classes to return in `predictions`, or in `classes` for a multi-label "
            "model, where it replaces the thresholds of the model's card.",
        },
        "explain": {
            "enum": [False, True, "raw"],
            "default": False,
            "description": "Adds a heat map of where the model looked for the best class: `true` as an image, `raw` as "
            "numbers.",
        },
        "as": {
            "type": "string",
            "enum": ["list"],
            "description": "`list` returns the response of a batch, also for one image.",
        },
    }


def headers(settings: Settings) -> dict[str, Schema]:
    """Return the schemas of the request headers that are used."""
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
        | {name: _parameter("query", name, _without_default(schema)) for name, schema in options(settings).items()}
        | {name: _parameter("header", name, schema) for name, schema in headers(settings).items()}
    )


def request_schemas(settings: Settings) -> dict[str, Schema]:
    """Return the schemas of request bodies that have fields, by name."""
    texts = {**_fields(URL_FIELDS, URL), **_fields(BASE64_FIELDS, BASE64)}
    first, *others = FILE_FIELDS
    parts = {
        first: {"type": "array", "items": BINARY, "description": "The image as a file. Several parts form a batch."},
        **_fields(others, BINARY | {"description": f"An alias of `{first}`."}),
        **_fields(URL_FIELDS, URL),
    }
    form = {**_fields(URL_FIELDS, URL), **_fields(FORM_BASE64_FIELDS, BASE64)}
    batch = _instances(settings, texts)
    return {
        "ImageFields": _object({**texts, **batch, **options(settings)}, one_of=[*texts, *batch]),
        "ImageForm": _object({**form, **_allow_empty(options(settings))}, one_of=form),
        "ImageParts": _object({**parts, **_allow_empty(options(settings))}, one_of=parts),
    }


def request_body(settings: Settings, examples: Schema) -> Schema:
    """Return the body of a prediction request in all its forms.

    Args:
        settings: For the limits.
        examples: OpenAPI examples of JSON bodies.
    """
    return {
        "required": True,
        "description": f"One image, or up to {settings.max_images} as `{BATCH_FIELD}` in the JSON object or as form "
        f"parts of the same name. Each image has at most {settings.max_pixels} pixels, and the body has at most "
        f"{settings.max_body_bytes} bytes.",
        "content": {
            "application/json": _schema("ImageFields") | {"examples": examples},
            "multipart/form-data": _schema("ImageParts"),
            "image/*": {"schema": BINARY},
            "application/octet-stream": {"schema": BINARY},
            "application/x-www-form-urlencoded": _schema("ImageForm"),
        },
    }


def _schema(name: str) -> Schema:
    return {"schema": {"$ref": COMPONENT.format(model=name)}}


def _fields(names: Iterable[str], schema: Schema) -> dict[str, Schema]:
    return dict.fromkeys(names, schema)


def _allow_empty(fields: Mapping[str, Schema]) -> dict[str, Schema]:
    """Let form fields be empty, and make that the default: Swagger UI would fill in invented values."""
    return {
        name: {"anyOf": [schema, {"const": ""}], "default": "", "description": schema["description"]}
        for name, schema in fields.items()
    }


def _instances(settings: Settings, fields: Mapping[str, Schema]) -> dict[str, Schema]:
    items = _object(fields, one_of=fields)
    schema = {"type": "array", "minItems": 1, "maxItems": settings.max_images, "items": items}
    return {BATCH_FIELD: schema | {"description": "A batch: several images, with results in the same order."}}


def _object(properties: Mapping[str, Schema], *, one_of: Iterable[str]) -> Schema:
    return {
        "type": "object",
        "description": f"Exactly one of {', '.join(f'`{name}`' for name in one_of)}. Empty fields are ignored.",
        "properties": dict(properties),
        "additionalProperties": False,
        "anyOf": [{"required": [name]} for name in one_of],
    }


def _without_default(schema: Schema) -> Schema:
    """Remove the default: a parameter that is not in the query may still be in the body."""
    return {key: value for key, value in schema.items() if key != "default"}


def _parameter(location: str, name: str, schema: Schema) -> Schema:
    value_schema = dict(schema)
    return {"name": name, "in": location, "description": value_schema.pop("description"), "schema": value_schema}
