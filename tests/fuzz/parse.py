"""Any bytes as a request: a question comes out, or a refusal, and nothing else.

The first line is the Content-Type, the second the query string, and what follows is the body.
"""

import json

from flask import Flask, request
from werkzeug.exceptions import HTTPException

from gateway.errors import BadRequestError, GatewayError
from gateway.http.body_limits import JsonLimits
from gateway.http.request_parser import Limits, parse
from gateway.prediction.image_loader import Link, Upload

MAX_IMAGES = 4
LIMITS = Limits(MAX_IMAGES, JsonLimits(max_depth=8, max_values=100))

app = Flask(__name__)
app.config.update(MAX_CONTENT_LENGTH=100_000, MAX_FORM_MEMORY_SIZE=100_000, MAX_FORM_PARTS=12)


def one_input(data: bytes) -> None:
    content_type, _, rest = data.partition(b"\n")
    query, _, body = rest.partition(b"\n")
    environ = {"CONTENT_TYPE": content_type.decode("latin-1"), "QUERY_STRING": query.decode("latin-1")}
    with app.test_request_context(method="POST", data=body, environ_overrides=environ):
        try:
            question = parse(request._get_current_object(), default_top_k=5, limits=LIMITS)
        except GatewayError as error:
            judge(error)
            return
        except HTTPException as error:
            assert error.code in {400, 413}
            return
    assert 1 <= len(question.sources) <= MAX_IMAGES
    assert question.is_batch or len(question.sources) == 1
    assert question.options.top_k >= 1
    for source in question.sources:
        assert isinstance(source, Upload | Link | BadRequestError)
        if isinstance(source, GatewayError):
            judge(source)


def judge(error: GatewayError) -> None:
    """See that what the caller is told is short, and can be written."""
    assert 0 < len(error.detail) < 1000
    json.dumps([error.detail, error.members]).encode()
