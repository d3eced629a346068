"""Parse requests for jobs: URLs or instances in JSON, a form, or a ZIP archive."""

import contextlib
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.capacity import PLACE_BYTES
from gateway.deadline import Deadline
from gateway.errors import BadRequestError, BodyTooLargeError, ContentTypeError, GatewayError, TooManyImagesError
from gateway.http.bodies import BINARY_TYPES, MULTIPART, BodyRequest
from gateway.http.hints import FORM, quote
from gateway.http.json_objects import JsonLimits, parse_json_object
from gateway.http.request_parser import (
    BATCH_FIELD,
    START_OF_OBJECT,
    Origin,
    check_coding,
    check_names,
    parse_image_url,
    parse_instance,
    read_query,
)
from gateway.jobs import forms
from gateway.jobs.archives import ArchiveLimits, read_archive
from gateway.jobs.options import OPTION_NAMES, OptionsParser
from gateway.jobs.records import JobRequest
from gateway.jobs.uploads import ReceivingLimits, receive
from gateway.prediction.image_loader import ImageBytes, ImageSource, ImageUrl
from gateway.sizes import exceeds

URLS_FIELD = "urls"
JSON_FIELDS = (URLS_FIELD, BATCH_FIELD, *OPTION_NAMES)
ZIP_TYPES = frozenset({"application/zip", "application/x-zip-compressed"})
UPLOAD_TYPES = frozenset({MULTIPART, FORM, ""}) | ZIP_TYPES | BINARY_TYPES
"""Media types of bodies that are received into a file. Those of unknown bytes are told apart by their beginning."""
ZIP_START = b"PK"
ACCEPTED = (
    "Send application/json with `urls` or `instances`, multipart/form-data with parts `image` or `archive`, or a ZIP "
    "archive as application/zip."
)
VALUES_PER_IMAGE = 4
"""Values and separators of `{"url": "…"}` in a list."""
OTHER_VALUES = 100
NO_IMAGES = "The request carries no image. Send a list in `urls` or `instances`, parts named `image`, or a ZIP archive."
LIST_OF_URLS = Origin("/", base64_field="`image` of one of `instances`")

Source = tuple[str, ImageSource | GatewayError]
"""Name of an image, and the image or what is wrong with it."""
Sources = tuple[int, Iterator[Source]]
"""Number of the images, and the images."""


@dataclass(frozen=True, slots=True)
class SubmissionLimits:
    """Limits on the request for a job.

    Attributes:
        archive: Limits on the images, whether in an archive or not.
        max_json_depth: Maximum nesting of a JSON body.
        folder: Where uploads are written while they arrive.
        min_rate: Bytes per second that must arrive of an upload on average.
    """

    archive: ArchiveLimits
    max_json_depth: int
    folder: Path
    min_rate: int


@dataclass(frozen=True, slots=True)
class Submission:
    """A request for a job.

    Attributes:
        request: What is asked for.
        total: Number of images.
        sources: The images, which are read while they are iterated.
    """

    request: JobRequest
    total: int
    sources: Iterator[Source]


