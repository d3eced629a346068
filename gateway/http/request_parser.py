"""Parse a request (multipart, form, JSON or raw bytes) into a `PredictionRequest`."""

import codecs
import difflib
import re
import reprlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Request
from werkzeug.datastructures import MultiDict

from gateway.deadline import Deadline, Timings
from gateway.errors import BadRequestError, ContentTypeError, GatewayError, TooManyImagesError
from gateway.fetching.destinations import MAX_URL_LENGTH
from gateway.http.bodies import FORM, MULTIPART, BodyRequest, Files, Form, Name, parse_multipart
from gateway.http.json_objects import JsonLimits, parse_json_object
from gateway.http.long_text import LongText, decode_base64
from gateway.http.url_encoded import parse_url_encoded
from gateway.models.registry import ModelTarget
from gateway.prediction.image_loader import ImageBytes, ImageSource, ImageUrl
from gateway.prediction.predictor import Explain, PredictionOptions, PredictionRequest

FILE_FIELDS = ("image", "file")
URL_FIELDS = ("url", "image_url")
BASE64_FIELDS = ("image", "image_base64")
BATCH_FIELD = "instances"
OPTION_NAMES = ("top_k", "threshold", "explain")
IMAGE_FIELDS = tuple(dict.fromkeys((*URL_FIELDS, *BASE64_FIELDS)))
FORM_BASE64_FIELDS = tuple(dict.fromkeys((*FILE_FIELDS, *BASE64_FIELDS)))  # a part without a file name is text
FORM_FIELDS = tuple(dict.fromkeys((*FILE_FIELDS, *IMAGE_FIELDS, *OPTION_NAMES)))
JSON_FIELDS = (*IMAGE_FIELDS, BATCH_FIELD, *OPTION_NAMES)
ACCEPTED = (
    "multipart/form-data with a part `image`, application/json with `url`, `image` (base64) or `instances` (several), "
    "or the bytes themselves as image/* or application/octet-stream"
)
NO_IMAGE = f"The request carries no image. Send {ACCEPTED}."

