"""A request, multipart, form, JSON or raw, to image sources and the options that go with them."""

import base64
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Request
from werkzeug.datastructures import MultiDict

from gateway.errors import BadRequestError, ContentTypeError, GatewayError, TooManyImagesError
from gateway.http.body_limits import FORM, MULTIPART, JsonLimits, read_body, read_json_object
from gateway.prediction import options
from gateway.prediction.image_loader import ImageSource, Link, Upload
from gateway.prediction.options import Options, read_options, refuse_unknown

FILE_FIELDS = ("image", "file")
URL_FIELDS = ("url", "image_url")
BASE64_FIELDS = ("image", "image_base64")
BATCH_FIELD = "instances"
IMAGE_FIELDS = tuple(dict.fromkeys((*URL_FIELDS, *BASE64_FIELDS)))
FORM_BASE64_FIELDS = tuple(dict.fromkeys((*FILE_FIELDS, *BASE64_FIELDS)))  # a part without a file name is text
FORM_FIELDS = tuple(dict.fromkeys((*FILE_FIELDS, *IMAGE_FIELDS, *options.NAMES)))
JSON_FIELDS = (*IMAGE_FIELDS, BATCH_FIELD, *options.NAMES)
ACCEPTED = (
    "multipart/form-data with a part `image`, application/json with `url`, `image` (base64) or `instances` (several), "
    "or the bytes themselves as image/* or application/octet-stream"
)
NOTHING_SENT = f"The request carries no image. Send {ACCEPTED}."

