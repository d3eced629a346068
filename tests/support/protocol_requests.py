"""Requests of other protocols, parsed as the gateway parses them, for a model that takes pixels."""

from collections.abc import Callable, Sequence

from werkzeug.exceptions import HTTPException

from gateway.deadline import Deadline
from gateway.errors import GatewayError
from gateway.http.headers import INFERENCE_JSON_BYTES
from gateway.http.json_objects import JsonLimits
from gateway.http.request_context import Gateway
from gateway.http.request_parser import RequestLimits
from gateway.models.binding import bind
from gateway.prediction.image_loader import ImageSource
from gateway.protocols.infer_request import InferParser
from gateway.protocols.predict_request import PredictParser
from tests.support.fake_model_server import image_signature
from tests.support.wsgi_requests import environ
from vision.card import Card, InputSpec

Parse = Callable[..., Sequence[ImageSource] | GatewayError | HTTPException]


def make_protocol_parse(spec: InputSpec, *, max_bytes: int, max_images: int, limits: JsonLimits) -> Parse:
    """Return a function that parses a body, and returns its error if it is refused.

    It takes the name of the protocol, `infer` or `predict`, and for `infer` the length of the JSON in the body.
    """
    card = Card(name="pets", labels=("cat", "dog", "fish"), input=spec)
    served = bind(card, image_signature(card), model="pets", version=1)
    app = Gateway(__name__)
    app.config.update(MAX_CONTENT_LENGTH=max_bytes)
    request_limits = RequestLimits(max_images, limits)
    infer_parser, predict_parser = InferParser(request_limits), PredictParser(request_limits)

    def parse(protocol: str, body: bytes, json_bytes: str = "", *, chunked: bool = False):
        variables = environ(body, chunked=chunked)
        if json_bytes:
            variables[f"HTTP_{INFERENCE_JSON_BYTES.upper().replace('-', '_')}"] = json_bytes
        deadline = Deadline.after(60)
        with app.test_request_context(method="POST", environ_overrides=variables) as context:
            request = context.request
            try:
                if protocol == "infer":
                    return infer_parser.parse(request, served, deadline=deadline).images
                return predict_parser.parse(request, served, deadline=deadline)[0]
            except (GatewayError, HTTPException) as error:
                return error

    return parse
