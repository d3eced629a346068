"""Parse a request (multipart, form, JSON or raw bytes) into a `PredictionRequest`."""

import difflib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from flask import Request
from werkzeug.datastructures import MultiDict

from gateway.deadline import Deadline, Timings
from gateway.errors import BadRequestError, ContentTypeError, GatewayError, TooManyImagesError
from gateway.fetching.destinations import MAX_URL_LENGTH
from gateway.fetching.fetch import has_coding
from gateway.http import hints
from gateway.http.base64_text import LostPlusError, decode_base64
from gateway.http.bodies import (
    MULTIPART,
    BodyRequest,
    FilePart,
    Files,
    Form,
    Name,
    is_image_type,
    parse_multipart,
)
from gateway.http.json_objects import JsonLimits, parse_json_object
from gateway.http.long_text import LONG_TEXT_BYTES, LongText, decode_plain
from gateway.http.url_encoded import parse_url_encoded
from gateway.models.registry import ModelTarget
from gateway.prediction.image_loader import ImageBytes, ImageSource, ImageUrl
from gateway.prediction.predictor import Explain, PredictionOptions, PredictionRequest
from gateway.sizes import format_size
from vision.decode import sniff
from vision.foreign_kinds import name_kind

FILE_FIELDS = ("image", "file")
URL_FIELDS = ("url", "image_url")
BASE64_FIELDS = ("image", "image_base64")
BATCH_FIELD = "instances"
OPTION_NAMES = ("top_k", "threshold", "explain")
SHAPE_OPTION = "as"
"""Option that asks for the shape of the response."""
LIST_SHAPE = "list"
ALL_OPTION_NAMES = (*OPTION_NAMES, SHAPE_OPTION)
IMAGE_FIELDS = tuple(dict.fromkeys((*URL_FIELDS, *BASE64_FIELDS)))
FORM_BASE64_FIELDS = tuple(dict.fromkeys((*FILE_FIELDS, *BASE64_FIELDS)))  # a part without a file name is text
FORM_FIELDS = tuple(dict.fromkeys((*FILE_FIELDS, *IMAGE_FIELDS, *ALL_OPTION_NAMES)))
JSON_FIELDS = (*IMAGE_FIELDS, BATCH_FIELD, *ALL_OPTION_NAMES)

