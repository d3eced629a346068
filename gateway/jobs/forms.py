"""Multipart forms of jobs, of which only the fields are in memory."""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.errors import BadRequestError, BodyTooLargeError, GatewayError
from gateway.http.bodies import parse_disposition, split_parts
from gateway.http.hints import explain_missing_boundary, quote
from gateway.http.request_parser import FILE_FIELDS, check_names, find_boundary
from gateway.jobs.options import OPTION_NAMES
from gateway.sizes import exceeds

ARCHIVE_FIELD = "archive"
FIELDS = (*FILE_FIELDS, ARCHIVE_FIELD, *OPTION_NAMES)
OTHER_PARTS = 32
MAX_FIELD_BYTES = 16 * 1024
PLAIN_ENCODINGS = frozenset({"", "7bit", "8bit", "binary"})


@dataclass(frozen=True, slots=True)
class FormFile:
    """A file of a form, by its place in the body."""

    name: str
    filename: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class JobForm:
    """A form.

    Attributes:
        fields: Its text fields, of each name the first.
        images: Its images, in order.
        archive: Its archive; None if it has none.
    """

    fields: dict[str, str]
    images: list[FormFile]
    archive: FormFile | None


def parse_form(body: mmap.mmap | bytes, content_type: str, *, max_images: int) -> JobForm:
    """Find the parts of a form, in linear time.

    Raises:
        BadRequestError: It is malformed, has a part that is not known, or has both images and an archive.
    """
    boundary = find_boundary(content_type)
    if not boundary:
        raise BadRequestError(explain_missing_boundary(body[:MAX_FIELD_BYTES]))
    fields: dict[str, str] = {}
    files: list[FormFile] = []
    delimiter = b"--" + boundary.encode("latin-1", "replace")
    for headers, start, end in split_parts(body, delimiter, max_images + OTHER_PARTS):
        name, filename = parse_disposition(headers.get("content-disposition"))
        if name is None:
            raise BadRequestError("A part of the form has no name.")
        check_names([name], FIELDS, "field")
        _check_encoding(name, headers.get("content-transfer-encoding", ""))
        if name in OPTION_NAMES:
            fields.setdefault(name, _read_field(body, name, start, end))
        elif end > start or filename:  # browsers send an empty part without a file name for a field left empty
            files.append(FormFile(name, filename or "", start, end))
    return _sort(fields, files)


def read_images(
    body: mmap.mmap | bytes, images: list[FormFile], *, max_bytes: int
) -> Iterator[tuple[str, bytes | GatewayError]]:
    """Yield the file name of each image, and its bytes or what is wrong with it."""
    for image in images:
        size = image.end - image.start
        quoted = quote(image.filename)
        if size == 0:
            yield image.filename, BadRequestError(f"The file {quoted} is empty.", field=image.name)
        elif size > max_bytes:
            sentence = exceeds(f"The file {quoted}", size, max_bytes)
            yield image.filename, BodyTooLargeError(f"{sentence} Send a smaller image.", max_bytes=max_bytes)
        else:
            yield image.filename, body[image.start : image.end]


def _sort(fields: dict[str, str], files: list[FormFile]) -> JobForm:
    archives = [file for file in files if file.name == ARCHIVE_FIELD]
    images = [file for file in files if file.name != ARCHIVE_FIELD]
    if len(archives) > 1 or (archives and images):
        raise BadRequestError("The form has several archives, or images beside one. Send one archive, or images only.")
    return JobForm(fields, images, archives[0] if archives else None)


def _check_encoding(name: str, encoding: str) -> None:
    if encoding.partition(";")[0].strip().lower() not in PLAIN_ENCODINGS:
        raise BadRequestError(f"The part {quote(name)} has a Content-Transfer-Encoding. Send the bytes.", field=name)


def _read_field(body: mmap.mmap | bytes, name: str, start: int, end: int) -> str:
    if end - start > MAX_FIELD_BYTES:
        raise BadRequestError(f"The field {quote(name)} is longer than {MAX_FIELD_BYTES} bytes.", field=name)
    return body[start:end].decode(errors="replace")
