"""Fuzz target: any bytes as a request are either parsed or refused.

The first line is the Content-Type, the second the query string, and what follows is the body.
"""

import json

from flask import request
from werkzeug.exceptions import HTTPException

from gateway.deadline import Deadline, Timings
from gateway.errors import BadRequestError, GatewayError
from gateway.http.json_objects import JsonLimits
from gateway.http.request_context import Gateway, unwrap
from gateway.http.request_parser import RequestLimits, RequestParser
from gateway.models.registry import ModelTarget
from gateway.prediction.image_loader import ImageBytes, ImageUrl

MAX_IMAGES = 4
PARSER = RequestParser(RequestLimits(MAX_IMAGES, JsonLimits(max_depth=8, max_values=100)), default_top_k=5)

app = Gateway(__name__)
app.config.update(MAX_CONTENT_LENGTH=100_000, MAX_FORM_MEMORY_SIZE=100_000, MAX_FORM_PARTS=12)


def one_input(data: bytes) -> None:
    content_type, _, rest = data.partition(b"\n")
    query, _, body = rest.partition(b"\n")
    environ = {"CONTENT_TYPE": content_type.decode("latin-1"), "QUERY_STRING": query.decode("latin-1")}
    with app.test_request_context(method="POST", data=body, environ_overrides=environ):
        try:
            parsed = PARSER.parse(
                unwrap(request), ModelTarget(), deadline=Deadline.after(10), request_id="", timings=Timings()
            )
        except GatewayError as error:
            check_error(error)
            return
        except HTTPException as error:
            assert error.code in {400, 413}
            return
    assert 1 <= len(parsed.images) <= MAX_IMAGES
    assert parsed.is_batch or len(parsed.images) == 1
    assert parsed.options.top_k >= 1
    for image in parsed.images:
        assert isinstance(image, ImageBytes | ImageUrl | BadRequestError)
        if isinstance(image, GatewayError):
            check_error(image)


def check_error(error: GatewayError) -> None:
    """Check that a message is short and can be serialised."""
    assert 0 < len(error.detail) < 1000
    json.dumps([error.detail, error.members]).encode()