class SubmissionParser:
    """Parses requests for jobs.

    Args:
        limits: Limits on them.
        options: Parses their options.
    """

    def __init__(self, limits: SubmissionLimits, options: OptionsParser) -> None:
        self._limits = limits
        self._options = options

    @contextlib.contextmanager
    def open(self, request: BodyRequest, *, deadline: Deadline, request_id: str) -> Iterator[Submission]:
        """Receive a request and parse it; its images can be read until the end of the context.

        Raises:
            BadRequestError: There is no image, or a field that is unknown or invalid.
            ContentTypeError: The body is of a media type that carries no images.
            ArchiveError: The archive cannot be used.
            TooManyImagesError: There are more images than the limit.
            BodyTooLargeError: The body, or what it unpacks to, has more bytes than the limit.
            GatewayError: See `receive`.
        """
        check_coding(request)
        query = read_query(request)
        check_names(query, OPTION_NAMES, "query parameter")
        media_type = request.mimetype

        def submission(fields: Mapping[str, Any], sources: Sources, prefix: str = "") -> Submission:
            return Submission(self._options.parse(query, fields, prefix=prefix, request_id=request_id), *sources)

        is_json_type = is_json(media_type)
        if is_json_type:
            self._check_json_size(request.content_length or 0)
        elif media_type not in UPLOAD_TYPES:
            raise ContentTypeError(f"The Content-Type is {quote(media_type)}. {ACCEPTED}")
        limits = self._limits.archive
        max_bytes = limits.max_image_bytes if is_json_type else limits.max_bytes
        receiving = ReceivingLimits(max_bytes, self._limits.min_rate)
        with receive(request, self._limits.folder, receiving, deadline=deadline) as body:
            if media_type == MULTIPART:
                form = forms.parse_form(body, request.content_type or "", max_images=limits.max_images)
                yield submission(form.fields, self._form_sources(body, form, deadline))
            elif not is_json_type and (media_type in ZIP_TYPES or body[: len(ZIP_START)] == ZIP_START):
                yield submission({}, _wrap(*read_archive(body, 0, len(body), limits)))
            elif is_json_type or START_OF_OBJECT.match(body):  # curl and urllib have another media type by default
                fields = self._read_json(request, body)
                yield submission(fields, self._json_sources(fields, deadline), "/")
            else:
                raise ContentTypeError(f"The body is neither a ZIP archive nor a JSON object. {ACCEPTED}")

    def _read_json(self, request: BodyRequest, body: mmap.mmap | bytes) -> dict[str, Any]:
        size = len(body)
        self._check_json_size(size)
        if request.place is not None and size > PLACE_BYTES:
            request.place.receive(size)
        return self._parse_json(body[:])

    def _check_json_size(self, size: int) -> None:
        limit = self._limits.archive.max_image_bytes
        if size > limit:
            sentence = exceeds("The JSON body", size, limit)
            raise BodyTooLargeError(f"{sentence} Send several jobs, or files in a ZIP archive.", max_bytes=limit)

    def _parse_json(self, body: bytes) -> dict[str, Any]:
        limits = JsonLimits(
            self._limits.max_json_depth,
            VALUES_PER_IMAGE * self._limits.archive.max_images + OTHER_VALUES,
            max_short_bytes=max(len(body), 1),
        )
        fields = parse_json_object(body, limits)
        check_names(fields, JSON_FIELDS, "member", prefix="/")
        return fields

    def _json_sources(self, fields: Mapping[str, Any], deadline: Deadline) -> Sources:
        present = [name for name in (URLS_FIELD, BATCH_FIELD) if fields.get(name) is not None]
        # Clients generated for Java send both lists, one of them empty.
        names = [name for name in present if fields[name] != []] or present[:1]
        if len(names) > 1:
            raise BadRequestError("Send either `urls` or `instances`, not both.", field=f"/{BATCH_FIELD}")
        if not names:
            raise BadRequestError(NO_IMAGES)
        (name,) = names
        items = fields[name]
        if not isinstance(items, list) or not items:
            example = '["https://…"]' if name == URLS_FIELD else '[{"url": "https://…"}]'
            raise BadRequestError(f"{name} must be a list of at least one image, such as {example}.", field=f"/{name}")
        self._check_count(len(items))
        if name == URLS_FIELD:
            sources = (_parse_url(item, deadline, f"{name}/{index}") for index, item in enumerate(items))
        else:
            sources = (parse_instance(item, deadline, f"/{name}/{index}") for index, item in enumerate(items))
        return len(items), ((source.url if isinstance(source, ImageUrl) else "", source) for source in sources)

    def _form_sources(self, body: mmap.mmap | bytes, form: forms.JobForm, deadline: Deadline) -> Sources:
        limits = self._limits.archive
        if form.archive is not None:
            return _wrap(*read_archive(body, form.archive.start, form.archive.end, limits))
        if not form.images:
            raise BadRequestError(NO_IMAGES)
        self._check_count(len(form.images))
        images = forms.read_images(body, form.images, max_bytes=limits.max_image_bytes, deadline=deadline)
        return len(form.images), images

    def _check_count(self, count: int) -> None:
        limit = self._limits.archive.max_images
        if count > limit:
            raise TooManyImagesError(
                f"The job has {count:,} images; at most {limit:,} are accepted in one. Send several.", max_images=limit
            )


def is_json(media_type: str) -> bool:
    """Return whether a media type says that a body is JSON."""
    return media_type == "application/json" or media_type.endswith("+json")


def _wrap(total: int, files: Iterator[tuple[str, bytes | GatewayError]]) -> Sources:
    return total, ((name, file if isinstance(file, GatewayError) else ImageBytes(file)) for name, file in files)


def _parse_url(item: object, deadline: Deadline, name: str) -> ImageSource | GatewayError:
    field = f"{LIST_OF_URLS.prefix}{name}"
    if isinstance(item, dict):
        return BadRequestError("A URL must be a string. Send objects in `instances`.", field=field)
    if not item:
        return BadRequestError("The URL is empty.", field=field)
    if isinstance(item, bool | int | float | list):
        return BadRequestError("A URL must be a string, such as https://example.com/photo.jpg.", field=field)
    return parse_image_url(item, name, deadline, LIST_OF_URLS)  # type: ignore[arg-type]  # a text
