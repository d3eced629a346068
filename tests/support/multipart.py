"""Multipart forms as curl, requests and browsers send them: werkzeug's own test client begins with an empty line."""

import io
from collections.abc import Iterator, Mapping
from typing import Any

from werkzeug.datastructures import FileStorage

BOUNDARY = "------------------------d74496d66958873e"


def encode(fields: Mapping[str, Any]) -> tuple[str, bytes]:
    """Return the Content-Type and the body of a form.

    Args:
        fields: By name a text, a file as (stream, filename) or (stream, filename, media type), or a list of these.
    """
    body = io.BytesIO()
    for name, value in _flatten(fields):
        disposition = f'form-data; name="{name}"'
        headers = [f"Content-Disposition: {disposition}"]
        if isinstance(value, FileStorage):
            headers = [f'Content-Disposition: {disposition}; filename="{value.filename}"']
            headers.append(f"Content-Type: {value.content_type or 'application/octet-stream'}")
        content = value.read() if isinstance(value, FileStorage) else str(value).encode()
        body.write(f"--{BOUNDARY}\r\n".encode() + "\r\n".join(headers).encode() + b"\r\n\r\n" + content + b"\r\n")
    body.write(f"--{BOUNDARY}--\r\n".encode())
    return f"multipart/form-data; boundary={BOUNDARY}", body.getvalue()


def with_encoded_form(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a test request with a form in `data` encoded, if it must be sent as multipart."""
    fields = request.get("data")
    if not isinstance(fields, Mapping):
        return dict(request)
    has_files = any(isinstance(value, FileStorage) for _, value in _flatten(fields))
    if not has_files and request.get("content_type") != "multipart/form-data":
        return dict(request)
    content_type, body = encode(fields)
    return {**request, "content_type": content_type, "data": body}


def _flatten(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, values in fields.items():
        for value in values if isinstance(values, list) else [values]:
            yield name, FileStorage(*_file_arguments(value)) if isinstance(value, tuple) else value


def _file_arguments(value: tuple[Any, ...]) -> tuple[Any, ...]:
    stream, filename, *media_type = value
    return stream, filename, None, *media_type
