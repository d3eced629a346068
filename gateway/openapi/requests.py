"""Parameters and bodies of requests in the OpenAPI document, by the names that `gateway.http.request_parser` reads."""

from collections.abc import Iterable, Mapping

from gateway.http.headers import REQUEST_ID, REQUEST_TIMEOUT
from gateway.http.request_context import WELL_FORMED_ID
from gateway.http.request_parser import BASE64_FIELDS, BATCH_FIELD, FILE_FIELDS, FORM_BASE64_FIELDS, URL_FIELDS
from gateway.openapi.schemas import COMPONENT, Schema
from gateway.settings import Settings

# OpenAPI 3.1 would leave the schema of raw bytes empty; it is by 3.0's word that tools, Swagger UI too, offer a file.
BINARY: Schema = {"type": "string", "format": "binary"}

# Of a form in which nothing is filled in; Swagger UI would fill in a URL of its own.
URL: Schema = {
    "type": "string",
    "format": "uri",
    "default": "",
    "description": "Where the image is: `http` or `https`, on a public host.",
}
BASE64: Schema = {
    "type": "string",
    "contentEncoding": "base64",
    "description": "The image; URL-safe alphabet, missing padding and a `data:` prefix are fine.",
}

PATH_PARAMETERS: Mapping[str, Schema] = {
    "model": {"type": "string", "description": "Name of the model."},
    "version": {"type": "integer", "minimum": 0, "description": "Number of its version."},
    "label": {"type": "string", "description": "Label of its version, as `models.config` gives them."},
}


def options(settings: Settings) -> dict[str, Schema]:
    """Describe the options that may stand in the query, the form or the JSON object."""
    return {
        "top_k": {
            "type": "integer",
            "minimum": 1,
            "default": settings.default_top_k,
            "description": "How many classes to rank; more than there are gives all.",
        },
        "threshold": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "description": "From which score on a class is told: in `predictions`; of a multi-label model in "
            "`classes`, in place of the card's own.",
        },
        "explain": {
            "enum": [False, True, "raw"],
            "default": False,
            "description": "Whether to add where the model looked for the best class: `true` for a picture, `raw` for "
            "numbers.",
        },
    }


def headers(settings: Settings) -> dict[str, Schema]:
    """Describe the request headers that count."""
    return {
        REQUEST_ID: {
            "type": "string",
            "description": "A name for this request, which logs and answer take over where it is well-formed: "
            f"`{WELL_FORMED_ID.pattern}`.",
        },
        REQUEST_TIMEOUT: {
            "type": "number",
            "exclusiveMinimum": 0,
            "description": f"Seconds that the caller waits; at most {settings.request_deadline_s:g} count.",
        },
    }


def parameters(settings: Settings) -> dict[str, Schema]:
    """Write every parameter, by name."""
    return (
        {name: _parameter("path", name, schema) | {"required": True} for name, schema in PATH_PARAMETERS.items()}
        | {name: _parameter("query", name, _without_default(schema)) for name, schema in options(settings).items()}
        | {name: _parameter("header", name, schema) for name, schema in headers(settings).items()}
    )


def request_schemas(settings: Settings) -> dict[str, Schema]:
    """Write the schemas of the bodies that name or hold an image among other fields, by name."""
    texts = {**_fields(URL_FIELDS, URL), **_fields(BASE64_FIELDS, BASE64)}
    first, *others = FILE_FIELDS
    parts = {
        first: {"type": "array", "items": BINARY, "description": "The image as a file; several parts are a batch."},
        **_fields(others, BINARY | {"description": f"The same as `{first}`."}),
        **_fields(URL_FIELDS, URL),
    }
    form = {**_fields(URL_FIELDS, URL), **_fields(FORM_BASE64_FIELDS, BASE64)}
    batch = _instances(settings, texts)
    return {
        "ImageFields": _object({**texts, **batch, **options(settings)}, one_of=[*texts, *batch]),
        "ImageForm": _object({**form, **_left_empty(options(settings))}, one_of=form),
        "ImageParts": _object({**parts, **_left_empty(options(settings))}, one_of=parts),
    }


def body(settings: Settings, examples: Schema) -> Schema:
    """Write the body of a question in all its forms.

    Args:
        settings: Tell the limits.
        examples: JSON bodies, as OpenAPI writes examples.
    """
    return {
        "required": True,
        "description": f"One image, or up to {settings.max_images} as `{BATCH_FIELD}` of the JSON object or as parts "
        f"of the same name; {settings.max_pixels} pixels each and {settings.max_body_bytes} bytes in all at most.",
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


def _left_empty(fields: Mapping[str, Schema]) -> dict[str, Schema]:
    """Let fields of a form be empty, and be so where nothing is filled in: Swagger UI would make up a value."""
    return {
        name: {"anyOf": [schema, {"const": ""}], "default": "", "description": schema["description"]}
        for name, schema in fields.items()
    }


def _instances(settings: Settings, fields: Mapping[str, Schema]) -> dict[str, Schema]:
    items = _object(fields, one_of=fields)
    schema = {"type": "array", "minItems": 1, "maxItems": settings.max_images, "items": items}
    return {BATCH_FIELD: schema | {"description": "A batch: several images, answered in order."}}


def _object(properties: Mapping[str, Schema], *, one_of: Iterable[str]) -> Schema:
    return {
        "type": "object",
        "description": f"Exactly one of {', '.join(f'`{name}`' for name in one_of)}; empty ones do not count.",
        "properties": dict(properties),
        "additionalProperties": False,
        "anyOf": [{"required": [name]} for name in one_of],
    }


def _without_default(schema: Schema) -> Schema:
    """Leave out a default that would not hold: what the query does not say, the body still may."""
    return {key: value for key, value in schema.items() if key != "default"}


def _parameter(place: str, name: str, schema: Schema) -> Schema:
    described = dict(schema)
    return {"name": name, "in": place, "description": described.pop("description"), "schema": described}
