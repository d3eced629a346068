"""Multipart forms of jobs, of which only the fields are in memory."""

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gateway.deadline import Deadline
from gateway.errors import BadRequestError, BodyTooLargeError, GatewayError
from gateway.http.bodies import (
    DISPOSITION,
    PART_HEADERS,
    TRANSFER_ENCODING,
    FilePart,
    parse_disposition,
    read_part,
    split_parts,
)
from gateway.http.hints import explain_missing_boundary, quote
from gateway.http.request_parser import FILE_FIELDS, MULTIPART_FORM, check_names, decode_image, find_boundary
from gateway.jobs.options import OPTION_NAMES
from gateway.prediction.image_loader import ImageBytes, ImageSource
from gateway.sizes import exceeds

ARCHIVE_FIELD = "archive"
FIELDS = (*FILE_FIELDS, ARCHIVE_FIELD, *OPTION_NAMES)
OTHER_PARTS = 32
MAX_FIELD_BYTES = 16 * 1024
PLAIN_ENCODINGS = frozenset({"", "7bit", "8bit", "binary"})


@dataclass(frozen=True, slots=True)
class FormFile:
    """A file of a form, or a text that holds one, by its place in the body.

    Attributes:
        name: Name of the part.
        filename: Its file name; empty for a part without one.
        start: Where its content begins.
        end: Where its content ends.
        headers: Those of `PART_HEADERS`.
    """

    name: str
    filename: str
    start: int
    end: int
    headers: Mapping[str, str]


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
        name, filename = parse_disposition(headers.get(DISPOSITION))
        if name is None:
            raise BadRequestError("A part of the form has no name.")
        check_names([name], FIELDS, "field")
        if name in OPTION_NAMES:
            fields.setdefault(name, _read_field(body, name, start, end, headers))
        elif end > start or filename:  # browsers send an empty part without a file name for a field left empty
            part_headers = {header: headers[header] for header in PART_HEADERS if header in headers}
            files.append(FormFile(name, filename or "", start, end, part_headers))
    return _sort(fields, files)


def read_images(
    body: mmap.mmap | bytes, images: list[FormFile], *, max_bytes: int, deadline: Deadline
) -> Iterator[tuple[str, ImageSource | GatewayError]]:
    """Yield the file name of each image, and the image or what is wrong with it."""
    for image in images:
        yield image.filename, _read_image(body, image, max_bytes, deadline)


def _read_image(
    body: mmap.mmap | bytes, image: FormFile, max_bytes: int, deadline: Deadline
) -> ImageSource | GatewayError:
    size = image.end - image.start
    if size > max_bytes:
        sentence = exceeds(f"The file {quote(image.filename)}", size, max_bytes)
        return BodyTooLargeError(f"{sentence} Send a smaller image.", max_bytes=max_bytes)
    try:
        _, part = read_part(body[image.start : image.end], 0, size, image.headers)
    except BadRequestError as error:
        return error
    if not isinstance(part, FilePart):
        return decode_image(part, image.name, deadline, MULTIPART_FORM)
    if not part.content:
        return BadRequestError(f"The file {quote(image.filename)} is empty.", field=image.name)
    return ImageBytes(part.content, image.name)


def _sort(fields: dict[str, str], files: list[FormFile]) -> JobForm:
    archives = [file for file in files if file.name == ARCHIVE_FIELD]
    images = [file for file in files if file.name != ARCHIVE_FIELD]
    if len(archives) > 1 or (archives and images):
        raise BadRequestError(
            "The form has several archives, or an archive and images. Send one archive, or images only."
        )
    for archive in archives:
        _check_encoding(archive)
    return JobForm(fields, images, archives[0] if archives else None)


def _check_encoding(archive: FormFile) -> None:
    encoding = archive.headers.get(TRANSFER_ENCODING, "")
    if encoding.partition(";")[0].strip().lower() not in PLAIN_ENCODINGS:
        raise BadRequestError(
            "The part 'archive' has a Content-Transfer-Encoding. Send the bytes.", field=ARCHIVE_FIELD
        )


def _read_field(body: mmap.mmap | bytes, name: str, start: int, end: int, headers: Mapping[str, str]) -> str:
    if end - start > MAX_FIELD_BYTES:
        raise BadRequestError(f"The field {quote(name)} is longer than {MAX_FIELD_BYTES} bytes.", field=name)
    _, part = read_part(body[start:end], 0, end - start, headers)
    return part.content.decode(errors="replace") if isinstance(part, FilePart) else str(part)