DATA_URI = re.compile(r"data:[^,]*;base64,", re.IGNORECASE)  # RFC 2397
URL_SAFE = bytes.maketrans(b"-_", b"+/")  # RFC 4648 section 5
SPACE = string.whitespace.encode()
QUOTED = 100  # characters of what the caller wrote, in what he is told
NO_TEXT = "\N{REPLACEMENT CHARACTER}"  # what becomes of bytes in a form that are no UTF-8


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may hold.

    Attributes:
        max_images: Most images of a batch.
        json: How large a JSON body may become.
    """

    max_images: int
    json: JsonLimits


@dataclass(frozen=True, slots=True)
class Question:
    """What a request asks.

    Attributes:
        sources: The images, at least one; where one of a batch cannot be understood, why.
        is_batch: Whether it is to be answered as a batch.
        options: What is to be answered about each image.
    """

    sources: Sequence[ImageSource | GatewayError]
    is_batch: bool
    options: Options


def parse(request: Request, *, default_top_k: int, limits: Limits) -> Question:
    """Read the images and the options from a request.

    Options may stand in the query, the form or the JSON object; the query counts first. Parts of a form under the same
    name are a batch when there are several, `instances` of a JSON object always are.

    Raises:
        BadRequestError: no image, several that are no batch, or a field that is not known or cannot be understood.
        TooManyImagesError: a batch of more images than the limit.
        ContentTypeError: a body of a media type that carries no image.
        werkzeug.exceptions.RequestEntityTooLarge: a longer body than the limit.
    """
    query = _query(request)
    refuse_unknown(query, options.NAMES, "query parameter")
    fields: Mapping[str, Any] = {}
    sources: Sequence[ImageSource | GatewayError] = []
    is_batch = False
    media_type = request.mimetype
    if _is_json(request):
        fields = read_json_object(read_body(request), limits.json)
        refuse_unknown(fields, JSON_FIELDS, "member")
        is_batch = fields.get(BATCH_FIELD) is not None
        sources = _instances(fields, limits.max_images) if is_batch else _one(_field_sources(fields))
    elif media_type in {FORM, MULTIPART}:
        read_body(request, cache=True)  # which refuses what is too long; the form is then parsed from it
        fields = request.form
        names = [*request.form, *request.files]
        if None in names:
            raise BadRequestError("A part of the form has no name.")
        refuse_unknown(names, FORM_FIELDS, "field")
        sources = _of_one_name(request, limits.max_images)
        is_batch = len(sources) > 1
    elif media_type.startswith("image/") or media_type == "application/octet-stream":
        data = read_body(request)
        sources = [Upload(data)] if data else []
    elif read_body(request):
        raise ContentTypeError(_not_accepted(media_type))
    if not sources:
        raise BadRequestError(NOTHING_SENT)
    if not is_batch and isinstance(sources[0], GatewayError):
        raise sources[0]
    return Question(sources, is_batch, read_options(query, fields, default_top_k=default_top_k))


def _not_accepted(media_type: str) -> str:
    named = f"The media type {media_type[:QUOTED]!r} is not accepted" if media_type else "The body has no Content-Type"
    return f"{named}. Send {ACCEPTED}."


def _query(request: Request) -> Mapping[str, str]:
    try:
        return request.args
    except UnicodeDecodeError as error:
        raise BadRequestError("The query is not UTF-8. Write bytes beyond ASCII as %XX.") from error


def _is_json(request: Request) -> bool:
    """Tell JSON also where it comes under the name that curl and urllib give to every body by themselves."""
    if request.mimetype == FORM:
        return read_body(request, cache=True).lstrip().startswith(b"{")  # it is this that `form` then parses
    return request.mimetype == "application/json" or request.mimetype.endswith("+json")


def _one(sources: Iterator[tuple[str, ImageSource | GatewayError]]) -> list[ImageSource | GatewayError]:
    """Give the one image of a JSON object, or none."""
    found = list(sources)
    if len(found) > 1:
        named = " and ".join(repr(name) for name, _ in found)
        raise BadRequestError(f"There are {len(found)} images, in {named}; expected one. Several go into `instances`.")
    return [source for _, source in found]


def _instances(fields: Mapping[str, Any], max_images: int) -> list[ImageSource | GatewayError]:
    items = fields[BATCH_FIELD]
    if not isinstance(items, list) or not items:
        raise BadRequestError('instances must be a list of at least one object, such as {"url": "https://…"}.')
    if any(fields.get(name) for name in IMAGE_FIELDS):
        raise BadRequestError("Images stand either in `instances` or beside it, not both.")
    _check_number(len(items), max_images)
    return [_instance(item) for item in items]


def _instance(item: object) -> ImageSource | GatewayError:
    if not isinstance(item, dict):
        return BadRequestError('Each of `instances` must be an object, such as {"url": "https://…"}.')
    try:
        refuse_unknown(item, IMAGE_FIELDS, "member")
        found = _one(_field_sources(item))
    except BadRequestError as error:
        return error
    return found[0] if found else BadRequestError(f"There is no image. Send one of {', '.join(IMAGE_FIELDS)}.")


def _of_one_name(request: Request, max_images: int) -> list[ImageSource | GatewayError]:
    """Give the images of a form; several must be parts of the same name, which alone keeps them in order."""
    found = [*_file_sources(request), *_field_sources(request.form, FORM_BASE64_FIELDS)]
    if len({name for name, _ in found}) > 1:
        raise BadRequestError(
            f"The request carries {len(found)} images in parts of different names or kinds. Send one image, or several "
            "as parts of the same name, which keeps them in order."
        )
    _check_number(len(found), max_images)
    return [source for _, source in found]


def _check_number(number: int, max_images: int) -> None:
    if number > max_images:
        raise TooManyImagesError(
            f"The request carries {number} images; at most {max_images} are accepted.", max_images=max_images
        )


def _file_sources(request: Request) -> Iterator[tuple[str, ImageSource | GatewayError]]:
    for name in FILE_FIELDS:
        for part in request.files.getlist(name):
            data = part.stream.read()
            if data:
                yield f"file {name}", Upload(data)
            elif part.filename:  # a browser sends an empty part without a name for a field that was left alone
                yield f"file {name}", BadRequestError(f"The file {part.filename[:QUOTED]!r} is empty.")


def _field_sources(
    fields: Mapping[str, Any], base64_fields: Sequence[str] = BASE64_FIELDS
) -> Iterator[tuple[str, ImageSource | GatewayError]]:
    for name in URL_FIELDS:
        for text in _texts(fields, name):
            yield name, Link(text.strip())
    for name in base64_fields:
        for text in _texts(fields, name):
            yield name, _decoded(text, name)


def _texts(fields: Mapping[str, Any], name: str) -> Iterator[str]:
    """Give what a field holds, several values where a form repeats it; what is empty counts as absent."""
    values = fields.getlist(name) if isinstance(fields, MultiDict) else [fields.get(name)]
    for value in values:
        if value is not None and not isinstance(value, str):
            raise BadRequestError(f"The field {name!r} must be a string, not {type(value).__name__}.")
        if value:
            yield value


def _decoded(text: str, name: str) -> ImageSource | GatewayError:
    """Decode base64, plain or URL-safe, with or without padding, line breaks and data URI prefix."""
    prefix = DATA_URI.match(text)
    try:
        digits = text[prefix.end() if prefix else 0 :].encode("ascii").translate(URL_SAFE, SPACE).rstrip(b"=")
        return Upload(base64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True))
    except ValueError:
        hint = " The bytes of a file need a part with a `filename`." if NO_TEXT in text else ""
        return BadRequestError(f"The field {name!r} is not valid base64.{hint}")