MAX_TOP_K = 10**9
"""More than any model has classes; larger values mean the same."""
INTEGER = re.compile(r"([0-9]{1,4000})(?:\.0{1,20})?")  # `int` refuses more than 4,300 digits
DECIMAL = re.compile(r"(?:[0-9]{1,20}(?:\.[0-9]{1,100})?|\.[0-9]{1,100})(?:[eE]-?[0-9]{1,3})?")
EXPLAIN_VALUES: Mapping[object, Explain | None] = {"false": None, "true": "image", "raw": "raw"}
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
MAX_URL_BYTES = 12 * MAX_URL_LENGTH
"""Bytes of the longest URL, however its characters are escaped: one above U+FFFF is `\\ud83d\\ude00` in JSON."""
START_BYTES = 512
"""Every accepted image has a zero byte among so many at its beginning; a text has none."""
ALIASES: Mapping[object, str] = {"b64": "image", "bytes": "image", "content": "image", "data": "image", "uri": "url"}
"""Names of fields elsewhere, for which difflib finds nothing similar."""
DATA_SCHEME = "data:"
BOUNDARY = re.compile(r';[ \t]*+boundary[ \t]*+=[ \t]*+(?:"((?:[^"\\]|\\.)*+)"|([^;]*+))', re.IGNORECASE)
QUOTED_PAIR = re.compile(r"\\(.)")
VALUE_HINTS: Mapping[type, str] = {
    dict: "Send the text itself, not an object around it.",
    list: "Send one file in base64, not its pixels.",
}


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Limits on one request.

    Attributes:
        max_images: Maximum number of images of a batch.
        json: Limits on a JSON body.
    """

    max_images: int
    json: JsonLimits


@dataclass(frozen=True, slots=True)
class Origin:
    """Where fields stand.

    Attributes:
        prefix: What precedes a field's name in the member `field` of a problem: the JSON pointer (RFC 6901) of its
            object with a slash, or nothing for a form or the query.
        is_form: Whether it is a form.
        blank_is_plus: Whether a blank may stand for `+`.
        base64_field: What takes an image in base64 there, for messages.
    """

    prefix: str = ""
    is_form: bool = False
    blank_is_plus: bool = False
    base64_field: str = "`image`"


JSON_OBJECT = Origin("/")
URL_ENCODED_FORM = Origin(is_form=True, blank_is_plus=True)
MULTIPART_FORM = Origin(is_form=True)


@dataclass(frozen=True, slots=True)
class _Content:
    """What a body contains."""

    images: Sequence[ImageSource | GatewayError]
    fields: Mapping[Any, Any]
    origin: Origin
    is_batch: bool
    names: Sequence[str] = ()


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
        under the same name are a batch; `instances` of a JSON object always are, and so is any image with `as=list`.

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
        query = read_query(request)
        check_names(query, ALL_OPTION_NAMES, "query parameter")
        body = read_body(request)
        content = self._content(body, request, deadline)
        if not content.images:
            raise BadRequestError(hints.describe_absence(body, request.mimetype, content.fields))
        is_batch = content.is_batch or _asks_for_list(query, content.fields, content.origin.prefix)
        if not is_batch and isinstance(content.images[0], GatewayError):
            raise content.images[0]
        options = parse_options(query, content.fields, default_top_k=self._default_top_k, prefix=content.origin.prefix)
        return PredictionRequest(
            content.images, target, options, deadline, request_id, is_batch, timings, request.place, content.names
        )

    def _content(self, body: bytes, request: Request, deadline: Deadline) -> _Content:
        media_type = request.mimetype
        match _kind_of_body(body, media_type):
            case "json":
                with _named_otherwise(body, is_form=False):
                    fields = parse_json_object(body, self._limits.json)
                check_names(fields, JSON_FIELDS, "member", prefix=JSON_OBJECT.prefix)
                if _is_batch(fields):
                    return _Content(self._instances(fields, deadline), fields, JSON_OBJECT, is_batch=True)
                images = _single_image(_field_images(fields, deadline, JSON_OBJECT), JSON_OBJECT.prefix)
                return _Content(images, fields, JSON_OBJECT, is_batch=False)
            case "form":
                return self._form(body, request, deadline)
            case "image":
                if b"\0" not in body and hints.is_stripped_image(body):
                    raise BadRequestError(hints.STRIPPED)
                return _Content([ImageBytes(body)] if body else [], {}, MULTIPART_FORM, is_batch=False)
        if body:
            raise ContentTypeError(hints.describe_media_type(body, media_type))
        return _Content([], {}, MULTIPART_FORM, is_batch=False)

    def _form(self, body: bytes, request: Request, deadline: Deadline) -> _Content:
        """Return the text fields of a form, and its images.

        Several images must be parts of the same name, which keeps them in order.
        """
        is_multipart = request.mimetype == MULTIPART
        form, files = _parse_multipart(body, request) if is_multipart else _parse_url_encoded(body, request)
        names = [*form, *files]
        if None in names:
            raise BadRequestError("A part of the form has no name.")
        check_names(names, FORM_FIELDS, "field")
        origin = MULTIPART_FORM if is_multipart else URL_ENCODED_FORM
        parts = list(_chosen_files(files))
        file_images = (_file_image(name, part) for name, part in parts)
        images = [*file_images, *_field_images(form, deadline, origin, FORM_BASE64_FIELDS)]
        if len({name for name, _ in images}) > 1:
            raise BadRequestError(
                f"The request carries {len(images)} images in parts of different names or kinds. Send one image, or "
                "several as parts of the same name, which keeps them in order.",
                field=images[-1][0].removeprefix("file "),
            )
        if not images and not any(form.get(name) for name in FORM_BASE64_FIELDS):
            _check_chosen(files)
        check_image_count(len(images), self._limits.max_images)
        filenames = [part.filename for _, part in parts]
        return _Content([image for _, image in images], form, origin, len(images) > 1, filenames)

    def _instances(self, fields: Mapping[str, Any], deadline: Deadline) -> list[ImageSource | GatewayError]:
        items = fields[BATCH_FIELD]
        if not isinstance(items, list) or not items:
            raise BadRequestError(
                'instances must be a list of at least one object, such as {"url": "https://…"}.',
                field=f"/{BATCH_FIELD}",
            )
        if any(fields.get(name) for name in IMAGE_FIELDS):
            raise BadRequestError("Send images either in `instances` or beside it, not both.")
        check_image_count(len(items), self._limits.max_images)
        return [parse_instance(item, deadline, f"/{BATCH_FIELD}/{index}") for index, item in enumerate(items)]


def read_body(request: BodyRequest) -> bytes:
    """Return the body of a request, of which the request keeps nothing.

    Raises:
        ContentTypeError: It is compressed.
        werkzeug.exceptions.RequestEntityTooLarge: It is larger than the limit.
        GatewayError: See `BodyRequest.stream`.
    """
    check_coding(request)
    body = request.get_data(cache=False)
    request.stream.close()  # it would keep the body until the request is answered
    return body


def check_image_count(count: int, max_images: int) -> None:
    """Check that a request does not have too many images.

    Raises:
        TooManyImagesError: It has.
    """
    if count > max_images:
        raise TooManyImagesError(
            f"The request carries {count} images; at most {max_images} are accepted.", max_images=max_images
        )


def _is_batch(fields: Mapping[str, Any]) -> bool:
    """Return whether a JSON object is a batch; clients generated for Java send an empty list beside one image."""
    instances = fields.get(BATCH_FIELD)
    return instances is not None and (instances != [] or not any(fields.get(name) for name in IMAGE_FIELDS))


def check_names(names: Collection[Name], accepted: Collection[str], kind: str, *, prefix: str = "") -> None:
    """Refuse unknown names: a misspelt option would otherwise be ignored silently.

    Args:
        names: Names in the request.
        accepted: Names that are accepted.
        kind: What the names are of, for the message.
        prefix: See `Origin`.

    Raises:
        BadRequestError: A name is not accepted.
    """
    for name in names:
        if name not in accepted:
            similar = _suggest(name, accepted)
            hint = f"Did you mean {similar!r}? " if similar else ""
            quoted = hints.quote(name) if isinstance(name, str) else repr(name)
            raise _unknown(f"There is no {kind} {quoted}. {hint}Accepted: {', '.join(accepted)}.", prefix, name)


def _suggest(name: Name, accepted: Collection[str]) -> str | None:
    """Return the accepted name that was probably meant."""
    if ALIASES.get(name) in accepted:
        return ALIASES[name]
    if not isinstance(name, str) or len(name) > MAX_SIMILAR_LENGTH:
        return None
    return next(iter(difflib.get_close_matches(name, accepted, n=1)), None)


def _unknown(detail: str, prefix: str, name: Name) -> BadRequestError:
    """Return an error about a name; if that is too long to be repeated, its field is that of its object."""
    if not isinstance(name, str) or len(name) > hints.MAX_QUOTED:
        field = prefix.removesuffix("/")
    else:
        field = prefix + (name.replace("~", "~0").replace("/", "~1") if prefix else name)
    return BadRequestError(detail, field=field) if field else BadRequestError(detail)


def parse_options(
    query: Mapping[str, Any], fields: Mapping[str, Any], *, default_top_k: int, prefix: str = ""
) -> PredictionOptions:
    """Parse the options; an option of the query takes precedence, and an empty one or null counts as absent.

    Args:
        query: The query.
        fields: The fields of the body.
        default_top_k: Number of classes that are returned if neither says.
        prefix: What precedes a name of `fields` in the member `field` of a problem, see `Origin`.

    Raises:
        BadRequestError: A value is not accepted.
    """
    values = read_option_values(OPTION_NAMES, query, fields, prefix)
    return PredictionOptions(
        top_k=_parse_top_k(*values["top_k"]) if "top_k" in values else default_top_k,
        threshold=_parse_threshold(*values["threshold"]) if "threshold" in values else None,
        explain=_parse_explain(*values["explain"]) if "explain" in values else None,
    )


def read_option_values(
    names: Iterable[str], query: Mapping[str, Any], fields: Mapping[str, Any], prefix: str
) -> dict[str, tuple[object, str]]:
    """Return the value of each option that is not empty, and what the member `field` of a problem says about it."""
    return {
        name: (value.strip() if isinstance(value, str) else value, f"{source_prefix}{name}")
        for source, source_prefix in ((fields, prefix), (query, ""))
        for name in names
        if name in source and (value := source[name]) is not None and value != ""  # werkzeug's `get` raises internally
    }


def parse_integer(name: str, value: object, field: str, *, lowest: int) -> int:
    """Return the value of an option as a whole number, which may have zeros behind a point as JSON Schema allows.

    Args:
        name: Name of the option.
        value: Its value, of a query, a form or a JSON object.
        field: What the member `field` of a problem says about it.
        lowest: The lowest value that is accepted.

    Raises:
        BadRequestError: It is not a whole number, or is lower.
    """
    if isinstance(value, str) and (match := INTEGER.fullmatch(value)):
        value = int(match[1])
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
        raise BadRequestError(
            f"{name} must be a whole number of at least {lowest}, not {quote_value(value)}.", field=field
        )
    return value


def _asks_for_list(query: Mapping[str, Any], fields: Mapping[str, Any], prefix: str) -> bool:
    values = read_option_values([SHAPE_OPTION], query, fields, prefix)
    if not values:
        return False
    ((value, field),) = values.values()
    if value != LIST_SHAPE:
        raise BadRequestError(
            f"as must be {LIST_SHAPE}, not {quote_value(value)}. Omit it for the usual response.", field=field
        )
    return True


def _parse_top_k(value: object, field: str) -> int:
    return min(parse_integer("top_k", value, field, lowest=1), MAX_TOP_K)


def _parse_threshold(value: object, field: str) -> float:
    if isinstance(value, str) and DECIMAL.fullmatch(value):
        value = float(value)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise BadRequestError(f"threshold must be a number from 0 to 1, not {quote_value(value)}.", field=field)
    return float(value)


def _parse_explain(value: object, field: str) -> Explain | None:
    if isinstance(value, bool):
        value = "true" if value else "false"
    if not isinstance(value, str) or value not in EXPLAIN_VALUES:
        raise BadRequestError(f"explain must be true, false or raw, not {quote_value(value)}.", field=field)
    return EXPLAIN_VALUES[value]


def quote_value(value: object) -> str:
    """Return a text or a number as it was sent, shortened, and the kind of any other JSON value."""
    if isinstance(value, str):
        return hints.quote(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return hints.quote(json.dumps(value)).strip("'")
    return JSON_TYPES[type(value)]


def check_coding(request: Request) -> None:
    """Refuse compressed bodies, before they are read.

    Raises:
        ContentTypeError: The body has a content coding (RFC 9110 section 8.4).
    """
    header = request.headers.get("Content-Encoding")
    if header and has_coding(header):
        error = ContentTypeError(
            f"The body has Content-Encoding: {header[: hints.MAX_QUOTED]}. Only identity is accepted: send the body "
            "uncompressed."
        )
        error.accept_encoding = "identity"
        raise error


def read_query(request: Request) -> Mapping[str, str]:
    """Return the parameters of the query.

    Raises:
        BadRequestError: It is not UTF-8.
    """
    try:
        return request.args
    except UnicodeDecodeError as error:
        raise BadRequestError("The query is not UTF-8. Write bytes beyond ASCII as %XX.") from error


def _kind_of_body(body: bytes, media_type: str) -> Literal["json", "form", "image"] | None:
    """Return how a body is to be read: an image is recognised whatever its media type says."""
    kind: Literal["json", "form"] | None = None
    if media_type == MULTIPART:
        kind = "form"
        may_be_image = not body.startswith(b"--")
    elif is_image_type(media_type):
        return "image"
    else:
        # JSON also has the media type that curl and urllib use for any body by default.
        is_json_type = media_type == "application/json" or media_type.endswith("+json")
        if is_json_type or media_type == hints.FORM:
            kind = "json" if is_json_type or START_OF_OBJECT.match(body) else "form"
        may_be_image = not body.startswith(b"{")
    if may_be_image and (_is_image(body) or hints.is_stripped_image(body)):
        return "image"
    return kind


def _is_image(body: bytes) -> bool:
    return b"\0" in body[:START_BYTES] and sniff(body) is not None


def _parse_url_encoded(body: bytes, request: Request) -> tuple[Form, Files]:
    with _named_otherwise(body, is_form=True):
        form = parse_url_encoded(body, max_fields=request.max_form_parts)
        if form.keys().isdisjoint(FORM_FIELDS) and any(form):
            first = next(name for name in form if name)
            if _suggest(first, FORM_FIELDS):
                check_names([first], FORM_FIELDS, "field")
            if hints.URL.match(body):
                raise BadRequestError(hints.NAMELESS_URL)
            raise _unknown(hints.describe_unknown_fields(body, list(form), FORM_FIELDS), "", first)
    return form, MultiDict()


@contextmanager
def _named_otherwise(body: bytes, *, is_form: bool) -> Iterator[None]:
    """Replace the reason for which a body is refused by what it is, if it is a file or a form of another kind.

    Raises:
        BadRequestError: The body was refused inside.
    """
    try:
        yield
    except BadRequestError as error:
        description = hints.describe_other(body, is_form=is_form)
        if description:
            raise BadRequestError(description) from error
        raise


def _parse_multipart(body: bytes, request: Request) -> tuple[Form, Files]:
    boundary = find_boundary(request.content_type or "")
    if not boundary:
        raise BadRequestError(hints.explain_missing_boundary(body))
    form, files = parse_multipart(body, boundary.encode("latin-1", "replace"), max_parts=request.max_form_parts)
    for name in files.keys() - FILE_FIELDS:
        if name in FORM_FIELDS:
            form.setlist(name, [*form.getlist(name), *(_text_of(part, name) for part in files.poplist(name))])
    return form, files


def find_boundary(content_type: str) -> str:
    """Return the boundary of a form. Many clients send characters without quotes that need them (RFC 2045)."""
    match = BOUNDARY.search(content_type)
    if match is None:
        return ""
    return match[2].strip() if match[1] is None else QUOTED_PAIR.sub(r"\1", match[1])


def _text_of(part: FilePart, name: Name) -> str | LongText:
    """Return the text of a field that was sent as a file, as JavaScript sends a Blob.

    Raises:
        BadRequestError: It is not a text.
    """
    beginning = hints.decode_beginning([part.content])
    if hints.UNDECODABLE in beginning or "\0" in beginning:
        raise BadRequestError(
            f"The part {name!r} is a file: {'expected a text.' if name in ALL_OPTION_NAMES else 'send it as `image`.'}",
            field=name,
        )
    if len(part.content) > LONG_TEXT_BYTES:
        return LongText(memoryview(part.content), decode_plain)
    return part.content.decode(errors="replace")


def _single_image(
    images: Iterator[tuple[str, ImageSource | GatewayError]], prefix: str
) -> list[ImageSource | GatewayError]:
    """Return the one image of a JSON object, or none."""
    named_images = list(images)
    if len(named_images) > 1:
        names = " and ".join(repr(name) for name, _ in named_images)
        raise BadRequestError(
            f"There are {len(named_images)} images, in {names}; expected one. Send several in `instances`.",
            field=f"{prefix}{named_images[-1][0]}",
        )
    return [image for _, image in named_images]


def parse_instance(item: object, deadline: Deadline, pointer: str) -> ImageSource | GatewayError:
    """Return the image of one of `instances`, or what is wrong with it.

    Args:
        item: The JSON value.
        deadline: Time limit on decoding base64.
        pointer: Where it stands in the request (RFC 6901).
    """
    if not isinstance(item, dict):
        return BadRequestError(
            'Each of `instances` must be an object, such as {"url": "https://…"} or {"image": "<base64>"}.',
            field=pointer,
        )
    origin = Origin(f"{pointer}/")
    try:
        check_names(item, IMAGE_FIELDS, "member", prefix=origin.prefix)
        images = _single_image(_field_images(item, deadline, origin), origin.prefix)
    except BadRequestError as error:
        return error
    if images:
        return images[0]
    return BadRequestError(f"There is no image. Send one of {', '.join(IMAGE_FIELDS)}.", field=pointer)


def _check_chosen(files: Files) -> None:
    """Refuse a form whose file was not chosen, which a browser sends as an empty part without a file name."""
    name = next((name for name in FILE_FIELDS if name in files), None)
    if name is not None:
        raise BadRequestError(f"The part {name!r} is empty: no file was chosen. Choose one and send it.", field=name)


def _chosen_files(files: Files) -> Iterator[tuple[str, FilePart]]:
    """Yield the files of a form, and the names of their parts.

    A browser sends an empty part without a file name for a field that was left empty.
    """
    for name in FILE_FIELDS:
        for part in files.getlist(name):
            if part.content or part.filename:
                yield name, part


def _file_image(name: str, part: FilePart) -> tuple[str, ImageSource | GatewayError]:
    if part.content:
        return f"file {name}", ImageBytes(part.content, name)
    return f"file {name}", BadRequestError(f"The file {hints.quote(part.filename)} is empty.", field=name)


def _field_images(
    fields: Mapping[Any, Any], deadline: Deadline, origin: Origin, base64_fields: Sequence[str] = BASE64_FIELDS
) -> Iterator[tuple[str, ImageSource | GatewayError]]:
    for name in URL_FIELDS:
        for text in _texts(fields, name, origin):
            yield name, parse_image_url(text, name, deadline, origin)
    for name in base64_fields:
        for text in _texts(fields, name, origin):
            yield name, decode_image(text, name, deadline, origin)


def _texts(fields: Mapping[Any, Any], name: str, origin: Origin) -> Iterator[str | LongText]:
    """Yield the values of a field, several if a form repeats it; an empty value counts as absent."""
    values = fields.getlist(name) if isinstance(fields, MultiDict) else [fields.get(name)]
    for value in values:
        if value is not None and not isinstance(value, str | LongText):
            message = f"The field {name!r} must be a string, not {JSON_TYPES[type(value)]}."
            raise BadRequestError(
                f"{message} {VALUE_HINTS.get(type(value), '')}".rstrip(), field=f"{origin.prefix}{name}"
            )
        if value:
            yield value


def parse_image_url(text: str | LongText, name: str, deadline: Deadline, origin: Origin) -> ImageSource | GatewayError:
    """Return the image that a URL points to, or that a data URI contains."""
    beginning = hints.decode_beginning(_pieces(text, deadline)) if isinstance(text, LongText) else text
    if beginning.lstrip()[: len(DATA_SCHEME)].lower() == DATA_SCHEME:
        return decode_image(text, name, deadline, origin)
    field = f"{origin.prefix}{name}"
    if name_kind(beginning.encode(errors="replace")) == "base64 text":
        return BadRequestError(
            f"The field {name!r} is base64, not a URL: send it as {origin.base64_field}.", field=field
        )
    if isinstance(text, LongText) and len(text.raw) > MAX_URL_BYTES:
        return BadRequestError(
            f"The field {name!r} is {format_size(len(text.raw))} long, which no URL is. Send an image as "
            f"{origin.base64_field}.",
            field=field,
        )
    try:
        return ImageUrl(str(text).strip(), field)
    except ValueError:
        return BadRequestError(f"The field {name!r} is not valid: it has an invalid escape sequence.", field=field)


def decode_image(text: str | LongText, name: str, deadline: Deadline, origin: Origin) -> ImageSource | GatewayError:
    """Return the image that a text is in base64, or the error that says why it is none.

    Args:
        text: The text.
        name: Name of its field, for messages.
        deadline: Time limit on the request.
        origin: Where the field stands.

    Raises:
        DeadlineExceededError: The deadline has passed.
    """
    field = f"{origin.prefix}{name}"
    try:
        hints.check_is_set(text)
        data = decode_base64(lambda: _pieces(text, deadline), blank_is_plus=origin.blank_is_plus)
    except ValueError as error:
        hint = hints.explain_base64(
            hints.decode_beginning(_pieces(text, deadline)),
            has_inner_blanks=isinstance(error, LostPlusError),
            in_form=origin.is_form,
        )
        return BadRequestError(f"The field {name!r} is not valid base64. {hint}".rstrip(), field=field)
    if not data:
        return BadRequestError(f"The field {name!r} contains no image: it is blank or an empty data URI.", field=field)
    return ImageBytes(data, field)


def _pieces(text: str | LongText, deadline: Deadline) -> Iterator[bytes]:
    """Yield a text in UTF-8, until the deadline."""
    for piece in text.pieces() if isinstance(text, LongText) else (text.encode(errors="replace"),):
        deadline.remaining_s()
        yield piece