INTEGER = re.compile(r"[0-9]{1,9}")
DECIMAL = re.compile(r"(?:[0-9]{1,20}(?:\.[0-9]{1,100})?|\.[0-9]{1,100})(?:[eE]-?[0-9]{1,3})?")
EXPLAIN_VALUES: Mapping[object, Explain | None] = {"true": "image", "raw": "raw", "false": None}
"""Accepted values of `explain`."""
START_OF_OBJECT = re.compile(rb"\s*+\{")
JSON_TYPES = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    list: "an array",
    dict: "an object",
    LongText: "a long text",
}
MAX_SIMILAR_LENGTH = 32
"""Limit on names that are compared with the accepted ones, which takes time in proportion to the product of lengths."""
MAX_QUOTED = 100
"""Maximum number of characters of the request that a message repeats."""
MAX_URL_BYTES = 12 * MAX_URL_LENGTH
"""Bytes of the longest URL, however its characters are escaped: one above U+FFFF is `\\ud83d\\ude00` in JSON."""
FILE_HINT = " The bytes of a file need a part with a `filename`."
UNDECODABLE = "\N{REPLACEMENT CHARACTER}"  # replaces bytes of a form that are not UTF-8


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Limits on one request.

    Attributes:
        max_images: Maximum number of images of a batch.
        json: Limits on a JSON body.
    """

    max_images: int
    json: JsonLimits


class RequestParser:
    """Parses requests within limits.

    Args:
        limits: Limits on one request.
        default_top_k: Number of classes that are returned if the request does not say.
    """

    def __init__(self, limits: RequestLimits, *, default_top_k: int) -> None:
        self._limits = limits
        self._default_top_k = default_top_k

    def parse(
        self,
        request: BodyRequest,
        target: ModelTarget,
        *,
        deadline: Deadline,
        request_id: str,
        timings: Timings,
    ) -> PredictionRequest:
        """Parse the images of a request and its options.

        Options are in the query, the form or the JSON object; the query takes precedence. Several parts of a form
        under the same name are a batch; `instances` of a JSON object always are.

        Args:
            request: The request.
            target: The model that its path names.
            deadline: Time limit on the whole request.
            request_id: Its id.
            timings: Collects how long each stage takes.

        Raises:
            BadRequestError: There is no image, several that are not a batch, or a field that is unknown or invalid.
            TooManyImagesError: A batch has more images than the limit.
            ContentTypeError: The body is of a media type that cannot carry an image.
            DeadlineExceededError: The deadline has passed before all base64 was decoded.
            werkzeug.exceptions.RequestEntityTooLarge: The body is larger than the limit.
        """
        query = _query(request)
        check_names(query, OPTION_NAMES, "query parameter")
        fields: Mapping[str, Any] = {}
        images: Sequence[ImageSource | GatewayError] = []
        is_batch = False
        media_type = request.mimetype
        body = request.get_data(cache=False)
        request.stream.close()  # it would keep the body until the request is answered
        if _is_json(media_type, body):
            fields = parse_json_object(body, self._limits.json)
            check_names(fields, JSON_FIELDS, "member")
            is_batch = fields.get(BATCH_FIELD) is not None
            images = self._instances(fields, deadline) if is_batch else _single_image(_field_images(fields, deadline))
        elif media_type in {FORM, MULTIPART}:
            fields, images = self._form(body, request, deadline)
            is_batch = len(images) > 1
        elif media_type.startswith("image/") or media_type == "application/octet-stream":
            images = [ImageBytes(body)] if body else []
        elif body:
            raise ContentTypeError(_not_accepted(media_type))
        if not images:
            raise BadRequestError(NO_IMAGE)
        if not is_batch and isinstance(images[0], GatewayError):
            raise images[0]
        options = parse_options(query, fields, default_top_k=self._default_top_k)
        return PredictionRequest(images, target, options, deadline, request_id, is_batch, timings, request.place)

    def _form(
        self, body: bytes, request: Request, deadline: Deadline
    ) -> tuple[Mapping[Any, Any], list[ImageSource | GatewayError]]:
        """Return the text fields of a form, and its images.

        Several images must be parts of the same name, which keeps them in order.
        """
        form, files = _parse_form(body, request)
        names = [*form, *files]
        if None in names:
            raise BadRequestError("A part of the form has no name.")
        check_names(names, FORM_FIELDS, "field")
        images = [*_file_images(files), *_field_images(form, deadline, FORM_BASE64_FIELDS)]
        if len({name for name, _ in images}) > 1:
            raise BadRequestError(
                f"The request carries {len(images)} images in parts of different names or kinds. Send one image, or "
                "several as parts of the same name, which keeps them in order."
            )
        self._check_count(len(images))
        return form, [image for _, image in images]

    def _instances(self, fields: Mapping[str, Any], deadline: Deadline) -> list[ImageSource | GatewayError]:
        items = fields[BATCH_FIELD]
        if not isinstance(items, list) or not items:
            raise BadRequestError('instances must be a list of at least one object, such as {"url": "https://…"}.')
        if any(fields.get(name) for name in IMAGE_FIELDS):
            raise BadRequestError("Send images either in `instances` or beside it, not both.")
        self._check_count(len(items))
        return [_instance(item, deadline) for item in items]

    def _check_count(self, count: int) -> None:
        limit = self._limits.max_images
        if count > limit:
            raise TooManyImagesError(
                f"The request carries {count} images; at most {limit} are accepted.", max_images=limit
            )


def check_names(names: Collection[Name], accepted: Collection[str], kind: str) -> None:
    """Refuse unknown names: a misspelt option would otherwise be ignored silently.

    Args:
        names: Names in the request.
        accepted: Names that are accepted.
        kind: What the names are of, for the message.

    Raises:
        BadRequestError: A name is not accepted.
    """
    for name in names:
        if name not in accepted:
            similar: list[str] = []
            if isinstance(name, str) and len(name) <= MAX_SIMILAR_LENGTH:
                similar = difflib.get_close_matches(name, accepted, n=1)
            hint = f"Did you mean {similar[0]!r}? " if similar else ""
            quoted = repr(name) if isinstance(name, LongText) else reprlib.repr(name)
            raise BadRequestError(f"There is no {kind} {quoted}. {hint}Accepted: {', '.join(accepted)}.")


def parse_options(query: Mapping[str, Any], fields: Mapping[str, Any], *, default_top_k: int) -> PredictionOptions:
    """Parse the options; an option of the query takes precedence, and an empty one or null counts as absent.

    Raises:
        BadRequestError: A value is not accepted.
    """
    values = {
        name: value
        for source in (fields, query)
        for name in OPTION_NAMES
        if (value := source.get(name)) is not None and value != ""
    }
    return PredictionOptions(
        top_k=_parse_top_k(values["top_k"]) if "top_k" in values else default_top_k,
        threshold=_parse_threshold(values["threshold"]) if "threshold" in values else None,
        explain=_parse_explain(values["explain"]) if "explain" in values else None,
    )


def _parse_top_k(value: object) -> int:
    if isinstance(value, str) and INTEGER.fullmatch(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BadRequestError(f"top_k must be a whole number of at least 1, not {_quote(value)}.")
    return value


def _parse_threshold(value: object) -> float:
    if isinstance(value, str) and DECIMAL.fullmatch(value):
        value = float(value)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise BadRequestError(f"threshold must be a number from 0 to 1, not {_quote(value)}.")
    return float(value)


def _parse_explain(value: object) -> Explain | None:
    if isinstance(value, bool):
        value = "true" if value else "false"
    if not isinstance(value, str) or value not in EXPLAIN_VALUES:
        raise BadRequestError(f"explain must be true, false or raw, not {_quote(value)}.")
    return EXPLAIN_VALUES[value]


def _quote(value: object) -> str:
    """Return a text or a number as it was sent, shortened, and the kind of any other JSON value."""
    is_quotable = isinstance(value, str | int | float) and not isinstance(value, bool)
    return reprlib.repr(value) if is_quotable else JSON_TYPES[type(value)]


def _not_accepted(media_type: str) -> str:
    subject = (
        f"The media type {media_type[:MAX_QUOTED]!r} is not accepted" if media_type else "The body has no Content-Type"
    )
    return f"{subject}. Send {ACCEPTED}."


def _query(request: Request) -> Mapping[str, str]:
    try:
        return request.args
    except UnicodeDecodeError as error:
        raise BadRequestError("The query is not UTF-8. Write bytes beyond ASCII as %XX.") from error


def _is_json(media_type: str, body: bytes) -> bool:
    """Return whether the body is JSON, also under the media type that curl and urllib use for any body by default."""
    if media_type == FORM:
        return START_OF_OBJECT.match(body) is not None
    return media_type == "application/json" or media_type.endswith("+json")


def _parse_form(body: bytes, request: Request) -> tuple[Form, Files]:
    if request.mimetype == FORM:
        return parse_url_encoded(body, max_fields=request.max_form_parts), MultiDict()
    boundary = request.mimetype_params.get("boundary", "")
    if not boundary or not boundary.isascii():
        return MultiDict(), MultiDict()
    return parse_multipart(body, boundary.encode(), max_parts=request.max_form_parts)


def _single_image(images: Iterator[tuple[str, ImageSource | GatewayError]]) -> list[ImageSource | GatewayError]:
    """Return the one image of a JSON object, or none."""
    named_images = list(images)
    if len(named_images) > 1:
        names = " and ".join(repr(name) for name, _ in named_images)
        raise BadRequestError(
            f"There are {len(named_images)} images, in {names}; expected one. Send several in `instances`."
        )
    return [image for _, image in named_images]


def _instance(item: object, deadline: Deadline) -> ImageSource | GatewayError:
    if not isinstance(item, dict):
        return BadRequestError('Each of `instances` must be an object, such as {"url": "https://…"}.')
    try:
        check_names(item, IMAGE_FIELDS, "member")
        images = _single_image(_field_images(item, deadline))
    except BadRequestError as error:
        return error
    return images[0] if images else BadRequestError(f"There is no image. Send one of {', '.join(IMAGE_FIELDS)}.")


def _file_images(files: Files) -> Iterator[tuple[str, ImageSource | GatewayError]]:
    for name in FILE_FIELDS:
        for part in files.getlist(name):
            if part.content:
                yield f"file {name}", ImageBytes(part.content)
            elif part.filename:  # a browser sends an empty part without a file name for a field that was left empty
                yield f"file {name}", BadRequestError(f"The file {part.filename[:MAX_QUOTED]!r} is empty.")


def _field_images(
    fields: Mapping[Any, Any], deadline: Deadline, base64_fields: Sequence[str] = BASE64_FIELDS
) -> Iterator[tuple[str, ImageSource | GatewayError]]:
    for name in URL_FIELDS:
        for text in _texts(fields, name):
            yield name, _image_url(text, name)
    for name in base64_fields:
        for text in _texts(fields, name):
            yield name, _decode_image(text, name, deadline, in_form=isinstance(fields, MultiDict))


def _texts(fields: Mapping[Any, Any], name: str) -> Iterator[str | LongText]:
    """Yield the values of a field, several if a form repeats it; an empty value counts as absent."""
    values = fields.getlist(name) if isinstance(fields, MultiDict) else [fields.get(name)]
    for value in values:
        if value is not None and not isinstance(value, str | LongText):
            raise BadRequestError(f"The field {name!r} must be a string, not {JSON_TYPES[type(value)]}.")
        if value:
            yield value


def _image_url(text: str | LongText, name: str) -> ImageSource | GatewayError:
    if isinstance(text, LongText) and len(text.raw) > MAX_URL_BYTES:
        return BadRequestError(
            f"The field {name!r} has {len(text.raw)} bytes; expected a URL of at most {MAX_URL_LENGTH} characters."
        )
    try:
        return ImageUrl(str(text).strip())
    except ValueError as error:
        return BadRequestError(f"The field {name!r} is not valid: {error}.")


def _decode_image(text: str | LongText, name: str, deadline: Deadline, *, in_form: bool) -> ImageSource | GatewayError:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a character may begin in one piece and end in the next
    is_utf8 = True

    def pieces() -> Iterator[bytes]:
        nonlocal is_utf8
        for piece in text.pieces() if isinstance(text, LongText) else (text.encode(errors="replace"),):
            deadline.remaining_s()
            if in_form:
                is_utf8 = is_utf8 and UNDECODABLE not in decoder.decode(piece)
            yield piece

    try:
        return ImageBytes(decode_base64(pieces()))
    except ValueError:
        return BadRequestError(f"The field {name!r} is not valid base64.{'' if is_utf8 else FILE_HINT}")
