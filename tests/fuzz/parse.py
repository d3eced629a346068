"""Fuzz target: any bytes as a request are either parsed or refused, by length and in chunks alike.

The first line is the Content-Type, the second the query string, and what follows is the body.
"""

import json

from werkzeug.exceptions import HTTPException

from gateway.errors import BadRequestError, GatewayError
from gateway.http.json_objects import JsonLimits
from gateway.http.long_text import LONG_TEXT_BYTES
from gateway.prediction.image_loader import ImageBytes, ImageUrl
from gateway.prediction.predictor import PredictionRequest
from tests.support.wsgi_requests import make_parse

MAX_BYTES = 100_000
MAX_IMAGES = 4
PARSE = make_parse(
    max_bytes=MAX_BYTES, max_images=MAX_IMAGES, max_parts=12, limits=JsonLimits(max_depth=8, max_values=100)
)
LONG = b"\x00L"
"""Stands for a text that is too long to be anything but an image; chance would never write one."""


def one_input(data: bytes) -> None:
    content_type, _, rest = data.partition(b"\n")
    query, _, body = rest.partition(b"\n")
    body = body.replace(LONG, b"QUJD" * (LONG_TEXT_BYTES // 4 + 1), 3)
    by_length, in_chunks = (
        PARSE(content_type.decode("latin-1"), body, query=query.decode("latin-1"), chunked=chunked)
        for chunked in (False, True)
    )
    assert content(by_length) == content(in_chunks)
    if isinstance(by_length, HTTPException):
        assert by_length.code in {400, 413}
    elif isinstance(by_length, GatewayError):
        check_error(by_length)
    else:
        check_request(by_length, body)


def content(result: PredictionRequest | GatewayError | HTTPException) -> object:
    """Return what a request was parsed into, or the message that refuses it."""
    if not isinstance(result, PredictionRequest):
        return str(result)
    images = [str(image) if isinstance(image, GatewayError) else image for image in result.images]
    return images, result.options, result.is_batch


def check_request(parsed: PredictionRequest, body: bytes) -> None:
    assert 1 <= len(parsed.images) <= MAX_IMAGES
    assert parsed.is_batch or len(parsed.images) == 1
    assert parsed.options.top_k >= 1
    for image in parsed.images:
        assert isinstance(image, ImageBytes | ImageUrl | BadRequestError)
        if isinstance(image, GatewayError):
            check_error(image)
    assert sum(len(image.data) for image in parsed.images if isinstance(image, ImageBytes)) <= len(body)


def check_error(error: GatewayError) -> None:
    """Check that a message is short and can be serialised."""
    assert 0 < len(error.detail) < 1000
    json.dumps([error.detail, error.members]).encode()
