"""Requests as a server hands them to the gateway: the body comes from a connection, by length or in chunks."""

import io
from collections.abc import Callable
from typing import Any

from flask import Flask, request
from werkzeug.exceptions import HTTPException

from gateway.deadline import Deadline, Timings
from gateway.errors import GatewayError
from gateway.http.json_objects import JsonLimits
from gateway.http.request_context import Gateway, unwrap
from gateway.http.request_parser import RequestLimits, RequestParser
from gateway.models.registry import ModelTarget
from gateway.prediction.predictor import PredictionRequest

Parse = Callable[..., PredictionRequest | GatewayError | HTTPException]


class Connection:
    """Delivers a body in new bytes, so that a measurement of memory counts them."""

    def __init__(self, body: bytes) -> None:
        self._stream = io.BytesIO(body)

    def read(self, size: int) -> bytes:
        return bytes(bytearray(self._stream.read(size)))


def environ(body: bytes, *, chunked: bool = False, **variables: str) -> dict[str, Any]:
    """Return what a server adds to the environment of a request for its body."""
    length = {"wsgi.input_terminated": True} if chunked else {"CONTENT_LENGTH": str(len(body))}
    return {"wsgi.input": Connection(body), **length, **variables}


def make_parse(*, max_bytes: int, max_images: int, max_parts: int, limits: JsonLimits) -> Parse:
    """Return a function that parses a request of the gateway's own class, and returns its error if it is refused."""
    app: Flask = Gateway(__name__)
    app.config.update(MAX_CONTENT_LENGTH=max_bytes, MAX_FORM_PARTS=max_parts)
    parser = RequestParser(RequestLimits(max_images, limits), default_top_k=5)

    def parse(content_type: str, body: bytes, *, query: str = "", chunked: bool = False):
        variables = environ(body, chunked=chunked, CONTENT_TYPE=content_type, QUERY_STRING=query)
        with app.test_request_context(method="POST", environ_overrides=variables):
            try:
                return parser.parse(
                    unwrap(request), ModelTarget(), deadline=Deadline.after(60), request_id="", timings=Timings()
                )
            except (GatewayError, HTTPException) as error:
                return error

    return parse
