"""A request, multipart, form, JSON or raw, to one image source and the options that go with it."""

import base64
import binascii
import json
import re
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import RequestEntityTooLarge

from gateway.classify import ImageSource, Link, Upload
from gateway.errors import BadRequestError, ContentTypeError

FILE_FIELDS = ("image", "file")
URL_FIELDS = ("url", "image_url")
BASE64_FIELDS = ("image", "image_base64")
ACCEPTED = (
    "multipart/form-data with a part `image`, application/json with `url` or `image` (base64), "
    "or the bytes themselves as image/* or application/octet-stream"
)
NOTHING_SENT = f"The request carries no image. Send {ACCEPTED}."

DATA_URI = re.compile(r"data:[^,]*;base64,", re.IGNORECASE)  # RFC 2397
URL_SAFE = str.maketrans("-_", "+/")  # RFC 4648 section 5


@dataclass(frozen=True, slots=True)
class Question:
    """What a request asks.

    Attributes:
        source: The image.
        top_k: How many classes to rank, at least 1; None where the request does not say.
    """

    source: ImageSource
    top_k: int | None


def parse(request: Request) -> Question:
    """Read one image source and the options from a request.

    Options may stand in the query, the form or the JSON object; the query counts first.

    Raises:
        BadRequestError: no image, more than one, or a field that cannot be understood.
        ContentTypeError: a body of a media type that carries no image.
        werkzeug.exceptions.RequestEntityTooLarge: a longer body than the limit.
    """
    fields: Mapping[str, Any] = {}
    media_type = request.mimetype
    if media_type == "application/json" or media_type.endswith("+json"):
        fields = _json_object(_body(request))
        sources = list(_field_sources(fields))
    elif media_type in {"multipart/form-data", "application/x-www-form-urlencoded"}:
        fields = _form(request)
        sources = [*_file_sources(request), *_field_sources(fields)]
    elif media_type.startswith("image/") or media_type == "application/octet-stream":
        data = _body(request)
        sources = [Upload(data)] if data else []
    elif _body(request):
        named = f"The media type {media_type!r} is not accepted" if media_type else "The body has no Content-Type"
        raise ContentTypeError(f"{named}. Send {ACCEPTED}.")
    else:
        sources = []
    return Question(_only(sources), _top_k(request.args, fields))


def _body(request: Request, *, cache: bool = False) -> bytes:
    """Read the whole body; werkzeug silently cuts one that comes without a length off at the limit."""
    data = request.get_data(cache=cache)
    if request.content_length is None and len(data) == request.max_content_length:
        raise RequestEntityTooLarge
    return data


def _form(request: Request) -> Mapping[str, Any]:
    if request.mimetype == "application/x-www-form-urlencoded":
        _body(request, cache=True)  # it is this that `form` then parses
    return request.form


def _only(sources: list[ImageSource]) -> ImageSource:
    if not sources:
        raise BadRequestError(NOTHING_SENT)
    if len(sources) > 1:
        raise BadRequestError(f"The request carries {len(sources)} images; expected exactly one.")
    return sources[0]


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BadRequestError(f"The body is not valid JSON: {reason}.") from error
    if not isinstance(document, dict):
        raise BadRequestError('The JSON body must be an object, such as {"url": "https://…"}.')
    return document


def _file_sources(request: Request) -> Iterator[ImageSource]:
    for name in FILE_FIELDS:
        for part in request.files.getlist(name):
            data = part.stream.read()
            if data:
                yield Upload(data)
            elif part.filename:  # a browser sends an empty part without a name for a field that was left alone
                raise BadRequestError(f"The file {part.filename!r} is empty.")


def _field_sources(fields: Mapping[str, Any]) -> Iterator[ImageSource]:
    for name in URL_FIELDS:
        for text in _texts(fields, name):
            yield Link(text.strip())
    for name in BASE64_FIELDS:
        for text in _texts(fields, name):
            yield Upload(_decoded(text, name))


def _texts(fields: Mapping[str, Any], name: str) -> Iterator[str]:
    """Give what a field holds, several values where a form repeats it; what is empty counts as absent."""
    values = fields.getlist(name) if isinstance(fields, MultiDict) else [fields.get(name)]
    for value in values:
        if value is not None and not isinstance(value, str):
            raise BadRequestError(f"The field {name!r} must be a string, not {type(value).__name__}.")
        if value:
            yield value


def _decoded(text: str, name: str) -> bytes:
    """Decode base64, plain or URL-safe, with or without padding, line breaks and data URI prefix."""
    prefix = DATA_URI.match(text)
    digits = "".join(text[prefix.end() if prefix else 0 :].split()).rstrip("=").translate(URL_SAFE)
    try:
        return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequestError(f"The field {name!r} is not valid base64.") from error


def _top_k(query: Mapping[str, Any], fields: Mapping[str, Any]) -> int | None:
    value = query.get("top_k", fields.get("top_k"))
    if value is None or value == "":
        return None
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BadRequestError(f"top_k must be a whole number of at least 1, not {reprlib.repr(value)}.")
    return value
